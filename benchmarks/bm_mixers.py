"""Token mixers against the packages that have them, at equal weights, and against timm's fused softmax attention.

    python benchmarks/bm_mixers.py > results/bm_mixers.jsonl

Forward, and forward with backward, at three sizes. `ratio` is the peer's time over ours: above 1, ours is faster.
Before anything is timed the outputs are compared: peers of the same function agree to `error`, the largest difference
over the largest value (performer-pytorch adds its small number elsewhere, nystrom-attention and transformers'
Nystromformer start their inverse from maxima over the batch); where they are not of the same function, `unlike` says
why.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import product

import torch
from mixer_peers import PEERS, Peer
from paired import compare, emit, environment
from script import script
from timm.layers import Attention as TimmAttention
from torch import Tensor, nn

from paretovit.devices import num_threads
from paretovit.zoo.folders import MIXERS
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Layout, Tokens

SIZES = ((8, 197, 192, 3), (8, 1025, 128, 4), (2, 4097, 128, 4))
ALONE = (
    "attention", "nystromformer", "linear_transformer", "hydra", "poly_sa", "fnet", "fourier_learner", "sinkhorn",
    "routing", "reformer", "informer", "scatterbrain", "shifted_window", "spatial_reduction", "gfnet", "afno",
    "mlp_mixer", "pooling",
)  # fmt: skip


def built(name: str, options: dict, tokens: int, dim: int, heads: int, prefix: int) -> Mixer:
    side = round((tokens - 1) ** 0.5)
    torch.manual_seed(0)
    return MIXERS[name](dim, heads, Layout.of_grid((side, side), prefix), **options)


def called(layer: nn.Module, given: Callable[[], object], x: Tensor, train: bool) -> Callable[[], object]:
    """The layer on `given()`, which is `x` or new tokens of it, as forward alone or with backward.

    New ones in each call: an auxiliary loss that adds up in the same tokens would keep every call's graph.
    """
    layer.train(train)

    def forward() -> Tensor:
        with torch.inference_mode():
            return layer(given())

    def step() -> None:
        layer(given()).sum().backward()
        for parameter in (x, *layer.parameters()):
            parameter.grad = None

    return step if train else forward


def own(layer: Mixer, x: Tensor, train: bool) -> Callable[[], object]:
    """One of ours on images of so many tokens, a class token in front where it takes one."""
    x = x[:, 1 - layer.layout.prefix :].clone().requires_grad_(train)
    side = round((x.shape[1] - layer.layout.prefix) ** 0.5)
    return called(layer, lambda: Tokens(x, (side, side), layer.layout.prefix), x, train)


def plain(layer: nn.Module, x: Tensor, train: bool) -> Callable[[], object]:
    x = x.clone().requires_grad_(train)
    return called(layer, lambda: x, x, train)


def error_of(peer: Peer, ours: Mixer, theirs: nn.Module, x: Tensor) -> dict[str, object]:
    """How far its output is from ours, or why it cannot be near."""
    if peer.unlike:
        return {"unlike": peer.unlike}
    side = round((x.shape[1] - peer.prefix) ** 0.5)
    with torch.inference_mode():
        mine = ours.eval()(Tokens(x, (side, side), peer.prefix))
        other = peer.back(theirs.eval()(peer.given(x)))
    return {"error": float(f"{((mine - other).abs().max() / other.abs().max()).item():.2g}")}


def main() -> None:
    torch.set_num_threads(num_threads())
    environment("python benchmarks/bm_mixers.py")
    over_packages: list[float] = []
    for size, train in product(SIZES, (False, True)):
        batch, tokens, dim, heads = size
        torch.manual_seed(1)
        x = torch.randn(batch, tokens, dim)
        softmax = TimmAttention(dim, num_heads=heads, qkv_bias=True)
        for peer in PEERS:
            ours = built(peer.mixer, peer.options(tokens - 1), tokens, dim, heads, peer.prefix)
            with torch.no_grad():
                theirs = peer.make(ours, dim, heads)
            seen = x[:, 1 - peer.prefix :]
            ratios = compare(
                {"mixer": peer.case, "size": list(size), "training": train, **error_of(peer, ours, theirs, seen)},
                own(ours, x, train),
                {peer.package: plain(theirs, peer.given(seen), train), "timm softmax": plain(softmax, x, train)},
                rounds=31,
            )
            over_packages.append(ratios[peer.package])
        for name in ALONE:
            ours = built(name, {}, tokens, dim, heads, int(MIXERS.fact(name, "takes_prefix", True)))
            case = {"mixer": name, "size": list(size), "training": train}
            compare(case, own(ours, x, train), {"timm softmax": plain(softmax, x, train)}, rounds=7)
    emit(
        {
            "ratio over all packages, sizes and directions": {
                "geometric mean": float(f"{statistics.geometric_mean(over_packages):.4g}"),
                "least": min(over_packages),
                "cases": len(over_packages),
            }
        }
    )


if __name__ == "__main__":
    script(main)
