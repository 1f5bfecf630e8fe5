"""Operators in groups, under the names of any runtime: what a breakdown of a model's cost is made of.

The groups are those of "An Investigation on Hardware-Aware Vision Transformer Scaling" (anonymous, under review),
Table 11, with convolution, FFT and element-wise operators taken out of its "Others". Two differ. A product is "linear"
where one side is a weight, whoever calls it, and "attention matmul" where both sides are made from the image. Attention
that runs as one operator is a group by itself, "fused attention": nobody can tell its products from its softmax.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch._ops import OpOverload

GROUPS = (
    "linear",
    "convolution",
    "fused attention",
    "attention matmul",
    "softmax",
    "norm",
    "element-wise",
    "reshape/transpose",
    "gather",
    "FFT",
    "other",
)
OUTSIDE = "outside operators"  # what a training step takes between them: Python, autograd's engine, waiting


@dataclass(frozen=True)
class Op:
    """What one operator took within one call of a session.

    operator  its name, as the runtime has it
    layer     the module that it belongs to, as `layer_of` shortens its name; None where the runtime cannot tell, and of
              a training step where it belongs to none, as the optimizer's do
    group     one of `GROUPS`
    phase     of a training step, as the step itself calls it, such as "backward"; "" of inference
    """

    operator: str
    layer: str | None
    group: str
    seconds: float
    phase: str = ""


def _names(text: str, group: str) -> dict[str, str]:
    return dict.fromkeys(text.split(), group)


# lower case, without the underscore of operators in place; torch's names first, then those of ONNX and OpenVINO
_GROUPS = {
    **_names("mm addmm mv addmv linear addmm_activation int_mm scaled_mm linear_pointwise mkl_linear", "linear"),
    **_names("gemm fusedgemm fusedmatmul matmulnbits matmulinteger", "linear"),
    **_names("bmm baddbmm addbmm", "attention matmul"),
    **_names(
        "scaled_dot_product_attention scaled_dot_product_flash_attention scaled_dot_product_flash_attention_for_cpu "
        "scaled_dot_product_efficient_attention scaled_dot_product_cudnn_attention flash_attention_forward "
        "efficient_attention_forward scaled_dot_product_fused_attention_overrideable",
        "fused attention",
    ),
    **_names("attention multiheadattention groupqueryattention", "fused attention"),
    **_names("softmax safe_softmax log_softmax logsumexp logsoftmax", "softmax"),
    **_names(
        "layer_norm native_layer_norm group_norm native_group_norm batch_norm native_batch_norm rms_norm "
        "fused_rms_norm native_batch_norm_legit native_batch_norm_legit_no_training cudnn_batch_norm instance_norm",
        "norm",
    ),
    **_names(
        "layernormalization skiplayernormalization simplifiedlayernormalization batchnormalization groupnorm "
        "instancenormalization rmsnormalization lpnormalization",
        "norm",
    ),
    **_names(
        "convolution conv1d conv2d conv3d mkldnn_convolution convolution_pointwise cudnn_convolution conv_transpose2d "
        "convolution_overrideable convolution_relu thnn_conv2d slow_conv2d_forward conv_depthwise2d",
        "convolution",
    ),
    **_names("conv fusedconv nhwcfusedconv convtranspose convinteger", "convolution"),
    **_names("fft_r2c fft_c2c fft_c2r fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2", "FFT"),
    **_names("fft_rfft2 fft_irfft2 dft stft", "FFT"),
    **_names(
        "gather index index_select embedding take take_along_dim scatter scatter_add scatter_reduce index_put "
        "index_put_impl index_add index_copy index_fill masked_select unsafe_index nonzero masked_scatter",
        "gather",
    ),
    **_names("gatherelements gathernd scatterelements scatternd onehot", "gather"),
    **_names(
        "reshape flatten unflatten contiguous clone copy to to_copy cat concat stack repeat roll flip pad chunk "
        "constant_pad_nd im2col pixel_shuffle pixel_unshuffle unsafe_view reshape_as mt numpy_t tile repeat_interleave "
        "channel_shuffle type_as float half",
        "reshape/transpose",
    ),
    **_names("cast reordernchw reorderinput reorderoutput depthtospace spacetodepth", "reshape/transpose"),
    **_names("gelu fastgelu biasgelu quickgelu hardswish dropout native_dropout relu silu", "element-wise"),
    **_names("biassoftmax", "softmax"),
    **_names("matmulintegertofloat dynamicquantizematmul qgemm fullyconnected fullyconnectedquantizedlegacy", "linear"),
    **_names("scaleddotproductattention", "fused attention"),
    **_names("mvn normalizel2 rms", "norm"),
    **_names("deconvolution groupconvolution", "convolution"),
    **_names("rdft", "FFT"),
    **_names("scatterupdate scatterelementsupdate scatterndupdate", "gather"),
    **_names(
        "reorder convert concatenation stridedslice slice variadicsplit broadcast spacetobatch batchtospace "
        "shufflechannels reversesequence",
        "reshape/transpose",
    ),
    **_names(
        "quantizelinear dequantizelinear dynamicquantizelinear fakequantize eltwise math multiply subtract divide "
        "power swish squareddifference select convertlike rope",
        "element-wise",
    ),
}  # fmt: skip
_PRODUCTS = ("linear", "attention matmul")
_PRODUCTS_OF_ANY = {"matmul", "fusedmatmul", "einsum", "tensordot", "dot", "vdot", "inner", "bilinear"}
_SPOKEN = re.compile(r"^(.*(::|\.))?_*|_+$")


def plain_name(operator: str) -> str:
    """ "addmm" for "aten::addmm", "aten.addmm" and "aten.addmm_"."""
    return _SPOKEN.sub("", operator).lower()


@cache
def group_of(operator: str, *, weight: bool | None = None) -> str | None:
    """The group of an operator of torch or ONNX; None for one that only makes room, or that nobody knows.

    `weight` says whether one side of a product is a weight. Where that is not known, a product of two matrices counts
    as linear, one of many pairs of matrices as attention's.
    """
    name = plain_name(operator).removeprefix("qlinear").removeprefix("foreach_")
    group = _GROUPS.get(name)
    if name in _PRODUCTS_OF_ANY or group in _PRODUCTS:
        if weight is None:
            return group or "attention matmul"
        return "linear" if weight else "attention matmul"
    if group is not None:
        return group
    return _by_tag(name)


@cache
def _by_tag(name: str) -> str | None:
    """What torch itself says of an operator: whether it is a view, or works element by element."""
    from torch import Tag  # as late as this: figures, too, read the names of the groups

    overloads = [
        overload for spelled in (name, f"_{name}", f"{name}_") for overload in overloads_of(f"aten::{spelled}")
    ]
    if any(overload.is_view for overload in overloads):
        return "reshape/transpose"
    if any(Tag.pointwise in overload.tags for overload in overloads):
        return "element-wise"
    if not overloads or name.startswith(("empty", "resize", "set")):
        return None
    return "other"


@cache
def overloads_of(operator: str) -> tuple[OpOverload, ...]:
    """The forms of an operator such as "aten::add" that have kernels; none for one that is not torch's."""
    import torch

    namespace, _, name = operator.rpartition("::")
    packet = getattr(getattr(torch.ops, namespace), name, None) if namespace else None
    forms = () if packet is None else (getattr(packet, form) for form in packet.overloads())
    return tuple(form for form in forms if torch._C._dispatch_has_kernel(form.name()))


def fused_group_of(operators: Iterable[str]) -> str:
    """The group of a kernel that a compiler made of several operators.

    It is that of the one among them that is more than element by element and moving. A softmax with products, or with
    the attention that it is part of, is attention that runs as one; of other sets of several it is "other", as where
    there is none.
    """
    groups = {group_of(name) or "other" for name in operators}
    heavy = groups - {"element-wise", "reshape/transpose"}
    if "softmax" in heavy and len(heavy) > 1 and heavy <= {"softmax", "attention matmul", "fused attention"}:
        return "fused attention"
    if len(heavy) == 1:
        return heavy.pop()
    if heavy or not groups:
        return "other"
    return "element-wise" if "element-wise" in groups else "reshape/transpose"


def layer_of(module: str) -> str:
    """The layer that a module of that name is part of: what its block calls it, or the model.

    "blocks.3.attn" of "blocks.3.attn.qkv", "stem" of "stem.proj"; "" is the model's own code.
    """
    words = module.split(".")
    numbered = [at for at, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: numbered[-1] + 2] if numbered else words[:1])


def layer_of_scopes(modules: Sequence[str]) -> str:
    """The layer of an operator that these modules called, one within the other, as `torch.export` names them: a module
    that is called again is "blocks.0@1"."""
    return layer_of(modules[-1].split("@")[0])


def spread_layers(own: Mapping[str, str | None], takes_from: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """The layer of every operator of a graph, by name and in the order in which they run.

    One that a converter put in between, and that is of no layer, belongs to the first that it takes something from; if
    that is of none, to the first that takes something from it.
    """
    found = dict(own)
    for name in found:
        if found[name] is None:
            found[name] = next((found[giver] for giver in takes_from[name] if found.get(giver) is not None), None)
    for name in reversed(found):
        for giver in takes_from[name]:
            if giver in found and found[giver] is None:
                found[giver] = found[name]
    return found
