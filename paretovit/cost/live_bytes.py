"""The peak of live tensor bytes, predicted without a device: nothing is computed and no tensor is allocated.

What runs is what is measured, the sessions of `torch_sessions`, but on meta tensors: every storage counts from the
operator that makes it until its last reference goes, so views count once, operators in place count nothing, and what
autograd keeps counts until the backward pass is done with it. Gradients and the optimizer's moments are there, as in
any step but the first. Meta tensors alone would err in two ways:

attention   is written out on them, with all its scores. Here torch is asked which kernel it would take on the CPU,
            and that one runs.
workspaces  are what a kernel takes for itself and gives back before it returns. `_WORKSPACES` has those of torch's
            CPU kernels that are as large as a tensor of theirs; buffers per thread and few rows are left out.

In float32 the prediction is what `Session.peak_bytes` measures on a CPU, mostly to the byte. With one thread and fewer
than 16 images it is too high by the workspaces of 1 x 1 convolutions, which torch then does without oneDNN. In half
precision it is too low: the kernels' copies for that are not in the table, and a model that goes over to float32 on
CPUs alone does not do so here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from paretovit.cost.calls import Call
from paretovit.cost.counting import as_found
from paretovit.cost.folders import INDICATORS
from paretovit.cost.on_meta import MetaResults, no_collection, values_are_asked_for
from paretovit.cost.torch_sessions import Inference, TrainingStep
from paretovit.devices import origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.spec import ModelSpec
from paretovit.zoo.build import build

aten = torch.ops.aten


def predicted_rows(spec: ModelSpec, *, batch_size: int, dtype: str = "float32") -> list[Measurement]:
    """The peaks of inference and of training on batches of that size, as torch_eager has them on a CPU.

    Where a peak cannot be predicted, its row says why. Raises `UserError` for a batch size below 1.
    """
    made = origin("predicted")
    conditions = Conditions(
        spec=spec.key, runtime="torch_eager", dtype=dtype, batch_size=batch_size, assumptions=(("kernels", "cpu"),)
    )
    rows = []
    peaks = predicted_peaks(spec, (Inference, TrainingStep), batch_size=batch_size, dtype=dtype)
    for name, peak in zip(("peak_bytes_infer", "peak_bytes_train"), peaks, strict=True):
        value, why = (None, str(peak)) if isinstance(peak, Unmeasurable) else (float(peak), "")
        rows.append(
            Measurement(
                model=spec.name,
                indicator=name,
                unit=INDICATORS[name].unit,
                value=value,
                samples=() if value is None else (value,),
                conditions=conditions,
                origin=made,
                why=why,
            )
        )
    return rows


def predicted_peak(spec: ModelSpec, *, batch_size: int, training: bool, dtype: str = "float32") -> int:
    """Most bytes that live at once in one call, weights and all: inference, or a training step with AdamW.

    Raises `Unmeasurable` for a model that asks for the values of its tensors, and `UserError` for a batch size
    below 1.
    """
    (peak,) = predicted_peaks(spec, (TrainingStep if training else Inference,), batch_size=batch_size, dtype=dtype)
    if isinstance(peak, Unmeasurable):
        raise peak
    return peak


def predicted_peaks(
    spec: ModelSpec, calls: Sequence[type[Inference | TrainingStep]], *, batch_size: int, dtype: str = "float32"
) -> list[int | Unmeasurable]:
    """As `predicted_peak` for each of these calls, or why there is none; the model is built once for all of them."""
    if batch_size < 1:
        raise UserError(f"batch size must be at least 1, got {batch_size}")
    peaks: list[int | Unmeasurable] = []
    with no_collection(), live_bytes() as live:
        kind = getattr(torch, dtype)
        try:
            with values_are_asked_for(), torch.device("meta"):
                module = build(spec, device="meta").to(kind)
                batch = torch.empty(batch_size, *spec.input_shape, dtype=kind)
        except Unmeasurable as error:
            return [error] * len(calls)
        for call in calls:
            try:
                with values_are_asked_for(), as_found(module):
                    peaks.append(_peak(live, call(module, module, batch)))
            except Unmeasurable as error:
                peaks.append(error)
            module.zero_grad(set_to_none=True)
    return peaks


def _peak(live: LiveBytes, call: Inference | TrainingStep) -> int:
    call()  # whatever is made only once, such as the optimizer's moments, is there from now on
    live.peak = live.now
    call()
    return live.peak


@contextmanager
def live_bytes() -> Iterator[LiveBytes]:
    """The bytes that operators on meta tensors take from here on, as the same on a CPU would."""
    live = LiveBytes()
    with _CpuAttention(), live:
        yield live


class LiveBytes(TorchDispatchMode):
    """Follows the storages of all meta tensors that operators return.

    now    bytes of those that somebody still refers to
    peak   the most there were, with the workspaces of kernels on top; set it to `now` to begin anew
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._run = MetaResults()

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_composite(func):
            with self:  # in inference mode operators come before they are taken apart into others
                return func.decompose(*args, **kwargs)
        # `_unsafe_view` shares the storage of its argument, whatever its schema says
        repeats = func.namespace == "aten" and func is not aten._unsafe_view.default
        result = self._run(func, args, kwargs) if repeats else func(*args, **kwargs)
        if func is aten.convolution.default and _channels_last(args[0]):
            result = torch.empty_like(result, memory_format=torch.channels_last)  # as every device but meta has it
        for made in result if isinstance(result, tuple | list) else (result,):
            if isinstance(made, Tensor) and made.is_meta:
                self._follow(made.untyped_storage())
        workspace = _WORKSPACES.get(func.overloadpacket)
        taken = 0 if workspace is None else workspace(Call(func, args, kwargs, result))
        self.peak = max(self.peak, self.now + taken)
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, nbytes = storage._cdata, storage.nbytes()
        if key in self._storages:
            return

        def gone(_: Any) -> None:
            del self._storages[key]
            self.now -= nbytes

        self._storages[key] = weakref.ref(storage, gone)
        self.now += nbytes


@cache
def _is_composite(func: OpOverload) -> bool:
    """Whether the operator has no kernel of its own on a CPU, and is made of other operators."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return has(func.name(), "CompositeImplicitAutograd") and not has(func.name(), "CPU")


# --- attention ---


class _CpuAttention(TorchFunctionMode):
    """Has attention on meta tensors run as the kernel that torch would take for such tensors on a CPU."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        run = _attention if func is F.scaled_dot_product_attention else func
        return run(*args, **(kwargs or {}))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if query.ndim == 3:
        query, key, value = (t.unsqueeze(0) for t in (query, key, value))
        return _attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa).squeeze(0)
    q, k, v = (_small(t, t.shape[-1]) for t in (query, key, value))
    mask = None if attn_mask is None else _small(attn_mask, min(attn_mask.shape[-1], 2))
    choice = torch._fused_sdp_choice(q, k, v, mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if choice != SDPBackend.FLASH_ATTENTION.value:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.where(attn_mask, 0.0, float("-inf")).to(query.dtype)
    return aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]


def _small(tensor: Tensor, width: int) -> Tensor:
    """A CPU tensor of few images and rows that else differs in nothing that the choice of a kernel goes by."""
    *images_heads, rows, _ = tensor.shape
    images_heads[:1] = [min(images, 2) for images in images_heads[:1]]
    small = torch.empty(*images_heads, min(rows, 2), width, dtype=tensor.dtype, device="cpu")
    if tensor.stride(-1) != 1:
        small = small.mT.contiguous().mT
    return small.requires_grad_(tensor.requires_grad)


# --- workspaces ---


def _copies(call: Call, *names: str) -> int:
    """Bytes of those of these arguments that are not contiguous."""
    return sum(call[name].nbytes for name in names if not call[name].is_contiguous())


def _copied(*names: str) -> Callable[[Call], int]:
    """The kernel begins with contiguous copies of these arguments."""
    return lambda call: _copies(call, *names)


def _like_input(call: Call) -> int:
    """The kernel needs one more tensor like the one it is given."""
    return call["self"].nbytes


def _mask(call: Call) -> int:
    """The kernel looks which elements are minus infinity."""
    return call["self"].numel()


def _roll(call: Call) -> int:
    """One direction after the other."""
    return call.output.nbytes if len(call["dims"]) > 1 else 0


def _batch_norm_backward(call: Call) -> int:
    return call["input"].nbytes if call["grad_out"].stride() == call["input"].stride() else 0


def _fft(call: Call) -> int:
    """The axes are brought to the end, where they are not there already."""
    x, axes = call["self"], call["dim"]
    return 0 if sorted(axes) == list(range(x.ndim - len(axes), x.ndim)) else x.nbytes


def _inverse_real_fft(call: Call) -> int:
    """All axes but the last are transformed first, into another tensor, and the last destroys a copy of that."""
    return 2 * call["self"].nbytes if len(call["dim"]) > 1 else _fft(call)


_BLOCK = 16  # channels that oneDNN puts side by side with AVX-512; with AVX2 it is 8


def _whole_blocks(channels: int) -> int:
    return -(-channels // _BLOCK) * _BLOCK


def _blocked(image: Tensor, groups: int = 1, *, few_stay: bool = False) -> int:
    """Bytes of images (B, C, ...) in oneDNN's layout; a convolution's input of a few channels stays as it is."""
    channels = image.shape[1]
    return 0 if few_stay and groups == 1 and channels < _BLOCK else image.nbytes // channels * _whole_blocks(channels)


def _channels_last(image: Tensor) -> bool:
    last = image.ndim == 4 and image.is_contiguous(memory_format=torch.channels_last)
    return last and not image.is_contiguous()


def _convolution(call: Call) -> int:
    """oneDNN works on copies in its own layout, and copies the result back out of it. Images whose channels lie last
    suit it as they are, so only the filters are copied."""
    image, filters, result = call["input"], call["weight"], call.output
    if call["transposed"] or _channels_last(image):
        return filters.nbytes
    within = _blocked(image, call["groups"], few_stay=True) + filters.nbytes + _blocked(result)
    return _copies(call, "input") + max(within, _blocked(result) + result.nbytes) - result.nbytes


def _convolution_backward(call: Call) -> int:
    """First the gradient of the image, then, while that is held, the one of the filters."""
    grad, image, filters, groups = call["grad_output"], call["input"], call["weight"], call["groups"]
    if call["transposed"] or _channels_last(image):
        return filters.nbytes + _filters_gradient(filters, groups)
    of_image, of_filters, _ = call["output_mask"]
    peaks, held = [0], 0
    if of_image:
        strided = max(call["stride"]) > 1  # oneDNN then ends with a plain layout, which is copied twice
        own = image.nbytes if strided else _blocked(image)
        peaks += [_blocked(grad) + filters.nbytes + own, own + image.nbytes * (2 if strided else 1)]
        held = image.nbytes
    if of_filters:
        peaks += [held + _blocked(grad) + _blocked(image, groups, few_stay=True) + filters.nbytes]
        held += filters.nbytes
    return _copies(call, "grad_output", "input") + max(0, max(peaks) - held)


def _filters_gradient(filters: Tensor, groups: int) -> int:
    """Bytes of the gradient (O, I, ...) as oneDNN makes it for images whose channels lie last: each group in whole
    blocks, but for one channel to a group and 3 x 3 filters at most."""
    each, within, *sides = filters.shape
    each //= groups
    if groups == 1 or (each == within == 1 and max(sides) <= 3):
        return filters.nbytes
    return filters.nbytes // (each * within) * _whole_blocks(each) * _whole_blocks(within)


_WORKSPACES: dict[Any, Callable[[Call], int]] = {
    aten.native_layer_norm: _copied("input"),
    aten.native_layer_norm_backward: _copied("grad_out", "input"),
    aten._softmax: _copied("self"),
    aten._log_softmax: _copied("self"),
    aten._safe_softmax: _mask,
    aten._softmax_backward_data: _copied("grad_output", "output"),
    aten._log_softmax_backward_data: _copied("grad_output", "output"),
    aten.index_select: _copied("self"),
    aten.logsumexp: _like_input,
    aten.native_batch_norm_backward: _batch_norm_backward,
    aten.roll: _roll,
    aten._fft_r2c: _fft,
    aten._fft_c2c: _fft,
    aten._fft_c2r: _inverse_real_fft,
    aten.convolution: _convolution,
    aten.convolution_backward: _convolution_backward,
}
