from __future__ import annotations

import torch
from torch import nn

from paretovit.zoo.mixers.poly_sa import PolySa
from paretovit.zoo.tokens import Layout, Tokens

GRID = (3, 4)


def built() -> PolySa:
    torch.manual_seed(0)
    mixer = PolySa(16, 2, Layout.of_grid(GRID)).double()
    with torch.no_grad():
        for linear in (mixer.qkv, mixer.proj):
            linear.bias.zero_()
        for numbers in (mixer.give, mixer.take):
            numbers.normal_()
    return mixer


def tokens() -> torch.Tensor:
    return torch.randn(2, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_without_its_norm_it_is_a_polynomial_of_third_degree() -> None:
    mixer, x = built(), tokens()
    mixer.norm = nn.Identity()
    torch.testing.assert_close(mixer(Tokens(2 * x, GRID)), 8 * mixer(Tokens(x, GRID)))


def test_is_the_products_of_the_surveys_reading() -> None:
    mixer, x = built(), tokens()
    q, k, v = mixer.qkv(x).unflatten(-1, (3, 2, 8)).unbind(2)
    heard = nn.functional.layer_norm(torch.einsum("hn,bnhk->bhk", mixer.give, k * v), (8,), eps=1e-6)
    expected = torch.einsum("bnhk,hn,bhk->bnhk", q, mixer.take, heard).flatten(2)
    torch.testing.assert_close(mixer(Tokens(x, GRID)), mixer.proj(expected))


def test_a_token_that_gives_nothing_is_not_heard() -> None:
    mixer, x = built(), tokens()
    mixer.give.data[:, 5] = 0
    changed = x.clone()
    changed[:, 5] += 1
    difference = mixer(Tokens(changed, GRID)) - mixer(Tokens(x, GRID))
    assert difference[:, 5].abs().max() > 1e-3  # its own query has changed
    difference[:, 5] = 0
    assert difference.abs().max() == 0


def test_a_token_that_takes_nothing_hears_nothing() -> None:
    mixer, x = built(), tokens()
    mixer.take.data[:, 5] = 0
    mixed = mixer(Tokens(x, GRID))
    assert mixed[:, 5].abs().max() == 0
    assert (mixed.abs().amax((0, 2)) > 0).sum() == 11
