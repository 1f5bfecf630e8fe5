from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.zoo.mixers.synthesizer_dense import SynthesizerDense
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((3, 4), prefix=1)


def mixed(mixer: SynthesizerDense, x: torch.Tensor) -> torch.Tensor:
    return mixer(Tokens(x, (3, 4), prefix=1))


@pytest.mark.parametrize("factor", [None, 4])
def test_weights_look_at_the_listening_token_alone(factor: int | None) -> None:
    torch.manual_seed(0)
    mixer = SynthesizerDense(16, 2, LAYOUT, factor=factor).double()
    x, y = torch.randn(2, 1, 13, 16, dtype=torch.float64).unbind(0)
    y[:, 5] = x[:, 5]
    halfway = mixed(mixer, (x + y) / 2)
    between = (mixed(mixer, x) + mixed(mixer, y)) / 2
    torch.testing.assert_close(halfway[:, 5], between[:, 5])  # what token 5 hears is linear in the others
    assert (halfway - between)[:, :5].abs().max() > 1e-3


@pytest.mark.parametrize("factor", [None, 4])
def test_learned_places_of_zero_give_every_token_the_mean_of_the_values(factor: int | None) -> None:
    torch.manual_seed(0)
    mixer = SynthesizerDense(16, 2, LAYOUT, factor=factor)
    mixer.places.data.zero_()
    x = torch.randn(2, 13, 16)
    values = mixer.hidden_v(x)[..., 16:]
    expected = mixer.proj(values.mean(1, keepdim=True)).expand(-1, 13, -1)
    torch.testing.assert_close(mixed(mixer, x), expected)


def test_logits_of_the_factorized_form_are_all_products_of_its_factors() -> None:
    mixer = SynthesizerDense(1, 1, Layout(None, 5, 0), factor=2)
    with torch.no_grad():
        mixer.hidden_v.weight.copy_(torch.tensor([[0.0], [1.0]]))
        mixer.hidden_v.bias.copy_(torch.tensor([1.0, 0.0]))  # every hidden value is 1, every value the token's own
        mixer.proj.weight.fill_(1)
        mixer.proj.bias.zero_()
        mixer.places.copy_(torch.tensor([2.0, 3.0, 0.5, 0.1, -1.0]).view(1, 5, 1))  # 2 times ceil(5 / 2) = 3
    x = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    logits = torch.tensor([2 * 0.5, 2 * 0.1, 2 * -1.0, 3 * 0.5, 3 * 0.1])  # 3 * -1 would be the sixth place
    expected = (logits.softmax(0) * x).sum().expand(5)
    torch.testing.assert_close(mixer(Tokens(x.view(1, 5, 1))).flatten(), expected)


def test_learns_as_much_as_the_papers_table_says() -> None:
    layout, d = Layout(None, 196, 0), 64
    assert SynthesizerDense(d, 2, layout).places.numel() == d * 196  # and the d * d of the first layer
    assert SynthesizerDense(d, 2, layout, factor=14).places.numel() == d * (14 + 14)


@pytest.mark.parametrize("factor", [0, 14])
def test_refuses_a_factor_beyond_its_tokens(factor: int) -> None:
    with pytest.raises(UserError, match="factor must lie between 1 and the 13 tokens"):
        SynthesizerDense(16, 2, LAYOUT, factor=factor)
