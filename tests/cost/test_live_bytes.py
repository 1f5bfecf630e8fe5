"""Predicted memory: against the allocator's own account, against sums by hand, and beyond any machine's memory."""

from __future__ import annotations

import json
import resource
import statistics
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from paretovit import cli
from paretovit.cost.count import count
from paretovit.cost.live_bytes import live_bytes, predicted_peak, predicted_rows
from paretovit.cost.prepare import prepare
from paretovit.cost.torch_sessions import most_live_bytes
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

aten = torch.ops.aten
BATCH = 16  # from here on torch has 1 x 1 convolutions done by oneDNN whatever the number of threads


def measured_peak(spec: ModelSpec, *, batch_size: int, training: bool) -> int:
    return prepare(spec, threads=1, batch_size=batch_size, training=training).peak_bytes()


def changed(spec: ModelSpec, **slots: Part) -> ModelSpec:
    return replace(spec, stages=tuple(replace(stage, **slots) for stage in spec.stages))


# --- against the allocator ---

SMALL = [
    "vit_pico_patch1_8",
    "performer_pico_patch1_8",
    "nystromformer_pico_patch1_8",
    "swin_vit_pico_patch1_8",
    "cvt_vit_pico_patch1_8",
    "conv_former_vit_pico_patch1_8",
    "fnet_pico_patch1_8",
    "gfnet_vit_pico_patch1_8",
    "evit_fuse_pico_patch1_8",
    "tome_pico_patch1_8",
    "switch_pico_patch1_8",
]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_the_prediction_is_what_is_measured(name, training):
    spec = resolve(name)
    measured = measured_peak(spec, batch_size=BATCH, training=training)
    assert predicted_peak(spec, batch_size=BATCH, training=training) == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"])
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_timms_models_are_predicted_within_5_percent(name, training):
    spec = replace(resolve(name), image_px=64)
    measured = measured_peak(spec, batch_size=BATCH, training=training)
    assert predicted_peak(spec, batch_size=BATCH, training=training) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(
    ("name", "batch"),
    [("performer_pico_patch4_32", 256), ("fourier_learner_pico_patch4_32", 256),
     ("synthesizer_factorized_random_pico_patch4_160", 1)],
)  # fmt: skip
def test_layers_that_work_in_pieces_are_predicted_in_pieces(name, batch):
    spec = resolve(name)
    measured = measured_peak(spec, batch_size=batch, training=False)
    assert predicted_peak(spec, batch_size=batch, training=False) == pytest.approx(measured, rel=0.02)


@pytest.mark.slow
def test_the_catalogs_tiny_models_are_predicted_within_5_percent_in_the_median():
    errors = []
    for name in [
        *(f"{kind}_tiny_patch16_224" for kind in ("vit", "performer", "nystromformer", "fnet", "cvt_vit", "tome")),
        "xcit_tiny_12_p16_224",
        "swin_tiny_patch4_window7_224",
        "coat_lite_tiny",
        "poolformer_s12",
    ]:
        for training in (False, True):
            measured = measured_peak(resolve(name), batch_size=8, training=training)
            errors.append(abs(predicted_peak(resolve(name), batch_size=8, training=training) / measured - 1))
    assert statistics.median(errors) <= 0.05
    assert max(errors) <= 0.1


def rows_of(*shape: int) -> torch.Tensor:
    return torch.empty(shape)


def columns_of(*shape: int) -> torch.Tensor:
    """The same, not contiguous: the last two axes lie the other way round in memory."""
    return torch.empty(*shape[:-2], shape[-1], shape[-2]).mT


def channels_last(*shape: int) -> torch.Tensor:
    return torch.empty(shape, memory_format=torch.channels_last)


X, Y, XT, YT = rows_of(8, 196, 64), rows_of(8, 196, 64), columns_of(8, 196, 64), columns_of(8, 196, 64)
D, ROW = torch.empty(64), torch.empty(8, 196, 1)
IMAGE, LAST = rows_of(16, 64, 28, 28), channels_last(16, 64, 28, 28)
HEADS, MASK = rows_of(32, 2, 300, 32), rows_of(32, 1, 1, 300)
TRUTHS = torch.ones(300, 300, dtype=torch.bool)
COMPLEX = torch.empty(8, 14, 8, 64, dtype=torch.complex64)
ALL = [True, True, True]


def conv(image, filters, stride=1, padding=1, groups=1):
    return aten.convolution(image, filters, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups)


def conv_backward(grad, image, filters, stride=1, padding=1, groups=1, mask=(True, True, False)):
    return aten.convolution_backward(
        grad, image, filters, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, list(mask)
    )


OPERATORS = {
    "layer norm": (lambda x, d: aten.native_layer_norm(x, [64], d, d, 1e-6), X, D),
    "layer norm of columns": (lambda x, d: aten.native_layer_norm(x, [64], d, d, 1e-6), XT, D),
    "layer norm's gradient": (
        lambda g, x, r, d: aten.native_layer_norm_backward(g, x, [64], r, r, d, d, ALL), XT, YT, ROW, D,
    ),
    "softmax": (lambda x: aten._softmax(x, -1, False), X),
    "softmax of columns": (lambda x: aten._softmax(x, -1, False), XT),
    "softmax's gradient": (lambda g, y: aten._softmax_backward_data(g, y, -1, torch.float32), XT, YT),
    "log softmax of columns": (lambda x: aten._log_softmax(x, -1, False), XT),
    "log softmax's gradient": (lambda g, y: aten._log_softmax_backward_data(g, y, -1, torch.float32), XT, YT),
    "logsumexp": (lambda x: aten.logsumexp(x, [1]), X),
    "gelu's gradient": (aten.gelu_backward, X, Y),
    "silu's gradient": (aten.silu_backward, X, Y),
    "roll along one axis": (lambda x: aten.roll(x, [3], [1]), X),
    "roll along two": (lambda x: aten.roll(x, [3, 3], [1, 2]), X),
    "rows picked from columns": (lambda x: aten.index_select(x, 1, torch.arange(50, device=x.device)), XT),
    "batch norm's gradient": (
        lambda g, x, d: aten.native_batch_norm_backward(g, x, d, None, None, d, d, True, 1e-5, ALL), IMAGE, IMAGE, D,
    ),
    "batch norm's gradient in another layout": (
        lambda g, x, d: aten.native_batch_norm_backward(g, x, d, None, None, d, d, True, 1e-5, ALL), LAST, IMAGE, D,
    ),
    "real Fourier transform": (lambda x: aten._fft_r2c(x, [2], 0, True), X),
    "real Fourier transform in 2-D": (lambda x: aten._fft_r2c(x, [1, 2], 0, True), X),
    "real Fourier transform of inner axes": (lambda x: aten._fft_r2c(x, [1, 2], 0, True), rows_of(8, 14, 14, 64)),
    "Fourier transform in 2-D": (lambda x: aten._fft_c2c(x, [1, 2], 0, True), COMPLEX),
    "inverse real Fourier transform": (lambda x: aten._fft_c2r(x, [2], 0, 14), COMPLEX),
    "inverse real Fourier transform of the last axis": (lambda x: aten._fft_c2r(x, [3], 0, 126), COMPLEX),
    "inverse real Fourier transform in 2-D": (lambda x: aten._fft_c2r(x, [1, 2], 0, 14), COMPLEX),
    "inverse real Fourier transform of the last two axes": (lambda x: aten._fft_c2r(x, [2, 3], 0, 126), COMPLEX),
    "convolution": (conv, IMAGE, rows_of(64, 64, 3, 3)),
    "convolution of odd channels": (conv, rows_of(16, 24, 28, 28), rows_of(40, 24, 3, 3)),
    "convolution of a picture": (conv, rows_of(16, 3, 64, 64), rows_of(64, 3, 3, 3)),
    "convolution of columns": (conv, columns_of(16, 64, 28, 28), rows_of(64, 64, 3, 3)),
    "convolution, channels last": (conv, LAST, rows_of(64, 64, 3, 3)),
    "convolution, one channel to a group": (
        lambda x, w: conv(x, w, groups=4), rows_of(8, 4, 64, 64), rows_of(4, 1, 3, 3),
    ),
    "convolution's gradients": (conv_backward, IMAGE, IMAGE, rows_of(64, 64, 3, 3)),
    "convolution's gradients, of columns": (
        conv_backward, columns_of(16, 64, 28, 28), columns_of(16, 64, 28, 28), rows_of(64, 64, 3, 3),
    ),
    "convolution's gradients, strided": (
        lambda g, x, w: conv_backward(g, x, w, stride=2), rows_of(16, 64, 14, 14), IMAGE, rows_of(64, 64, 3, 3),
    ),
    "convolution's gradient by the filters alone": (
        lambda g, x, w: conv_backward(g, x, w, mask=(False, True, False)), IMAGE, IMAGE, rows_of(64, 64, 3, 3),
    ),
    "convolution's gradients, channels last, 7 x 7": (
        lambda g, x, w: conv_backward(g, x, w, padding=3, groups=64), LAST, LAST, rows_of(64, 1, 7, 7),
    ),
    "attention": (lambda q: F.scaled_dot_product_attention(q, q, q), HEADS),
    "attention without a batch": (lambda q: F.scaled_dot_product_attention(q, q, q), rows_of(64, 300, 32)),
    "attention with a mask": (lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m), HEADS, MASK),
    "attention with a mask of truths": (
        lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m), HEADS, TRUTHS,
    ),
    "attention with a learned mask": (
        lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m), HEADS, nn.Parameter(rows_of(2, 300, 300)),
    ),
    "attention with dropout": (lambda q: F.scaled_dot_product_attention(q, q, q, dropout_p=0.1), HEADS),
}  # fmt: skip


# one thread: buffers that a kernel has for each of them are left out, and these tensors are small
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", OPERATORS.values(), ids=OPERATORS)
def test_an_operator_takes_what_the_allocator_gives(case):
    call, *arguments = case
    made = []
    measured = most_live_bytes(lambda: made.append(call(*arguments)))
    with live_bytes() as live:
        on_meta = [
            torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta", requires_grad=t.requires_grad)
            for t in arguments
        ]
        before = live.now
        made.append(call(*on_meta))
    assert live.peak - before == pytest.approx(measured, rel=0.05)


# --- by hand ---


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def test_a_tensor_lives_until_its_last_view_goes():
    with live_bytes() as live:
        whole = meta(10, 10)
        view = whole[:1].view(-1)
        assert live.now == 400
        del whole
        assert live.now == 400
        del view
    assert (live.now, live.peak) == (0, 400)


def test_operators_in_place_make_nothing():
    with live_bytes() as live:
        meta(10, 10).mul_(2).add_(1).relu_()
    assert live.peak == 400


def test_a_product_is_there_once_however_it_is_viewed():
    with live_bytes() as live:
        left, right = meta(2, 3, 4, 5), meta(2, 3, 5, 6)
        for _ in range(2):  # what came out the first time is remembered
            left @ right
    assert live.peak == 4 * 2 * 3 * (4 * 5 + 5 * 6 + 4 * 6)


def test_what_autograd_keeps_lives_until_the_backward_pass():
    with live_bytes() as live:
        x = meta(100).requires_grad_()
        y = x.exp().sin()  # the sine's gradient needs its input, the exponential's its output: one tensor
        assert live.now == 400 + 800
        y.sum().backward()
        del y
        assert live.now == 400 + 400, "the gradient"


def test_a_step_holds_weights_gradients_and_both_moments():
    # at batch 1 the optimizer's step is the peak: its two temporaries for the largest of the weights on top
    spec = resolve("vit_tiny_patch32_224", img_size=32)
    weights = [p.nbytes for p in build(spec, device="meta").parameters()]
    known = 4 * sum(weights) + 2 * max(weights) + 4 * 3 * 32 * 32
    assert predicted_peak(spec, batch_size=1, training=True) == pytest.approx(known, rel=0.01)


def test_scores_of_attention_that_is_not_fused_are_seen():
    fused = resolve("vit_pico_patch1_16")
    plain = changed(fused, mixer=Part.of("attention", fused=False))
    scores = 4 * 4 * 2 * 257**2  # bytes: images, heads, tokens x tokens; four blocks keep them for the backward pass
    for training, kept in ((False, 1), (True, 4)):
        with_scores, without = (predicted_peak(s, batch_size=4, training=training) for s in (plain, fused))
        assert with_scores - without >= kept * scores
        assert with_scores == pytest.approx(measured_peak(plain, batch_size=4, training=training), rel=0.01)


# --- what no machine holds, and what nobody can predict ---


def test_a_step_of_100_gigabytes_is_predicted_without_memory():
    spec = resolve("vit_base_patch16_224")
    predicted_peak(spec, batch_size=1, training=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = predicted_peak(spec, batch_size=1500, training=True)
    assert peak > 100e9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"


class ValueReader(nn.Module):
    """Looks at its image before it decides what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        brightest = image.mean((2, 3))
        return self.head(brightest if brightest.max() > 0 else -brightest)


def test_a_model_that_asks_for_values_has_rows_that_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "reader", sys.modules[__name__])
    rows = predicted_rows(resolve("reader:ValueReader"), batch_size=2)
    assert [row.value for row in rows] == [None, None]
    assert all("needs values" in row.why for row in rows)


def test_rows_say_that_they_are_predicted_and_for_what():
    spec = resolve("vit_pico_patch1_8")
    rows = predicted_rows(spec, batch_size=4)
    assert [row.indicator for row in rows] == ["peak_bytes_infer", "peak_bytes_train"]
    assert [row.value for row in rows] == [predicted_peak(spec, batch_size=4, training=t) for t in (False, True)]
    for row in rows:
        assert (row.unit, row.origin.how, row.conditions.spec) == ("B", "predicted", spec.key)
        assert (row.conditions.batch_size, row.conditions.device, row.conditions.dtype) == (4, None, "float32")


def test_half_the_bytes_a_number_are_half_the_memory():
    spec = resolve("vit_pico_patch1_8")
    full, half = (predicted_peak(spec, batch_size=1, training=False, dtype=d) for d in ("float32", "bfloat16"))
    assert half == pytest.approx(full / 2, rel=0.01)


def test_a_batch_without_images_is_refused():
    with pytest.raises(UserError, match="batch size must be at least 1, got 0"):
        predicted_rows(resolve("vit_pico_patch1_8"), batch_size=0)


def test_counting_predicts_memory_where_a_batch_size_is_given():
    names = [row.indicator for row in count(["vit_pico_patch1_8"], batch_size=4)]
    assert names == [*(row.indicator for row in count(["vit_pico_patch1_8"])), "peak_bytes_infer", "peak_bytes_train"]


def test_the_command_line_predicts_memory_when_asked(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["paretovit", "count", "vit_pico_patch1_8", "--memory", "-b", "4", "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    rows = {row["indicator"]: row for row in json.loads(capsys.readouterr().out)}
    assert end.value.code == 0
    assert rows["peak_bytes_train"]["origin"]["how"] == "predicted"
    assert rows["peak_bytes_train"]["conditions"]["batch_size"] == 4
