"""What single operators cost: against forms written out, and hand-worked numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from counted import HEADS, Function, cost

from paretovit.cost.counting import count_module

# --- fused and plain forms ---


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
