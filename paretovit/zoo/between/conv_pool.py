"""Fewer and wider tokens by a strided depthwise convolution; class tokens pass through a linear map.

Paper    Heo et al. 2021, "Rethinking Spatial Dimensions of Vision Transformers" (PiT), sec. 3.2; with a pointwise
         convolution behind in Jeevan and Sethi 2022, "Resource-efficient Hybrid X-formers for Vision".
"""

from __future__ import annotations

import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.zoo.between import Between, check_map
from paretovit.zoo.depthwise import strided
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class ConvPool(Between):
    """A depthwise convolution, each channel to `dim_out / dim_in` of them, and a map across channels if `pointwise`.

    Raises `UserError` for tokens off the grid, for a width that does not divide the next and for an even kernel.
    """

    family = "token merging"

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        layout: Layout,
        *,
        kernel: int = 3,
        stride: int = 2,
        pointwise: bool = False,
    ) -> None:
        super().__init__(dim_in, dim_out, layout)
        self.grid = check_map("conv_pool", layout, prefix=True)
        if dim_out % dim_in:
            raise UserError(f"conv_pool: the width {dim_in} does not divide the next stage's {dim_out}")
        if kernel < 1 or kernel % 2 == 0 or stride < 1:
            raise UserError(f"conv_pool: kernel must be odd and stride at least 1, got {kernel} and {stride}")
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, stride, padding=kernel // 2, groups=dim_in)
        self.pointwise = nn.Linear(dim_out, dim_out) if pointwise else nn.Identity()
        self.prefix = nn.Linear(dim_in, dim_out) if layout.prefix else None

    def after(self) -> Layout:
        stride = self.conv.stride[0]
        return Layout.of_grid(tuple(-(-side // stride) for side in self.grid), self.layout.prefix)

    def forward(self, tokens: Tokens) -> Tokens:
        x_BND = self.pointwise(as_tokens(strided(self.conv, as_map(tokens.x[:, tokens.prefix :], self.grid))))
        if self.prefix is not None:
            x_BND = torch.cat((self.prefix(tokens.x[:, : tokens.prefix]), x_BND), dim=1)
        return Tokens(x_BND, grid=self.after().grid, prefix=tokens.prefix, aux=tokens.aux)

    def macs(self) -> int:
        per_patch = self.conv.weight.numel()
        per_patch += self.dim_out**2 if isinstance(self.pointwise, nn.Linear) else 0
        return self.after().patches * per_patch + self.layout.prefix * self.dim_in * self.dim_out
