from __future__ import annotations

import pytest
import torch
from routing_transformer.routing_transformer import KmeansAttention
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.routing import Routing
from paretovit.zoo.tokens import Layout, Tokens

GRID = (4, 5)


def tokens_of(images: int = 2, dim: int = 16) -> Tokens:
    return Tokens(torch.randn(images, 20, dim, dtype=torch.float64), GRID)


def heads_of(linear: torch.nn.Linear, x: Tensor, heads: int) -> Tensor:
    return linear(x).unflatten(-1, (heads, -1)).transpose(1, 2)


def test_one_cluster_is_plain_attention() -> None:
    torch.manual_seed(0)
    plain = Attention(16, 2, Layout.of_grid(GRID)).double()
    ours = Routing(16, 2, Layout.of_grid(GRID), clusters=1).double()
    qkv = plain.state_dict()
    weight, bias = qkv.pop("qkv.weight"), qkv.pop("qkv.bias")
    qkv |= {"qk.weight": weight[:32], "qk.bias": bias[:32], "v.weight": weight[32:], "v.bias": bias[32:]}
    ours.load_state_dict(qkv | {"centers": ours.centers})
    tokens = tokens_of()
    torch.testing.assert_close(ours(tokens), plain(tokens))


@pytest.mark.parametrize(("clusters", "window"), [(4, 5), (3, 9), (2, 20)])
def test_agrees_with_the_package_of_routing_transformer(clusters: int, window: int) -> None:
    torch.manual_seed(0)
    mixer = Routing(32, 4, Layout.of_grid(GRID), clusters=clusters, window=window).double().eval()
    theirs = KmeansAttention(clusters, window, 4, 8).double().eval()
    theirs.kmeans.means.copy_(mixer.centers)
    theirs.kmeans.initted.fill_(True)
    tokens = tokens_of(dim=32)
    q, k = heads_of(mixer.qk, tokens.x, 8).chunk(2, dim=1)
    heard, _ = theirs(q, k, heads_of(mixer.v, tokens.x, 4))
    expected = mixer.proj(heard.transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixer(tokens), expected, rtol=1e-4, atol=1e-5)  # theirs divides by the count + 1e-5


def test_tokens_that_no_cluster_takes_get_zeros() -> None:
    mixer = Routing(16, 1, Layout.of_grid(GRID), clusters=1, window=3).double()
    left = (mixer(tokens_of()) - mixer.proj.bias).abs().amax(-1) < 1e-12
    assert left.sum(1).tolist() == [17, 17]


def test_as_many_clusters_as_the_root_of_the_tokens_share_them_evenly() -> None:
    mixer = Routing(16, 2, Layout.of_grid((14, 14), prefix=1))
    assert (mixer.clusters, mixer.window) == (14, 15)


def test_centers_follow_the_mean_direction_of_their_tokens() -> None:
    torch.manual_seed(0)
    mixer, tokens = Routing(16, 2, Layout.of_grid(GRID), clusters=3, decay=0.9).double(), tokens_of()
    q, k = heads_of(mixer.qk, tokens.x, 4).chunk(2, dim=1)
    expected = []
    for head in range(2):
        both = [vector / vector.norm() for part in (q, k) for image in part for vector in image[head]]
        mine: list[list[Tensor]] = [[], [], []]
        for direction in both:
            mine[int((mixer.centers[head] @ direction).argmax())].append(direction)
        assert all(mine)
        moved = [0.9 * mixer.centers[head, c] + 0.1 * torch.stack(mine[c]).mean(0) for c in range(3)]
        expected.append(torch.stack([m / m.norm() for m in moved]))
    mixer.train()(tokens)
    torch.testing.assert_close(mixer.centers, torch.stack(expected).detach())


def test_a_center_without_tokens_stays() -> None:
    mixer = Routing(16, 1, Layout.of_grid(GRID), clusters=2, decay=0.0).double()
    direction = torch.nn.functional.normalize(mixer.qk.bias.detach()[:16], dim=0)
    with torch.no_grad():
        mixer.qk.weight.zero_()
        mixer.qk.bias.copy_(torch.cat((direction, direction)))
        mixer.centers.copy_(torch.stack((direction, -direction)).unsqueeze(0))
    before = mixer.centers.clone()
    mixer.train()(tokens_of())
    torch.testing.assert_close(mixer.centers, before)


def test_centers_move_in_training_only() -> None:
    mixer, tokens = Routing(16, 2, Layout.of_grid(GRID)).double(), tokens_of()
    before = mixer.centers.clone()
    mixer.eval()(tokens)
    assert torch.equal(mixer.centers, before)
    assert not tokens.aux
    mixer.train()(tokens)
    assert not torch.equal(mixer.centers, before)


def test_the_loss_is_the_squared_distance_to_the_nearest_center_and_adds_up_over_blocks() -> None:
    torch.manual_seed(0)
    mixer, tokens = Routing(16, 2, Layout.of_grid(GRID), clusters=3, decay=1.0).double().train(), tokens_of()
    q, k = heads_of(mixer.qk, tokens.x, 4).chunk(2, dim=1)
    both = torch.cat((q, k), dim=2)
    directions = both / both.norm(dim=-1, keepdim=True)
    nearest = torch.cdist(directions, mixer.centers.expand(2, -1, -1, -1)).square().amin(-1).mean()
    mixer(tokens)
    torch.testing.assert_close(tokens.aux["routing_commitment"], nearest)
    mixer(tokens)
    torch.testing.assert_close(tokens.aux["routing_commitment"], 2 * nearest)


def test_the_loss_pulls_queries_and_keys_to_their_centers() -> None:
    torch.manual_seed(0)
    mixer, tokens = Routing(16, 2, Layout.of_grid(GRID)).double().train(), tokens_of()
    mixer(tokens)
    tokens.aux["routing_commitment"].backward()
    before = tokens.aux.pop("routing_commitment").item()
    with torch.no_grad():
        mixer.qk.weight -= 0.1 * mixer.qk.weight.grad
    mixer(tokens)
    assert tokens.aux["routing_commitment"].item() < before


@pytest.mark.parametrize("options", [{"clusters": 0}, {"window": 0}, {"decay": 1.5}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Routing(16, 2, Layout.of_grid(GRID), **options)  # type: ignore[arg-type]
