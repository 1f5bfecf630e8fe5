"""A convolution between stages, which makes the tokens of the next from the neighbourhoods of the last.

Paper    Wu et al. 2021, "CvT: Introducing Convolutions to Vision Transformers", sec. 3.1; with places of its own in
         Zhang and Yang 2021, "ResT: An Efficient Transformer for Visual Recognition", sec. 3.
"""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from paretovit.errors import UserError
from paretovit.spec import Part
from paretovit.zoo.between import Between, check_map
from paretovit.zoo.folders import NORMS, POSITIONS, make
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class ConvEmbed(Between):
    """A `kernel` x `kernel` convolution with `stride`, then `norm`, then `position`: names of a norm and of places.

    `norm_first` names a norm of the tokens that the convolution sees. Raises `UserError` for class tokens, tokens off
    the grid and an even kernel, but for one that is the stride and divides the grid, and for a stride of 1: then one
    row and column more is filled up below and to the right than above and to the left, and the grid stays.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        layout: Layout,
        *,
        kernel: int = 3,
        stride: int = 2,
        bias: bool = True,
        norm_first: str = "absent",
        norm: str = "layer_norm",
        position: str = "absent",
    ) -> None:
        super().__init__(dim_in, dim_out, layout)
        self.grid = check_map("conv_embed", layout, prefix=False)
        apart = kernel == stride and kernel % 2 == 0  # neighbourhoods that do not overlap, nor reach beyond the grid
        uneven = kernel % 2 == 0 and stride == 1
        if kernel < 1 or stride < 1 or not (apart or uneven or kernel % 2):
            raise UserError(f"conv_embed: kernel must be odd or the stride, at least 1, got {kernel} and {stride}")
        self.filled = (kernel // 2 - 1, kernel // 2) * 2 if uneven else None  # left, right, above, below
        if apart and any(side % stride for side in self.grid):
            raise UserError(
                f"conv_embed: kernel and stride {stride} do not divide the grid {self.grid}; use an odd kernel"
            )
        self.norm_first = make(NORMS, Part(norm_first), dim_in)
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, stride, padding=kernel // 2 if kernel % 2 else 0, bias=bias)
        self.norm = make(NORMS, Part(norm), dim_out)
        self.position = make(POSITIONS, Part(position), dim_out, self.after())
        if self.position.turns:
            raise UserError(
                f"conv_embed: {position} turns queries and keys and adds nothing here; give it to the model"
            )

    def after(self) -> Layout:
        stride = self.conv.stride[0]
        return Layout.of_grid(tuple(-(-side // stride) for side in self.grid))

    def forward(self, tokens: Tokens) -> Tokens:
        map_BDHW = as_map(self.norm_first(tokens.x), self.grid)
        if self.filled is not None:
            map_BDHW = F.pad(map_BDHW, self.filled)
        x_BND = self.norm(as_tokens(self.conv(map_BDHW)))
        return Tokens(self.position(x_BND), grid=self.after().grid, aux=tokens.aux)

    def macs(self) -> int:
        return self.after().patches * self.conv.weight.numel() + self.position.macs()
