"""A convolution between stages, which makes the tokens of the next from the neighbourhoods of the last.

Paper    Wu et al. 2021, "CvT: Introducing Convolutions to Vision Transformers", sec. 3.1.
"""

from __future__ import annotations

from torch import nn

from paretovit.errors import UserError
from paretovit.spec import Part
from paretovit.zoo.between import Between, check_map
from paretovit.zoo.folders import NORMS, make
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class ConvEmbed(Between):
    """A `kernel` x `kernel` convolution with `stride`, then `norm`, the name of a norm.

    Raises `UserError` for class tokens, tokens off the grid and an even kernel.
    """

    def __init__(
        self, dim_in: int, dim_out: int, layout: Layout, *, kernel: int = 3, stride: int = 2, norm: str = "layer_norm"
    ) -> None:
        super().__init__(dim_in, dim_out, layout)
        self.grid = check_map("conv_embed", layout, prefix=False)
        if kernel < 1 or kernel % 2 == 0 or stride < 1:
            raise UserError(f"conv_embed: kernel must be odd and stride at least 1, got {kernel} and {stride}")
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, stride, padding=kernel // 2)
        self.norm = make(NORMS, Part(norm), dim_out)

    def after(self) -> Layout:
        stride = self.conv.stride[0]
        return Layout.of_grid(tuple(-(-side // stride) for side in self.grid))

    def forward(self, tokens: Tokens) -> Tokens:
        x_BND = self.norm(as_tokens(self.conv(as_map(tokens.x, self.grid))))
        return Tokens(x_BND, grid=self.after().grid, aux=tokens.aux)

    def macs(self) -> int:
        return self.after().patches * self.conv.weight.numel()
