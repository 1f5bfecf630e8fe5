from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.zoo.mixers import synthesizer_factorized_random
from paretovit.zoo.mixers.synthesizer_factorized_random import SynthesizerFactorizedRandom
from paretovit.zoo.mixers.synthesizer_random import SynthesizerRandom
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((3, 4), prefix=1)


@pytest.mark.parametrize("at_once", [1, 2 * 13 * 5, 10**6], ids=["a row", "five rows", "all"])
def test_is_the_random_synthesizer_with_the_product_of_its_matrices(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(synthesizer_factorized_random, "AT_ONCE", at_once)
    torch.manual_seed(0)
    mixer = SynthesizerFactorizedRandom(16, 2, LAYOUT, rank=3).double()
    whole = SynthesizerRandom(16, 2, LAYOUT).double()
    whole.v.load_state_dict(mixer.v.state_dict())
    whole.proj.load_state_dict(mixer.proj.state_dict())
    whole.logits.data = torch.einsum("hnf,hmf->hnm", mixer.left, mixer.right)
    tokens = Tokens(torch.randn(2, 13, 16, dtype=torch.float64), (3, 4), prefix=1)
    torch.testing.assert_close(mixer(tokens), whole(tokens))
    with torch.inference_mode():
        torch.testing.assert_close(mixer(tokens), whole(tokens))


def test_learns_two_numbers_per_rank_token_and_head() -> None:
    learned = dict(SynthesizerFactorizedRandom(16, 2, LAYOUT).named_parameters())
    assert learned["left"].numel() + learned["right"].numel() == 2 * 2 * 13 * 8


def test_refuses_a_rank_of_none() -> None:
    with pytest.raises(UserError, match="rank must be at least 1"):
        SynthesizerFactorizedRandom(16, 2, LAYOUT, rank=0)
