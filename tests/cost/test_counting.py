"""The operator counter: against forms written out, hand-worked numbers, published ones, and torch's own counter."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from paretovit.cost import rules
from paretovit.cost.counting import Call, Count, Uncountable, Work, count, count_module, rule
from paretovit.errors import Unmeasurable, UserError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm's advice on its own deprecated names
    import timm
    from timm.models.vision_transformer import VisionTransformer


class Function(nn.Module):
    """A function as a module, so that it can be counted."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def cost(function: Callable[..., Any], *shapes: tuple[int, ...], device: str = "meta") -> Count:
    return count_module(Function(function), *[torch.ones(shape, device=device) for shape in shapes])


def small_vit() -> nn.Module:
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5)


def timm_model(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(name)


def timm_shape(name: str) -> tuple[int, ...]:
    return (1, *timm.get_pretrained_cfg(name).input_size)


# --- fused and plain forms ---

HEADS = (2, 3, 10, 8)  # images, heads, tokens, width of a head


def attention(q, k, v, bias=None):
    scores = q @ k.mT * 8**-0.5
    return (scores if bias is None else scores + bias).softmax(-1) @ v


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight + bias


def group_norm(x, weight, bias):
    groups = x.reshape(2, 3, -1)
    centred = groups - groups.mean(-1, keepdim=True)
    normed = centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    return normed.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


def batch_norm(x, mean, var, weight, bias):
    mean, var, weight, bias = (t[:, None, None] for t in (mean, var, weight, bias))
    return (x - mean) * (var + 1e-5).rsqrt() * weight + bias


def softmax(x):
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def log_softmax(x):
    shifted = x - x.amax(-1, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


def logsumexp(x):
    most = x.amax(-1, keepdim=True)
    return (x - most).exp().sum(-1).log() + most[..., 0]


def variance(x):
    return (x - x.mean(-1, keepdim=True)).square().mean(-1)


def complex_product(a, b):
    return torch.stack((a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]))


def as_complex(x):
    return torch.view_as_complex(x.movedim(0, -1).contiguous())


def distances_by_product(x, y):
    ones_x, ones_y = torch.empty_like(x[..., :1]), torch.empty_like(y[..., :1])
    long_x = torch.cat((-2 * x, x.square().sum(-1, keepdim=True), ones_x), -1)
    return (long_x @ torch.cat((y, ones_y, y.square().sum(-1, keepdim=True)), -1).mT).clamp_min(0).sqrt()


FORMS = {
    "attention": (F.scaled_dot_product_attention, attention, [HEADS] * 3),
    "attention with a bias": (
        lambda q, k, v, b: F.scaled_dot_product_attention(q, k, v, attn_mask=b),
        attention,
        [HEADS] * 3 + [(1, 3, 10, 10)],
    ),
    "attention to other tokens, wider values": (
        F.scaled_dot_product_attention,
        attention,
        [HEADS, (2, 3, 7, 8), (2, 3, 7, 12)],
    ),
    "linear": (F.linear, lambda x, w, b: x @ w.mT + b, [(2, 10, 6), (4, 6), (4,)]),
    "addmm": (torch.addmm, lambda b, x, y: b + x @ y, [(4,), (10, 6), (6, 4)]),
    "scaled baddbmm that adds nothing": (
        lambda b, x, y: torch.baddbmm(b, x, y, beta=0, alpha=0.5),
        lambda b, x, y: 0.5 * (x @ y),
        [(2, 5, 4), (2, 5, 6), (2, 6, 4)],
    ),
    "addbmm": (
        torch.addbmm,
        lambda b, x, y: b + x.transpose(0, 1).flatten(1) @ y.flatten(0, 1),
        [(5, 4), (2, 5, 6), (2, 6, 4)],
    ),
    "einsum": (lambda q, k: torch.einsum("bhic,bhjc->bhij", q, k), lambda q, k: q @ k.mT, [HEADS] * 2),
    "convolution of patches": (
        lambda x, w, b: F.conv2d(x, w, b, stride=4),
        lambda x, w, b: F.unfold(x, 4, stride=4).mT @ w.flatten(1).mT + b,
        [(1, 3, 8, 12), (5, 3, 4, 4), (5,)],
    ),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (6,), w, b), layer_norm, [(2, 10, 6), (6,), (6,)]),
    "group_norm": (lambda x, w, b: F.group_norm(x, 3, w, b), group_norm, [(2, 6, 4, 5), (6,), (6,)]),
    "batch_norm": (
        lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b),
        batch_norm,
        [(2, 6, 4, 5), (6,), (6,), (6,), (6,)],
    ),
    "rms_norm": (
        lambda x, w: torch.ops.aten._fused_rms_norm(x, [6], w, 1e-6),
        lambda x, w: F.rms_norm(x, (6,), w, 1e-6),
        [(2, 10, 6), (6,)],
    ),
    "softmax": (lambda x: x.softmax(-1), softmax, [(2, 10, 6)]),
    "log_softmax": (lambda x: x.log_softmax(-1), log_softmax, [(2, 10, 6)]),
    "logsumexp": (lambda x: x.logsumexp(-1), logsumexp, [(2, 10, 6)]),
    "var": (lambda x: x.var(-1), variance, [(2, 10, 6)]),
    "std": (lambda x: x.std(-1), lambda x: variance(x).sqrt(), [(2, 10, 6)]),
    "vector_norm": (lambda x: x.norm(dim=-1), lambda x: x.square().sum(-1).sqrt(), [(2, 10, 6)]),
    "vector_norm of order 1": (lambda x: x.norm(1, dim=-1), lambda x: x.abs().sum(-1), [(2, 10, 6)]),
    "vector_norm of order 3": (
        lambda x: x.norm(3, dim=-1),
        lambda x: x.abs().pow(3).sum(-1).pow(1 / 3),
        [(2, 10, 6)],
    ),
    "distances": (
        lambda x, y: torch.cdist(x, y),
        lambda x, y: (x[:, :, None] - y[:, None]).square().sum(-1).sqrt(),
        [(2, 10, 6), (2, 7, 6)],
    ),
    "distances of many": (
        torch.cdist,
        lambda x, y: distances_by_product(x, y),
        [(2, 30, 6), (2, 40, 6)],
    ),
    "addcmul": (torch.addcmul, lambda a, b, c: a + b * c, [(4, 5)] * 3),
    "lerp": (lambda a, b: torch.lerp(a, b, 0.3), lambda a, b: a + 0.3 * (b - a), [(4, 5)] * 2),
    "glu": (F.glu, lambda x: x[:, :3] * x[:, 3:].sigmoid(), [(4, 6)]),
    "sub with alpha": (lambda a, b: a.sub(b, alpha=2), lambda a, b: a - b * 2, [(4, 5)] * 2),
    "average pooling": (lambda x: F.avg_pool2d(x, 2), lambda x: x.reshape(3, 2, 2, 4, 2).mean((2, 4)), [(1, 3, 4, 8)]),
    "global pooling": (lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: x.mean((-2, -1)), [(1, 3, 4, 8)]),
    "fold": (
        lambda x: F.fold(x, (4, 4), 2, stride=2),
        lambda x: x.new_zeros(1, 16, 4).add_(x.mT.reshape(1, 16, 4)),
        [(1, 16, 4)],
    ),
    "scatter_add": (
        lambda x, i: torch.zeros_like(x).scatter_add_(1, i.long(), x),
        lambda x, i: x.gather(1, i.long()) + x,
        [(3, 8), (3, 8)],
    ),
    "complex product": (
        lambda a, b: as_complex(a) * as_complex(b),
        lambda a, b: complex_product(a, b),
        [(2, 4, 5)] * 2,
    ),
    "complex times real": (lambda a: as_complex(a) * 2.0, lambda a: a * 2.0, [(2, 4, 5)]),
    "weight norm": (
        lambda v, g: torch._weight_norm_interface(v, g, 0)[0],
        lambda v, g: v * (g / v.square().sum(1, keepdim=True).sqrt()),
        [(6, 5), (6, 1)],
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_fused_operator_costs_what_its_plain_form_costs(name: str) -> None:
    fused, plain, shapes = FORMS[name]
    one, other = cost(fused, *shapes), cost(plain, *shapes)
    assert (one.macs, one.elementwise_ops, one.activations) == (other.macs, other.elementwise_ops, other.activations)
    assert one.macs + one.elementwise_ops > 0


# --- hand-worked numbers ---


def test_attention_costs_two_products_and_six_steps_per_score() -> None:
    counted = cost(F.scaled_dot_product_attention, HEADS, (2, 3, 7, 8), (2, 3, 7, 8))
    scores = 2 * 3 * 10 * 7
    assert counted.macs == scores * 8 + 2 * 3 * 10 * 8 * 7
    assert counted.elementwise_ops == 6 * scores
    assert counted.activations == scores + 2 * 3 * 10 * 8


def test_a_causal_mask_costs_a_step_per_score_and_saves_no_product() -> None:
    free = cost(F.scaled_dot_product_attention, HEADS, HEADS, HEADS)
    causal = cost(lambda *qkv: F.scaled_dot_product_attention(*qkv, is_causal=True), HEADS, HEADS, HEADS)
    assert (causal.macs, causal.elementwise_ops) == (free.macs, free.elementwise_ops + 2 * 3 * 10 * 10)


def test_fused_attention_moves_its_inputs_and_its_output_only() -> None:
    tokens = 2 * 3 * 10 * 8
    assert cost(F.scaled_dot_product_attention, HEADS, HEADS, HEADS).bytes_moved == 4 * 4 * tokens
    biased = cost(lambda q, b: F.scaled_dot_product_attention(q, q, q, b.expand(2, 3, 10, 10)), HEADS, (3, 1, 10))
    assert biased.bytes_moved == 4 * (4 * tokens + 3 * 10)  # the bias without its repetitions


@pytest.mark.parametrize(
    ("convolve", "shapes", "macs", "outputs"),
    [
        # 6 outputs of 5 x 4 places, each over 3 channels x 3 x 3
        (lambda x, w: F.conv2d(x, w), [(1, 3, 7, 6), (6, 3, 3, 3)], 6 * 5 * 4 * 27, 6 * 5 * 4),
        # depth-wise: one channel of 3 x 3 each
        (lambda x, w: F.conv2d(x, w, padding=1, groups=6), [(1, 6, 5, 4), (6, 1, 3, 3)], 6 * 5 * 4 * 9, 6 * 5 * 4),
        (lambda x, w: F.conv2d(x, w, stride=2), [(2, 3, 8, 8), (6, 3, 2, 2)], 2 * 6 * 16 * 12, 2 * 6 * 16),
        # transposed: each of 3 x 8 inputs meets a kernel of 5 channels x 4
        (lambda x, w: F.conv_transpose1d(x, w, stride=4), [(1, 3, 8), (3, 5, 4)], 3 * 8 * 20, 5 * 32),
        (lambda x, w: F.conv3d(x, w), [(1, 2, 4, 4, 4), (3, 2, 2, 2, 2)], 3 * 27 * 16, 3 * 27),
    ],
    ids=["plain", "depth-wise", "strided", "transposed", "volume"],
)
def test_convolutions_count_a_kernel_per_output(convolve, shapes, macs: int, outputs: int) -> None:
    counted = cost(convolve, *shapes)
    assert (counted.macs, counted.activations, counted.elementwise_ops) == (macs, outputs, 0)


@pytest.mark.parametrize(
    ("transform", "shape", "macs"),
    [
        (lambda x: torch.fft.fft(x + 0j), (3, 8), 3 * 5 * 8 * 3 // 2),  # 5 N log2 N = 120 operations, 60 macs, each
        (torch.fft.rfft, (3, 8), 3 * 30),  # real: half
        (lambda x: torch.fft.irfft(torch.complex(x, x)), (3, 5), 3 * 30),  # 8 real points from 5 complex ones
        (lambda x: torch.fft.fft2(x + 0j), (2, 4, 8), 2 * 5 * 32 * 5 // 2),  # 32 points, log2 of 32 is 5
        (lambda x: torch.fft.fft2(x + 0j, dim=(1, 0)), (4, 8, 7), 7 * 400),  # along the first axes, 7 channels
        (torch.fft.rfft2, (2, 4, 8), 2 * 200),
        (lambda x: torch.fft.rfft(x, n=16), (8,), 80),  # padded to 16 points: 160 real operations
        (torch.fft.rfft, (6,), round(5 * 6 * math.log2(6) / 4)),
    ],
    ids=["fft", "rfft", "irfft", "fft2", "other axes", "rfft2", "padded", "not a power of two"],
)
def test_fourier_transforms_count_half_their_real_operations(transform, shape, macs: int) -> None:
    assert cost(transform, shape).macs == macs


def test_a_complex_product_of_matrices_counts_four_real_ones() -> None:
    real = cost(lambda a, b: a @ b, (5, 6), (6, 7))
    complex_ = cost(lambda a, b: torch.complex(a, a) @ torch.complex(b, b), (5, 6), (6, 7))
    assert (real.macs, complex_.macs) == (210, 840)


@pytest.mark.parametrize(
    ("function", "shapes", "steps"),
    [
        (lambda x: F.gelu(x), [(4, 5)], 20),
        (lambda x: F.hardswish(x, inplace=True), [(4, 5)], 20),
        (lambda x: x.masked_fill_(x > 0, 0.0), [(4, 5)], 40),
        (lambda x, y: x + y, [(4, 1), (1, 5)], 20),  # outputs of a broadcast
        (lambda x: x.sum(), [(4, 5)], 20),  # inputs of a reduction
        (lambda x: x.amax(0), [(4, 5)], 20),
        (lambda x: x.max(0), [(4, 5)], 20),
        (torch.max, [(4, 1), (1, 5)], 20),  # of two: pointwise
        (lambda x: x.cumsum(1), [(4, 5)], 20),
        (lambda x: x.topk(2), [(4, 5)], 20),
        (lambda x: x.sort(-1), [(4, 5)], 60),  # rows of 5: 3 comparisons per element
        (lambda x: x.sort(0), [(4, 5)], 40),
        (lambda x: F.max_pool2d(x, 3, 2, 1), [(1, 2, 8, 8)], 9 * 2 * 16),
        (lambda x: F.adaptive_avg_pool2d(x, 3), [(1, 2, 4, 4)], 2 * 6 * 6),  # rows 0-1, 1-2, 2-3: two each
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), [(1, 2, 4, 4)], 7 * 2 * 64),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), [(1, 2, 4, 4)], 31 * 2 * 64),
        (lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), [(1, 2, 4, 4)], 0),
        # antialiased, to half the size: 4 taps each way, 8 x 4 results of the columns, then 4 x 4
        (lambda x: F.interpolate(x, (4, 4), mode="bilinear", antialias=True), [(1, 1, 8, 8)], 7 * 32 + 7 * 16),
        (lambda x, g: F.grid_sample(x, g, align_corners=False), [(1, 2, 4, 4), (1, 3, 3, 2)], 14 * 9 + 7 * 18),
        (lambda x: torch.bucketize(x, x[0, :4]), [(4, 5)], 60),  # 5 places among 4 bounds: 3 comparisons
        (lambda x: x.logcumsumexp(1), [(4, 5)], 120),
        (lambda x: x.aminmax(), [(4, 5)], 40),
        (torch.rand_like, [(4, 5)], 20),
        (lambda x: torch.cat((x, x)).roll(1).flip(0), [(4, 5)], 0),
        (lambda x: F.dropout(x, 0.5), [(4, 5)], 60),  # draw, divide, multiply
    ],
)
def test_elementwise_operations_are_counted_as_defined(function, shapes, steps: int) -> None:
    assert cost(function, *shapes).elementwise_ops == steps


@pytest.mark.parametrize(
    ("function", "shapes", "elements"),
    [
        (lambda x: x.view(20).view(5, 4).mT[1:].unsqueeze(0).expand(3, -1, -1), [(4, 5)], 0),
        (lambda x: x.new_empty(100), [(4, 5)], 0),
        (lambda x: x.new_zeros(100), [(4, 5)], 100),
        (lambda x: x.mT.contiguous(), [(4, 5)], 40),
        (lambda x: x.contiguous(), [(4, 5)], 0),
        (lambda x, y: torch.cat((x, y)), [(4, 5), (2, 5)], 60),
        (lambda x, y: x.expand(4, 5) + y, [(1, 5), (4, 5)], 45),  # the expanded one is read once
        (lambda x: x.relu_(), [(4, 5)], 40),
        (lambda x, y: torch.add(x, x, out=y), [(4, 5), (4, 5)], 60),  # the target is not read
        (lambda x, y: x.copy_(y), [(4, 5), (4, 5)], 40),
        (lambda x: x.repeat(3, 1), [(4, 5)], 80),
        (F.linear, [(2, 10, 6), (4, 6), (4,)], 120 + 24 + 4 + 80),
        (lambda b, x, y: torch.addmm(b, x, y, beta=0), [(10, 4), (10, 6), (6, 4)], 60 + 24 + 40),
        (lambda x, w, b: F.layer_norm(x, (6,), w, b), [(2, 10, 6), (6,), (6,)], 120 + 12 + 120),
        (lambda x, m, v: F.batch_norm(x, m, v), [(2, 6, 4, 5), (6,), (6,)], 240 + 12 + 240),
        (lambda x: x.softmax(-1), [(4, 5)], 40),
    ],
)
def test_bytes_are_those_read_and_written(function, shapes, elements: int) -> None:
    assert cost(function, *shapes).bytes_moved == 4 * elements


@pytest.mark.parametrize(
    ("function", "moved"),
    [
        # 12 indices of 8 bytes; elements of 4
        (lambda x, i: x.gather(1, i), 12 * 8 + 2 * 12 * 4),
        (lambda x, i: x.scatter_(1, i, 1.0), 12 * 8 + 12 * 4),
        (lambda x, i: x.scatter_(1, i, x), 12 * 8 + 40 * 4 + 12 * 4),
        (lambda x, i: x.scatter(1, i, 1.0), 2 * 40 * 4 + 12 * 8 + 12 * 4),
        (lambda x, i: x.scatter_add_(1, i, x), 12 * 8 + 40 * 4 + 2 * 12 * 4),
        (lambda x, i: x.index_select(1, i[0]), 3 * 8 + 2 * 12 * 4),
        (lambda x, i: x[:, i[0]], 3 * 8 + 2 * 12 * 4),
        (lambda x, i: x.index_put_((i[:, 0], i[:, 1]), x[0, 0]), 2 * 4 * 8 + 4 + 4 * 4),
        (lambda x, i: x.index_add_(1, i[0], x[:, :3]), 3 * 8 + 12 * 4 + 2 * 12 * 4),
    ],
)
def test_gathering_and_scattering_move_only_what_they_touch(function, moved: int) -> None:
    x, index = torch.empty(4, 10, device="meta"), torch.empty(4, 3, dtype=torch.long, device="meta")
    assert count_module(Function(function), x, index).bytes_moved == moved


def test_bytes_follow_the_precision() -> None:
    x = torch.empty(4, 5, device="meta")
    assert (
        count_module(Function(torch.exp), x.half()).bytes_moved * 2 == count_module(Function(torch.exp), x).bytes_moved
    )


# --- whole models ---

VIT_B = {8: (86.5, 78.54), 16: (86.6, 17.63), 32: (88.2, 4.42), 64: (95.3, 0.93)}


@pytest.mark.parametrize("patch_px", VIT_B)
def test_vit_base_costs_what_the_efficiency_misnomer_prints(patch_px: int) -> None:
    """Dehghani et al. 2021, Table 1 (first columns): parameters to the printed digit, macs within 1%."""
    params_m, gmacs = VIT_B[patch_px]
    counted = count(lambda: VisionTransformer(patch_size=patch_px), (1, 3, 224, 224))
    # The table cuts 86.58 M for patches of 8 off to 86.5; the others round to what it prints.
    assert params_m in (round(counted.params / 1e6, 1), math.floor(counted.params / 1e5) / 10)
    assert counted.macs / 1e9 == pytest.approx(gmacs, rel=0.01)


# timm's result tables of 2022, made by fvcore before attention was fused: millions of parameters and of activations
PUBLISHED = {
    "vit_tiny_patch16_224": (5.72, 5.97),
    "vit_base_patch16_224": (86.57, 23.90),
    "resnet50": (25.56, 11.11),
    "efficientnet_b0": (5.29, 6.75),
    "swin_tiny_patch4_window7_224": (28.29, 17.06),
    "xcit_tiny_12_p16_224": (6.72, 6.29),
    "coat_lite_tiny": (5.72, 11.65),
    "halonet26t": (12.48, 11.69),
    "cait_xxs24_224": (11.96, 20.29),
    "mixer_s16_224": (18.53, 5.97),
    "poolformer_s12": (11.92, 5.53),
    "maxvit_tiny_tf_224": (30.92, 35.78),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_params_and_activations_are_those_that_timm_publishes(name: str) -> None:
    counted = count(lambda: timm_model(name), timm_shape(name))
    params_m, activations_m = PUBLISHED[name]
    assert round(counted.params / 1e6, 2) == params_m
    assert counted.activations / 1e6 == pytest.approx(activations_m, abs=0.0051)


FAMILIES = [
    "deit_tiny_patch16_224", "swinv2_tiny_window8_256", "xcit_small_12_p8_224", "cait_s24_224", "coat_tiny",
    "mixer_b16_224", "poolformerv2_s12", "focalnet_tiny_srf", "maxvit_rmlp_pico_rw_256", "pit_ti_224", "levit_256",
    "nextvit_small", "fastvit_t8", "swiftformer_xs", "efficientvit_b0", "efficientformerv2_s0", "resnet18",
    "regnety_002", "efficientnet_b0", "vgg11", "halonet26t", "convnext_tiny", "mobilevitv2_050", "volo_d1_224",
    "twins_svt_small", "tnt_s_patch16_224", "hiera_tiny_224", "davit_tiny", "vit_base_patch16_siglip_224",
    "vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224", "beit_base_patch16_224",
]  # fmt: skip


def macs_by_torch(model: nn.Module, image: Tensor) -> int:
    model.requires_grad_(False)  # else its module tracker trips over views of parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", ["levit_128s", *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES)])
def test_macs_are_those_of_torchs_counter_on_meta(name: str) -> None:
    with torch.device("meta"):
        model, image = timm_model(name), torch.empty(timm_shape(name))
    assert count_module(model, image).macs == macs_by_torch(model, image) > 0


# --- the same on every kind of tensor ---


class Unlike(nn.Module):
    """What devices take apart differently: encoder layers with a fast path, attention with wide values, one-hot."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(24, 4, 48, batch_first=True)
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)
        self.wide = nn.Linear(24, 36)
        self.norm = nn.GroupNorm(4, 24)

    def forward(self, image: Tensor) -> Tensor:
        x = image.unflatten(2, (4, 8)).flatten(3).flatten(1, 2)[..., :24]
        x = self.attention(self.layer(x), x, x)[0]
        x = F.scaled_dot_product_attention(x[:, None], x[:, None], self.wide(x)[:, None])
        classes = F.one_hot(torch.zeros(1, 12, dtype=torch.long, device=x.device), 3)
        return self.norm(x.transpose(1, 2).flatten(2)[..., :24].mT) + classes[..., :1].float().mean()


@pytest.mark.parametrize("make", [small_vit, Unlike], ids=["ViT", "unlike"])
def test_meta_fake_and_real_tensors_give_the_same(make: Callable[[], nn.Module]) -> None:
    on_meta = count(make, (1, 3, 32, 32))
    model = make()
    assert count_module(model, torch.zeros(1, 3, 32, 32)) == on_meta
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert count_module(model, torch.zeros(1, 3, 32, 32)) == on_meta


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in FAMILIES if n != "xcit_small_12_p8_224"])
def test_a_family_gives_the_same_on_meta_and_on_real_tensors(name: str) -> None:
    shape = timm_shape(name)
    assert count_module(timm_model(name), torch.zeros(shape)) == count(lambda: timm_model(name), shape)


USUAL = {
    "order": lambda x: (
        x.sort(),
        x.argsort(),
        x.topk(2),
        x.kthvalue(2),
        x.median(1),
        x.msort(),
        x.argmax(1),
        x.mode(1),
    ),
    "scans": lambda x: (x.cumsum(1), x.cumprod(1), x.cummax(1), x.diff(dim=1), x.logcumsumexp(1)),
    "gathers": lambda x: (x.take_along_dim(x.argsort(1), 1), x[:, x.argsort(1)[0]], x.index_select(0, x[0].long())),
    "scatters": lambda x: (
        x.scatter(1, x.argsort(1), 1.0),
        x.scatter_reduce(1, x.argsort(1), x, "amax"),
        x.index_fill(0, x[0, :2].long(), 1.0),
        x.index_copy(0, x[0, :2].long(), x[:2]),
        x.clone().index_put_((x[0].long(),), x[0, 0], accumulate=True),
    ),
    "masks": lambda x: (torch.where(x > 0, x, 0.0), x.tril(), x.masked_fill(x > 0, 1), F.one_hot(x.long(), 3)),
    "products": lambda x: (x @ x.mT, x[0] @ x.mT, torch.dot(x[0], x[0]), torch.outer(x[0], x[0]), torch.kron(x, x)),
    "reductions": lambda x: (
        x.var(1),
        x.std(),
        x.prod(1),
        x.amin(1),
        x.any(1),
        x.count_nonzero(1),
        x.norm(p=1),
        x.max(),
    ),
    "distances": lambda x: (
        torch.cdist(x, x),
        F.cosine_similarity(x, x),
        F.normalize(x, dim=0),
        F.pairwise_distance(x, x),
    ),
    "spectra": lambda x: (
        torch.fft.fft2(x).real,
        torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho")),
        torch.fft.ifft(x).abs(),
    ),
    "images": lambda x: (
        F.pixel_unshuffle(x[None, None], 2),
        F.pad(x[None, None], (1, 1, 1, 1), mode="reflect"),
        F.pad(x[None, None], (1, 1, 1, 1), mode="circular"),
        F.fold(F.unfold(x[None, None], 3), (4, 8), 3),
        F.max_pool2d(x[None, None], 2),
        F.max_pool1d(x, 2),
        F.adaptive_avg_pool2d(x[None, None], (3, 3)),
        F.interpolate(x[None, None], scale_factor=2, mode="bicubic"),
        F.interpolate(x[None], size=3, mode="linear"),
        F.local_response_norm(x[None, None], 2),
        F.instance_norm(x[None]),
    ),
    "activations": lambda x: (
        *(f(x) for f in (F.relu6, F.silu, F.mish, F.hardsigmoid, F.elu, F.selu, F.softplus, F.logsigmoid, F.softsign)),
        F.hardswish(x.clone(), inplace=True),
        F.leaky_relu(x.clone(), inplace=True),
        F.prelu(x, x[0, :1]),
        F.gumbel_softmax(x),
    ),
    "copies": lambda x: (
        x.repeat_interleave(2, 0),
        x.tile(2),
        x.rot90(),
        x.half(),
        x.mT.reshape(-1),
        x.unfold(1, 3, 1),
    ),
    "equal scalars of other types": lambda x: (x.long() * 2, x.long() * 2.0, (x.long() * 2.0).exp()),
    "made on the way": lambda x: (
        torch.arange(4),
        torch.linspace(0, 1, 5),
        x.new_full((3,), 2.0),
        torch.eye(3),
        x[0].diag(),
    ),
}


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_operators_have_rules_and_cost_the_same_on_meta_and_real_tensors(name: str) -> None:
    assert cost(USUAL[name], (4, 8)) == cost(USUAL[name], (4, 8), device="cpu")


def test_inference_mode_inside_a_model_hides_nothing() -> None:
    def plain(x: Tensor) -> Tensor:
        return F.linear(x, x.new_ones(5, 8)).softmax(-1).mT.reshape(-1)

    hidden = torch.inference_mode()(plain)
    assert cost(hidden, (3, 4, 8), device="cpu") == cost(plain, (3, 4, 8), device="cpu")


# --- the model is left as found ---


def test_counting_twice_gives_the_same() -> None:
    with torch.device("meta"):
        model = timm_model("levit_128s")  # it remembers the biases that it has looked up
        image = torch.empty(1, 3, 224, 224)
    assert count_module(model, image) == count_module(model, image)


def test_the_model_is_left_as_found() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.dropout = nn.BatchNorm1d(4), nn.Dropout(0.5)
            self.register_buffer("calls", torch.zeros(()))
            self.seen: dict[str, Tensor] = {}
            self.last: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen["x"] = self.last = x
            return self.dropout(self.norm(x))

    model = Remembers().train()
    model.dropout.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_module(model, torch.randn(3, 4))
    assert (model.training, model.norm.training, model.dropout.training) == (True, True, False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.seen, model.last) == ({}, None)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def without_operators(graph, inputs):
    """A compiler whose code runs no operator after its first call, as far as anybody can see."""
    results: list[Any] = []

    def run(*args):
        if not results:
            results.append(graph(*args))
        return results[0]

    return run


@pytest.mark.parametrize("wrap", ["whole", "in place", "a block"])
def test_a_compiled_model_costs_what_it_cost_before(wrap: str) -> None:
    model, image = small_vit().eval(), torch.zeros(1, 3, 32, 32)
    expected = count_module(model, image)
    if wrap == "whole":
        model = torch.compile(model, backend=without_operators)
    elif wrap == "in place":
        model.compile(backend=without_operators)
    else:
        model.blocks[0] = torch.compile(model.blocks[0], backend=without_operators)
    with torch.no_grad():
        model(image)
    assert count_module(model, image) == expected


def test_params_are_what_is_trained_bare_ones_included_and_shared_ones_once() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bare = nn.Parameter(torch.ones(7))
            self.one = nn.Linear(3, 3, bias=False)
            self.same = self.one
            self.frozen = nn.Linear(5, 5).requires_grad_(False)
            self.register_buffer("table", torch.ones(100))

        def forward(self, x: Tensor) -> Tensor:
            return self.same(self.one(x))

    counted = count(Odd, (1, 3))
    assert (counted.params, counted.macs) == (7 + 9, 2 * 9)


def test_operators_add_up_to_the_whole() -> None:
    counted = count(small_vit, (1, 3, 32, 32))
    by_operator = counted.by_operator.values()
    for number in ("macs", "elementwise_ops", "activations", "bytes_moved"):
        assert sum(getattr(operator, number) for operator in by_operator) == getattr(counted, number) > 0
    assert counted.by_operator["aten.scaled_dot_product_attention"].calls == 2
    assert next(iter(counted.by_operator)) == "aten.addmm"  # most macs
    assert "aten.view" not in counted.by_operator


# --- what cannot be counted ---


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch):
    """A user's own operator; the rules are put back afterwards."""
    monkeypatch.setattr(rules, "_RULES", dict(rules._RULES))
    library = torch.library.Library("paretovit_test", "FRAGMENT")
    library.define("scan(Tensor x, *, int steps=3) -> Tensor")
    library.impl("scan", lambda x, *, steps=3: torch.empty_like(x), "CompositeExplicitAutograd")
    yield torch.ops.paretovit_test.scan
    rules.find_rule.cache_clear()
    library._destroy()


def test_an_operator_without_a_rule_is_an_error_that_names_it(scan) -> None:
    with pytest.raises(Uncountable, match=r'paretovit_test\.scan.*@rule\("paretovit_test\.scan"\)') as raised:
        cost(lambda x: scan(x.exp()), (4, 5))
    assert isinstance(raised.value, UserError)
    assert "\n" not in str(raised.value)


def test_a_rule_of_the_users_counts_the_users_operator(scan) -> None:
    @rule("paretovit_test.scan")
    def _scan(call: Call) -> Work:
        return Work(macs=call["steps"] * call["x"].numel(), elementwise_ops=1)

    counted = cost(lambda x: scan(x, steps=7), (4, 5))
    assert (counted.macs, counted.elementwise_ops, counted.bytes_moved) == (140, 1, 2 * 20 * 4)
    assert cost(scan, (4, 5)).macs == 60  # the default of the schema


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[x > 0],
        torch.nonzero,
        lambda x: x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x.masked_select(x > 0),
        torch.unique,
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: F.one_hot(x.long()),
    ],
    ids=["mask", "nonzero", "item", "if", "masked_select", "unique", "tolist", "numpy", "one_hot"],
)
def test_a_model_that_needs_values_says_so(function) -> None:
    with pytest.raises(Unmeasurable, match=r"needs values.*count_module"):
        cost(function, (5,))
    cost(function, (5,), device="cpu")  # and on real tensors it counts


@pytest.mark.parametrize("ask", [lambda x: int(x.sum()), lambda x: len(x.tolist())], ids=["int", "tolist"])
def test_a_model_that_needs_values_to_be_built_says_so(ask) -> None:
    with pytest.raises(Unmeasurable, match="needs values"):
        count(lambda: nn.Linear(ask(torch.ones(3)), 2), (1, 3))


def test_an_error_of_the_model_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"shape|size|reduction dim") as raised:
        cost(lambda x: x @ x, (4, 5))
    assert not isinstance(raised.value, Unmeasurable)
