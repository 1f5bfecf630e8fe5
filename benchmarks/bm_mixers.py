"""Token mixers against the packages that have them, at equal weights, and against timm's fused softmax attention.

    python benchmarks/bm_mixers.py > results/bm_mixers.jsonl

Forward, and forward with backward, at three sizes. `ratio` is the peer's time over ours: above 1, ours is faster.
Before anything is timed the outputs are compared: peers of the same function agree to `error`, the largest difference
over the largest value (performer-pytorch adds its small number elsewhere, nystrom-attention starts its inverse from
maxima over the batch).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import product

import torch
from linformer.linformer import LinformerSelfAttention
from nystrom_attention import NystromAttention
from paired import compare, emit, environment
from performer_pytorch.performer_pytorch import SelfAttention
from timm.layers import Attention as TimmAttention
from torch import Tensor, nn

from paretovit.devices import num_threads
from paretovit.zoo.folders import MIXERS
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Layout, Tokens

SIZES = ((8, 197, 192, 3), (8, 1025, 128, 4), (2, 4097, 128, 4))


def performer(ours: Mixer, dim: int, heads: int) -> nn.Module:
    relu = ours.kernel == "relu"
    theirs = SelfAttention(
        dim,
        heads=heads,
        dim_head=ours.head_dim,
        nb_features=ours.features,
        qkv_bias=True,
        generalized_attention=relu,
    )
    q, k, v = (part.clone() for part in ours.qkv.weight.chunk(3))
    q_bias, k_bias, v_bias = (part.clone() for part in ours.qkv.bias.chunk(3))
    theirs.to_q.load_state_dict({"weight": q, "bias": q_bias})
    theirs.to_k.load_state_dict({"weight": k, "bias": k_bias})
    theirs.to_v.load_state_dict({"weight": v, "bias": v_bias})
    theirs.to_out.load_state_dict(ours.proj.state_dict())
    theirs.fast_attention.projection_matrix.copy_(ours.projection)
    return theirs


def linformer(ours: Mixer, dim: int, heads: int) -> nn.Module:
    shared = ours.maps == 1
    theirs = LinformerSelfAttention(
        dim, ours.layout.num_tokens, k=ours.length, heads=heads, one_kv_head=ours.key_heads == 1, share_kv=shared
    )
    theirs.to_q.load_state_dict(ours.q.state_dict())
    theirs.to_out.load_state_dict(ours.proj.state_dict())
    theirs.to_k.weight.copy_(ours.kv.weight[: ours.key_dim])
    theirs.proj_k.copy_(ours.places[0])
    if not shared:
        theirs.to_v.weight.copy_(ours.kv.weight[ours.key_dim :])
        theirs.proj_v.copy_(ours.places[1])
    return theirs


def nystrom(ours: Mixer, dim: int, heads: int) -> nn.Module:
    theirs = NystromAttention(
        dim, dim_head=ours.head_dim, heads=heads, num_landmarks=64, residual=True, residual_conv_kernel=33
    )
    theirs.to_qkv.load_state_dict(ours.qkv.state_dict())
    theirs.to_out[0].load_state_dict(ours.proj.state_dict())
    theirs.res_conv.load_state_dict(ours.conv.state_dict())
    return theirs


# case, mixer, options, the package's name and how its layer is made with our weights
PEERS: tuple[tuple[str, str, dict, str, Callable[[Mixer, int, int], nn.Module]], ...] = (
    ("performer", "performer", {}, "performer-pytorch", performer),
    ("performer_relu", "performer", {"kernel": "relu"}, "performer-pytorch", performer),
    ("linformer", "linformer", {"qkv_bias": False}, "linformer", linformer),
    (
        "linformer of ViX",
        "linformer",
        {"qkv_bias": False, "key_heads": 1, "sharing": "keys_as_values"},
        "linformer",
        linformer,
    ),
    (
        "nystromformer of ViX",
        "nystromformer",
        {"qkv_bias": False, "conv": 33, "pad": True},
        "nystrom-attention",
        nystrom,
    ),
)
ALONE: tuple[tuple[str, str, dict], ...] = (
    ("attention", "attention", {}),
    ("nystromformer", "nystromformer", {}),
    ("linear_transformer", "linear_transformer", {}),
    ("hydra", "hydra", {}),
    ("poly_sa", "poly_sa", {}),
    ("fnet", "fnet", {}),
    ("fourier_learner", "fourier_learner", {}),
    ("sinkhorn", "sinkhorn", {}),
    ("routing", "routing", {}),
    ("reformer", "reformer", {}),
    ("informer", "informer", {}),
    ("scatterbrain", "scatterbrain", {}),
    ("shifted_window", "shifted_window", {}),
    ("gfnet", "gfnet", {}),
    ("afno", "afno", {}),
    ("mlp_mixer", "mlp_mixer", {}),
    ("pooling", "pooling", {}),
)


def built(name: str, options: dict, tokens: int, dim: int, heads: int) -> Mixer:
    side = round((tokens - 1) ** 0.5)
    prefix = int(MIXERS.fact(name, "takes_prefix", True))
    torch.manual_seed(0)
    return MIXERS[name](dim, heads, Layout.of_grid((side, side), prefix), **options)


def called(layer: nn.Module, x: Tensor, prefix: int | None, train: bool) -> Callable[[], object]:
    """The layer on `x` as forward alone or with backward; ours take tokens, with so many class tokens in front."""
    layer.train(train)
    x = x.clone().requires_grad_(train)
    side = round((x.shape[1] - 1) ** 0.5)
    if prefix == 0:
        x = x[:, 1:].detach().requires_grad_(train)
    given = x if prefix is None else Tokens(x, (side, side), prefix)

    def forward() -> Tensor:
        with torch.inference_mode():
            return layer(given)

    def step() -> None:
        for parameter in (x, *layer.parameters()):
            parameter.grad = None
        layer(given).sum().backward()

    return step if train else forward


def main() -> None:
    torch.set_num_threads(num_threads())
    environment("python benchmarks/bm_mixers.py")
    over_packages: list[float] = []
    for size, train in product(SIZES, (False, True)):
        batch, tokens, dim, heads = size
        torch.manual_seed(1)
        x = torch.randn(batch, tokens, dim)
        softmax = TimmAttention(dim, num_heads=heads, qkv_bias=True)
        for case, name, options, package, peer in PEERS:
            ours = built(name, options, tokens, dim, heads)
            with torch.no_grad():
                theirs = peer(ours, dim, heads)
                mine, other = ours.eval()(Tokens(x, None, 1)), theirs.eval()(x)
            error = ((mine - other).abs().max() / other.abs().max()).item()
            ratios = compare(
                {"mixer": case, "size": list(size), "training": train, "error": float(f"{error:.2g}")},
                called(ours, x, 1, train),
                {package: called(theirs, x, None, train), "timm softmax": called(softmax, x, None, train)},
                rounds=11,
            )
            over_packages.append(ratios[package])
        for case, name, options in ALONE:
            ours = built(name, options, tokens, dim, heads)
            compare(
                {"mixer": case, "size": list(size), "training": train},
                called(ours, x, ours.layout.prefix, train),
                {"timm softmax": called(softmax, x, None, train)},
                rounds=7,
            )
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
    main()
