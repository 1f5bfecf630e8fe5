"""Layers of other packages that do what a mixer of ours does, with its weights.

Each is called as its package calls it, on the layout it is written for: what turns tokens into that is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from linformer.linformer import LinformerSelfAttention
from nystrom_attention import NystromAttention
from performer_pytorch.performer_pytorch import SelfAttention
from reformer_pytorch.reformer_pytorch import LSHSelfAttention
from routing_transformer.routing_transformer import KmeansAttention
from sinkhorn_transformer.sinkhorn_transformer import SinkhornSelfAttention
from timm.layers import Mlp
from timm.models.focalnet import FocalModulation
from timm.models.metaformer import Pooling
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from transformers.models.cvt.modeling_cvt import CvtAttention
from transformers.models.fnet.modeling_fnet import FNetBasicFourierTransform, FNetConfig
from transformers.models.focalnet.modeling_focalnet import FocalNetConfig, FocalNetModulation
from transformers.models.informer.modeling_informer import InformerProbSparseAttention
from transformers.models.nystromformer.modeling_nystromformer import NystromformerConfig, NystromformerSelfAttention

from paretovit.zoo.mixers import Mixer


class Called(nn.Module):
    """A layer of theirs under the call that its package makes of it, with the maps that it leaves to others."""

    def __init__(self, call: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.call, self.layers = call, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x, *self.layers)


def side_of(tokens: int) -> int:
    return round(tokens**0.5)


def as_they_are(x: Tensor) -> Tensor:
    return x


def channels_first(x: Tensor) -> Tensor:
    """(B, N, D) to (B, D, rows, columns)."""
    side = side_of(x.shape[1])
    return x.mT.unflatten(2, (side, side)).contiguous()


def from_channels_first(image: Tensor) -> Tensor:
    return image.flatten(2).mT


def channels_last(x: Tensor) -> Tensor:
    side = side_of(x.shape[1])
    return x.unflatten(1, (side, side))


def from_channels_last(image: Tensor) -> Tensor:
    return image.flatten(1, 2)


@dataclass(frozen=True)
class Peer:
    """One layer of another package.

    case      what the rows call it
    mixer     ours
    package   theirs
    make      their layer with the weights of ours
    options   of our mixer, for so many patches
    prefix    class tokens in front of the patches
    given     what theirs takes, of tokens, and `back` tokens of what it returns
    unlike    why outputs are not equal, if they are not
    """

    case: str
    mixer: str
    package: str
    make: Callable[[Mixer, int, int], nn.Module]
    options: Callable[[int], dict[str, Any]] = field(default=lambda patches: {})
    prefix: int = 0
    given: Callable[[Tensor], Tensor] = as_they_are
    back: Callable[[Tensor], Tensor] = as_they_are
    unlike: str = ""


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


def mapped(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear map of these."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight.copy_(weight)
    if bias is not None:
        linear.bias.copy_(bias)
    return linear


def thirds(linear: nn.Linear) -> list[nn.Linear]:
    """A map to queries, keys and values as three."""
    return [mapped(w, b) for w, b in zip(linear.weight.chunk(3), linear.bias.chunk(3), strict=True)]


def nystrom_of_transformers(ours: Mixer, dim: int, heads: int) -> nn.Module:
    config = NystromformerConfig(
        hidden_size=dim,
        num_attention_heads=heads,
        num_landmarks=ours.landmarks,
        segment_means_seq_len=ours.layout.num_tokens,
        conv_kernel_size=ours.kernel,
        attention_probs_dropout_prob=0.0,
    )
    theirs = NystromformerSelfAttention(config)
    for mine, own in zip((theirs.query, theirs.key, theirs.value), thirds(ours.qkv), strict=True):
        mine.load_state_dict(own.state_dict())
    theirs.conv.load_state_dict(ours.conv.state_dict())
    return Called(lambda x, layer, proj: proj(layer(x)[0]), theirs, mapped(ours.proj.weight, ours.proj.bias))


def reformer(ours: Mixer, dim: int, heads: int) -> nn.Module:
    theirs = LSHSelfAttention(dim, heads=heads, bucket_size=ours.chunk, n_hashes=ours.rounds)
    theirs.to_out.load_state_dict(ours.proj.state_dict())
    theirs.toqk.weight.copy_(ours.qk.weight)
    theirs.tov.weight.copy_(ours.v.weight)
    return theirs


def routing(ours: Mixer, dim: int, heads: int) -> nn.Module:
    theirs = KmeansAttention(ours.clusters, ours.window, heads, dim // heads)
    theirs.kmeans.means.copy_(ours.centers)
    theirs.kmeans.initted.fill_(True)
    halves = zip(ours.qk.weight.chunk(2), ours.qk.bias.chunk(2), strict=True)
    q, k = (mapped(weight, bias) for weight, bias in halves)
    v, proj = mapped(ours.v.weight, ours.v.bias), mapped(ours.proj.weight, ours.proj.bias)

    def call(x: Tensor, layer: nn.Module, q: nn.Module, k: nn.Module, v: nn.Module, proj: nn.Module) -> Tensor:
        parts = (part(x).unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        return proj(layer(*parts)[0].transpose(1, 2).flatten(2))

    return Called(call, theirs, q, k, v, proj)


def sinkhorn(ours: Mixer, dim: int, heads: int) -> nn.Module:
    tokens = ours.layout.num_tokens
    return SinkhornSelfAttention(dim, tokens // ours.blocks, tokens, heads=heads, sinkhorn_iter=ours.iterations)


def informer(ours: Mixer, dim: int, heads: int) -> nn.Module:
    theirs = InformerProbSparseAttention(
        dim, heads, sampling_factor=5
    )  # as many keys per logarithm of the tokens as ours
    return Called(lambda x, layer: layer(x)[0], theirs)


def fnet(ours: Mixer, dim: int, heads: int) -> nn.Module:
    theirs = FNetBasicFourierTransform(FNetConfig(use_tpu_fourier_optimizations=False))
    return Called(lambda x, layer: layer(x)[0], theirs)


def focal_of_transformers(ours: Mixer, dim: int, heads: int) -> nn.Module:
    config = FocalNetConfig(focal_levels=[ours.levels], focal_windows=[ours.kernels[0]])
    theirs = FocalNetModulation(config, 0, dim)
    theirs.projection_in.load_state_dict(as_linear(ours.f))
    for conv, layer in zip(ours.convs, theirs.focal_layers, strict=True):
        layer[0].load_state_dict(conv.state_dict())
    theirs.projection_context.load_state_dict(ours.h.state_dict())
    theirs.projection_out.load_state_dict(as_linear(ours.proj))
    return theirs


def focal_of_timm(ours: Mixer, dim: int, heads: int) -> nn.Module:
    theirs = FocalModulation(dim, focal_window=ours.kernels[0], focal_level=ours.levels)
    for name in ("f", "h", "proj"):
        getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())
    for conv, layer in zip(ours.convs, theirs.focal_layers, strict=True):
        layer[0].load_state_dict(conv.state_dict())
    return theirs


def as_linear(conv: nn.Conv2d) -> dict[str, Tensor]:
    """Of a convolution of single pixels."""
    return {"weight": conv.weight[:, :, 0, 0], "bias": conv.bias}


def pooling(ours: Mixer, dim: int, heads: int) -> nn.Module:
    return Pooling(ours.size)


def mlp_mixer(ours: Mixer, dim: int, heads: int) -> nn.Module:
    theirs = Mlp(ours.layout.num_tokens, ours.hidden)
    theirs.fc1.load_state_dict(ours.fc1.state_dict())
    theirs.fc2.load_state_dict(ours.fc2.state_dict())
    return Called(lambda x, layer: layer(x.transpose(1, 2)).transpose(1, 2), theirs)


def shifted_window(ours: Mixer, dim: int, heads: int) -> nn.Module:
    block = SwinTransformerBlock(dim, ours.grid, heads, window_size=ours.window[0], shift_size=ours.shift[0])
    block.attn.qkv.load_state_dict(ours.qkv.state_dict())
    block.attn.proj.load_state_dict(ours.proj.state_dict())
    block.attn.relative_position_bias_table.copy_(ours.bias_table)
    return Called(lambda x, layer: layer._attn(x), block)


def conv_attention(ours: Mixer, dim: int, heads: int) -> nn.Module:
    side, half = ours.grid[0], ours.kernel // 2
    theirs = CvtAttention(
        heads, dim, ours.kernel, half, half, 1, ours.stride, "dw_bn", True, 0.0, 0.0, with_cls_token=False
    )
    for name, short in (("query", "q"), ("key", "k"), ("value", "v")):
        conv = getattr(theirs.attention, f"convolution_projection_{name}").convolution_projection
        conv.convolution.load_state_dict(getattr(ours, f"conv_{short}").conv.state_dict())
        linear, own = getattr(theirs.attention, f"projection_{name}"), getattr(ours, short)
        linear.weight.copy_(
            own.weight * (heads**0.5 if short == "q" else 1)
        )  # theirs divides by the whole width's root
        linear.bias.copy_(torch.zeros_like(linear.bias) if own.bias is None else own.bias)
        if short == "q":
            linear.bias.mul_(heads**0.5)
    theirs.output.dense.load_state_dict(ours.proj.state_dict())
    return Called(lambda x, layer: layer(x, side, side), theirs)


def vix_linformer(patches: int) -> dict[str, Any]:
    return {"qkv_bias": False, "key_heads": 1, "sharing": "keys_as_values"}


def vix_nystrom(patches: int) -> dict[str, Any]:
    return {"qkv_bias": False, "conv": 33, "pad": True}


PEERS: tuple[Peer, ...] = (
    Peer("performer", "performer", "performer-pytorch", performer, prefix=1),
    Peer("performer_relu", "performer", "performer-pytorch", performer, lambda patches: {"kernel": "relu"}, prefix=1),
    Peer("linformer", "linformer", "linformer", linformer, lambda patches: {"qkv_bias": False}, prefix=1),
    Peer("linformer of ViX", "linformer", "linformer", linformer, vix_linformer, prefix=1),
    Peer("nystromformer of ViX", "nystromformer", "nystrom-attention", nystrom, vix_nystrom, prefix=1),
    # theirs wants a whole number of tokens for each landmark
    Peer("nystromformer", "nystromformer", "transformers", nystrom_of_transformers,
         lambda patches: {"landmarks": 49 if patches % 64 else 64, "conv": 3}),
    Peer("fnet", "fnet", "transformers", fnet, prefix=1),
    Peer("mlp_mixer", "mlp_mixer", "timm", mlp_mixer),
    Peer("pooling", "pooling", "timm", pooling, given=channels_first, back=from_channels_first),
    Peer("focal", "focal", "transformers", focal_of_transformers, given=channels_last, back=from_channels_last),
    Peer("focal", "focal", "timm", focal_of_timm, given=channels_first, back=from_channels_first),
    Peer("shifted_window", "shifted_window", "timm", shifted_window,
         lambda patches: {"window": 8 if patches % 7 else 7, "block": 1}, given=channels_last, back=from_channels_last),
    Peer("conv_attention", "conv_attention", "transformers", conv_attention),
    Peer("routing", "routing", "routing-transformer", routing),
    Peer("reformer", "reformer", "reformer-pytorch", reformer, lambda patches: {"chunk": 64 if patches % 49 else 49},
         unlike="other projections are drawn"),
    Peer("informer", "informer", "transformers", informer, unlike="other keys are drawn"),
    Peer("sinkhorn", "sinkhorn", "sinkhorn-transformer", sinkhorn, lambda patches: {"blocks": 8 if patches % 7 else 7},
         unlike="it has another net that scores blocks"),
)  # fmt: skip
