from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers.performer import Performer
from paretovit.zoo.mixers.scatterbrain import Scatterbrain
from paretovit.zoo.tokens import Layout, Tokens

GRID = (6, 6)
LAYOUT = Layout.of_grid(GRID)


def tokens() -> Tokens:
    return Tokens(torch.randn(2, 36, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), GRID)


def built(std: float, **options: int) -> Scatterbrain:
    torch.manual_seed(0)
    mixer = Scatterbrain(16, 2, LAYOUT, **options).double()
    torch.nn.init.normal_(mixer.qkv.weight, std=std)
    return mixer


def heads_of(mixer: Scatterbrain | Performer, at: Tokens) -> tuple[Tensor, ...]:
    return mixer.qkv(at.x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)


def exact(mixer: Scatterbrain | Performer) -> Tensor:
    out = F.scaled_dot_product_attention(*heads_of(mixer, tokens()))
    return mixer.proj(out.transpose(1, 2).flatten(2))


def error(mixer: Scatterbrain | Performer, draws: int = 40) -> float:
    """Root mean square distance to softmax attention, over several draws of features and hash."""
    expected = exact(mixer)
    squares = []
    for _ in range(draws):
        mixer.redraw()
        squares.append((mixer(tokens()) - expected).square().mean())
    return torch.stack(squares).mean().sqrt().item()


@pytest.mark.parametrize("cluster", [36, 100])
@pytest.mark.parametrize("std", [0.1, 1.0, 10.0])
def test_with_one_cluster_it_is_softmax_attention_whatever_the_features(cluster: int, std: float) -> None:
    mixer = built(std, features=3, cluster=cluster)
    torch.testing.assert_close(mixer(tokens()), exact(mixer))


@pytest.mark.parametrize("cluster", [1, 4, 5, 7, 12, 35])
def test_agrees_with_its_reference_for_clusters_that_do_and_do_not_divide_the_tokens(cluster: int) -> None:
    mixer = built(0.5, features=6, cluster=cluster)
    torch.testing.assert_close(mixer(tokens()), mixer.reference(tokens()))


def test_the_error_halves_with_four_times_the_features() -> None:
    with torch.no_grad():
        few, more = (error(built(0.1, features=f, cluster=6)) for f in (32, 128))
    assert 1.6 < few / more < 2.4


def test_is_nearer_to_attention_than_its_features_alone() -> None:
    mixer = built(0.3, features=32, cluster=18)
    alone = Performer(16, 2, LAYOUT, features=32, eps=0.0).double()
    alone.qkv.load_state_dict(mixer.qkv.state_dict())
    alone.proj.load_state_dict(mixer.proj.state_dict())
    with torch.no_grad():
        assert error(mixer) < 0.75 * error(alone)


def test_clusters_hold_more_of_attention_than_chance_would() -> None:
    mixer = built(1.0, cluster=6)
    q, k, _ = heads_of(mixer, tokens())
    weights = (q @ k.mT / 8**0.5).softmax(-1)
    held = []
    for _ in range(40):
        mixer.redraw()
        q_cluster, k_cluster = (order.argsort(-1) // 6 for order in mixer._orders(q, k))
        held.append((weights * (q_cluster.unsqueeze(-1) == k_cluster.unsqueeze(-2))).sum(-1).mean())
    assert torch.stack(held).mean() > 1.5 / 6  # six clusters of six: chance holds one in six


def test_large_queries_and_keys_stay_finite() -> None:
    mixer = Scatterbrain(16, 2, LAYOUT, cluster=7)
    x = (1000 * torch.randn(2, 36, 16)).requires_grad_()
    mixed = mixer(Tokens(x, GRID))
    assert mixed.isfinite().all()
    mixed.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("options", [{"features": 0}, {"cluster": 0}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Scatterbrain(16, 2, LAYOUT, **options)
