from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models.mlp_mixer import MixerBlock

from paretovit.errors import UserError
from paretovit.zoo.mixers.mlp_mixer import MlpMixer
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((4, 5))


def test_agrees_with_timms_mixer() -> None:
    torch.manual_seed(0)
    theirs = MixerBlock(32, 20).mlp_tokens.double()
    mixer = MlpMixer(32, 4, LAYOUT).double()
    mixer.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 20, 32, dtype=torch.float64)
    torch.testing.assert_close(mixer(Tokens(x, (4, 5))), theirs(x.mT).mT)


def test_channels_do_not_hear_of_each_other() -> None:
    torch.manual_seed(0)
    mixer = MlpMixer(32, 4, LAYOUT).double()
    x = torch.randn(1, 20, 32, dtype=torch.float64)
    changed = x.clone()
    changed[:, 3, 5] += 1.0
    moved = (mixer(Tokens(changed, (4, 5))) - mixer(Tokens(x, (4, 5)))).abs()[0]
    assert (moved[:, 5] > 1e-6).all()
    moved[:, 5] = 0
    assert moved.count_nonzero() == 0


@pytest.mark.parametrize(
    ("options", "hidden"), [({}, 16), ({"ratio": 1.0}, 20), ({"ratio": 0.26}, 5), ({"hidden": 7}, 7)], ids=str
)
def test_is_half_as_wide_as_a_token_unless_told_otherwise(options: dict[str, Any], hidden: int) -> None:
    mixer = MlpMixer(32, 4, LAYOUT, **options)
    assert mixer.fc1.weight.shape == (hidden, 20)
    assert mixer.macs() == 2 * 20 * hidden * 32


def test_has_the_parameters_that_vision_xformers_count() -> None:
    mixer = MlpMixer(128, 4, Layout.of_grid((32, 32)), ratio=1.0)
    assert sum(p.numel() for p in mixer.parameters()) == 2_099_200
    assert mixer.macs() == 2 * 1024**2 * 128


@pytest.mark.parametrize(
    ("options", "message"),
    [({"hidden": 3, "ratio": 1.0}, "not both"), ({"hidden": 0}, "at least 1"), ({"ratio": 0.001}, "at least 1")],
    ids=str,
)
def test_refuses_options_that_make_no_mixer(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MlpMixer(32, 4, LAYOUT, **options)
