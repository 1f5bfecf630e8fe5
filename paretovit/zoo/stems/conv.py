"""A few convolutions in place of the one linear map of patches: tokens that have seen their surroundings.

Paper    Xiao et al. 2021, "Early Convolutions Help Transformers See Better"; three convolutions without norm or
         activation in Jeevan and Sethi 2022, "Resource-efficient Hybrid X-formers for Vision"; with ReLU and pooling in
         Hassani et al. 2021, "Escaping the Big Data Paradigm with Compact Transformers", sec. 3.3; with batch norm in
         Zhang and Yang 2021, "ResT", and Yao et al. 2022, "Wave-ViT", released code of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import Part, Pixels, rows_and_columns
from paretovit.zoo.folders import NORMS, make
from paretovit.zoo.stems import Stem, cut
from paretovit.zoo.tokens import as_tokens


class Conv(Stem):
    """One convolution per entry of `widths`, and a last one to the width of the model.

    Strides multiply to the patch: its prime factors from the largest, one per convolution in turn from the first
    (patch 16 and three convolutions: 4, 2, 2), unless `strides` says otherwise. `kernel` is that of all, where a
    stride is not longer, or one each. After each convolution come a batch norm if `batch_norm`, in place of the bias,
    `act`, and a max-pooling of 3 x 3 with `pool_stride` if `pool`; with `bare_last` nothing of it after the last.
    `norm`, the name of a norm, once at the end.

    Raises `UserError` for strides that do not fit the convolutions and the patch, and for an even kernel.
    """

    first_conv = "convs.0"

    def __init__(
        self,
        in_chans: int,
        dim: int,
        image_px: Pixels,
        patch_px: int,
        *,
        widths: tuple[int, ...] = (32, 64),
        strides: tuple[int, ...] | None = None,
        kernel: int | tuple[int, ...] = 3,
        bias: bool = True,
        batch_norm: bool = False,
        act: Literal["none", "relu", "gelu", "hardswish"] = "none",
        pool: bool = False,
        pool_stride: int = 1,
        bare_last: bool = False,
        norm: str = "absent",
    ) -> None:
        super().__init__()
        self.grid = cut(image_px, patch_px)
        convs = len(widths) + 1
        kernels = (kernel,) * convs if isinstance(kernel, int) else kernel
        shrinks = [pool_stride if pool else 1] * (convs - bare_last) + [1] * bare_last
        pooled = math.prod(shrinks)
        if patch_px % pooled:
            raise UserError(f"conv stem: pooling shrinks {pooled} times, which does not divide the patch {patch_px}")
        strides = _shared(patch_px // pooled, convs) if strides is None else strides
        if len(strides) != convs or math.prod(strides) * pooled != patch_px:
            also = f", pooling's {pooled} included" if pooled > 1 else ""
            raise UserError(f"conv stem: {convs} strides must multiply to the patch {patch_px}{also}, got {strides}")
        if len(kernels) != convs or any(k < 1 or k % 2 == 0 for k in kernels):
            raise UserError(f"conv stem: kernel must be odd, one or {convs} of them, got {kernel}")
        if act not in _ACTS:
            raise UserError(f"conv stem: act must be one of {', '.join(_ACTS)}, got {act!r}")
        layers, channels, shrunk, self._macs = list[nn.Module](), in_chans, 1, 0
        pixels = math.prod(rows_and_columns(image_px))
        for i, (width, stride, size, shrink) in enumerate(zip((*widths, dim), strides, kernels, shrinks, strict=True)):
            reach = max(size, stride + 1 - stride % 2)  # no pixel is skipped
            bare = bare_last and i == convs - 1
            conv = nn.Conv2d(channels, width, reach, stride, reach // 2, bias=bias and (bare or not batch_norm))
            layers.append(conv)
            if not bare:
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers += [*(made() for made in _ACTS[act]), *([nn.MaxPool2d(3, shrink, padding=1)] if pool else [])]
            self._macs += pixels // (shrunk * stride) ** 2 * conv.weight.numel()
            channels, shrunk = width, shrunk * stride * shrink
        self.convs = nn.Sequential(*layers)
        self.norm = make(NORMS, Part(norm), dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(as_tokens(self.convs(image)))

    def macs(self) -> int:
        return self._macs


def _shared(patch_px: int, convs: int) -> tuple[int, ...]:
    """The prime factors of the patch dealt to the convolutions, largest first, round and round."""
    strides, factor = [1] * convs, 2
    factors = []
    while patch_px > 1:
        while patch_px % factor == 0:
            factors.append(factor)
            patch_px //= factor
        factor += 1
    for turn, factor in enumerate(sorted(factors, reverse=True)):
        strides[turn % convs] *= factor
    return tuple(strides)


_ACTS: dict[str, tuple[Callable[[], nn.Module], ...]] = {
    "none": (),
    "relu": (nn.ReLU,),
    "gelu": (nn.GELU,),
    "hardswish": (nn.Hardswish,),
}
