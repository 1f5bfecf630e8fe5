"""Tokens mixed by one large depthwise convolution, between two linear maps.

Idea     A learned filter for each channel is mixing enough where the maps around it, wider inside, mix channels.
Paper    Yu et al. 2022, "MetaFormer Baselines for Vision", secs. 2.3 (StarReLU) and 3.3 (ConvFormer); the inverted
         separable convolution of Sandler et al. 2018, "MobileNetV2".
Shapes   B images, N tokens, D width, E width inside.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, rows_and_columns
from paretovit.zoo.tokens import Layout, Tokens


class SeparableConv(Mixer):
    """Linear map to `expansion` times the width, StarReLU, depthwise convolution, linear map back; no biases.

    StarReLU is s relu(x)^2 + b with one s and one b, both learned. `heads` is not used.
    """

    family = "non-attention shuffling"
    takes_prefix = False
    needs_grid = True
    trials = ({"kernel": 3, "expansion": 1.5},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, kernel: int = 7, expansion: float = 2.0) -> None:
        super().__init__(dim, heads, layout)
        if kernel < 1 or kernel % 2 == 0 or expansion <= 0:
            raise UserError(f"separable_conv: kernel must be odd, expansion above 0, got {kernel=}, {expansion=}")
        self.grid, self.kernel, self.inner = rows_and_columns(layout), kernel, int(expansion * dim)
        self.expand = nn.Linear(dim, self.inner, bias=False)
        self.scale, self.shift = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
        self.conv = nn.Conv2d(self.inner, self.inner, kernel, padding=kernel // 2, groups=self.inner, bias=False)
        self.proj = nn.Linear(self.inner, dim, bias=False)

    def forward(self, tokens: Tokens) -> Tensor:
        x_BNE = torch.addcmul(self.shift, self.expand(tokens.x).relu().square(), self.scale)
        image = self.conv(x_BNE.mT.unflatten(2, self.grid))  # channels last, as the tokens lie
        return self.proj(image.flatten(2).mT)

    def reference(self, tokens: Tokens) -> Tensor:
        rows, columns = self.grid
        half = self.kernel // 2
        x = self.scale * self.expand(tokens.x).clamp(min=0) ** 2 + self.shift
        outs = []
        for r in range(rows):
            for c in range(columns):
                total = torch.zeros_like(x[:, 0])
                for i in range(max(r - half, 0), min(r + half + 1, rows)):
                    for j in range(max(c - half, 0), min(c + half + 1, columns)):
                        total = total + self.conv.weight[:, 0, i - r + half, j - c + half] * x[:, i * columns + j]
                outs.append(total)
        return self.proj(torch.stack(outs, dim=1))

    def macs(self) -> int:
        return self.layout.patches * self.inner * (2 * self.dim + self.kernel**2)
