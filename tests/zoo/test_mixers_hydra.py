from __future__ import annotations

import torch
import torch.nn.functional as F

from paretovit.zoo.mixers.hydra import Hydra
from paretovit.zoo.tokens import Layout, Tokens

GRID = (4, 5)


def built() -> Hydra:
    torch.manual_seed(0)
    return Hydra(16, 4, Layout.of_grid(GRID)).double()


def tokens() -> torch.Tensor:
    return torch.randn(2, 20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_is_the_papers_equation_nine() -> None:
    mixer, x = built(), tokens()
    q, k, v = mixer.qkv(x).chunk(3, dim=-1)
    expected = F.normalize(q, dim=-1) * (F.normalize(k, dim=-1) * v).sum(1, keepdim=True)
    torch.testing.assert_close(mixer(Tokens(x, GRID)), mixer.proj(expected))


def test_lengths_of_queries_and_keys_do_not_matter() -> None:
    mixer, x = built(), tokens()
    before = mixer(Tokens(x, GRID))
    with torch.no_grad():
        mixer.qkv.weight[:32].mul_(7)
        mixer.qkv.bias[:32].mul_(7)
    torch.testing.assert_close(mixer(Tokens(x, GRID)), before)


def test_the_order_of_tokens_does_not_matter() -> None:
    mixer, x = built(), tokens()
    order = torch.randperm(20)
    torch.testing.assert_close(mixer(Tokens(x[:, order], GRID)), mixer(Tokens(x, GRID))[:, order])


def test_a_key_of_zeros_says_nothing_and_breaks_nothing() -> None:
    mixer, x = built(), tokens()
    with torch.no_grad():
        mixer.qkv.bias.zero_()
        x[:, -1] = 0
    x.requires_grad_()
    mixed = mixer(Tokens(x, GRID))
    torch.testing.assert_close(mixed[:, :-1], mixer(Tokens(x[:, :-1])))
    mixed.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
