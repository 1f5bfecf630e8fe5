from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.informer import Informer
from paretovit.zoo.tokens import Layout, Tokens

GRID = (4, 5)


def tokens_of(images: int = 2, dim: int = 16) -> Tokens:
    return Tokens(torch.randn(images, 20, dim, dtype=torch.float64), GRID)


def test_with_all_queries_active_it_is_plain_attention() -> None:
    torch.manual_seed(0)
    ours, plain = Informer(16, 2, Layout.of_grid(GRID), factor=20), Attention(16, 2, Layout.of_grid(GRID))
    qkv = plain.state_dict()
    weight, bias = qkv.pop("qkv.weight"), qkv.pop("qkv.bias")
    qkv |= {"qk.weight": weight[:32], "qk.bias": bias[:32], "v.weight": weight[32:], "v.bias": bias[32:]}
    ours.load_state_dict(qkv | {"sample": ours.sample})
    tokens = tokens_of()
    torch.testing.assert_close(ours.double()(tokens), plain.double()(tokens))


def test_queries_that_are_not_active_hear_the_mean() -> None:
    mixer, tokens = Informer(16, 1, Layout.of_grid(GRID), factor=1).double(), tokens_of()
    assert mixer.active == 3  # ln 20 = 2.996
    mean = mixer.proj(mixer.v(tokens.x).mean(1, keepdim=True))
    lazy = (mixer(tokens) - mean).abs().amax(-1) < 1e-12
    assert lazy.sum(1).tolist() == [17, 17]


def test_the_query_that_prefers_one_key_is_active() -> None:
    mixer, tokens = Informer(16, 1, Layout.of_grid(GRID), factor=1).double(), tokens_of()
    identity = torch.cat((torch.eye(16), torch.eye(16)))
    mixer.qk.load_state_dict({"weight": identity, "bias": torch.zeros(32)})
    loud = int(mixer.sample[0])
    tokens.x /= 100
    tokens.x[:, loud] *= 1000
    mean = mixer.proj(mixer.v(tokens.x).mean(1, keepdim=True))
    assert ((mixer(tokens) - mean).abs().amax(-1)[:, loud] > 1e-3).all()


def test_the_papers_factor_keeps_30_of_197_queries_and_as_many_keys() -> None:
    mixer = Informer(16, 2, Layout.of_grid((14, 14), prefix=1))
    assert mixer.active == 30
    assert sorted(set(mixer.sample.tolist())) == sorted(mixer.sample.tolist())
    assert len(mixer.sample) == 30


def test_redrawing_gives_another_sample_in_the_same_place() -> None:
    torch.manual_seed(0)
    mixer = Informer(16, 2, Layout.of_grid((14, 14)))
    place, before = mixer.sample, mixer.sample.clone()
    mixer.redraw()
    assert mixer.sample is place
    assert not torch.equal(mixer.sample, before)
    assert "sample" in mixer.state_dict()


def test_refuses_a_factor_of_nothing() -> None:
    with pytest.raises(UserError, match="factor"):
        Informer(16, 2, Layout.of_grid(GRID), factor=0)
