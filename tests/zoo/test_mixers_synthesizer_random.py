from __future__ import annotations

import pytest
import torch

from paretovit.zoo.mixers.synthesizer_random import SynthesizerRandom
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((3, 4), prefix=1)


def test_equal_logits_give_every_token_the_mean_of_the_values() -> None:
    torch.manual_seed(0)
    mixer = SynthesizerRandom(16, 2, LAYOUT)
    mixer.logits.data.fill_(0.7)
    x = torch.randn(2, 13, 16)
    mean = mixer.proj(mixer.v(x).mean(1, keepdim=True)).expand(-1, 13, -1)
    torch.testing.assert_close(mixer(Tokens(x, (3, 4), prefix=1)), mean)


def test_weights_do_not_look_at_the_tokens() -> None:
    torch.manual_seed(0)
    mixer = SynthesizerRandom(16, 2, LAYOUT).double()
    x, y = torch.randn(2, 1, 13, 16, dtype=torch.float64).unbind(0)
    mixed = [mixer(Tokens(part, (3, 4), prefix=1)) for part in (x, y, (x + y) / 2)]
    torch.testing.assert_close(mixed[2], (mixed[0] + mixed[1]) / 2)


@pytest.mark.parametrize("trained", [True, False])
def test_logits_are_trained_only_if_asked_for_and_saved_always(trained: bool) -> None:
    mixer = SynthesizerRandom(16, 2, LAYOUT, trained=trained)
    assert ("logits" in dict(mixer.named_parameters())) is trained
    assert mixer.state_dict()["logits"].shape == (2, 13, 13)
