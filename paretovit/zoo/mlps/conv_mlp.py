"""The MLP with a depthwise convolution inside, which lets tokens look at their neighbours.

Paper    Wang et al. 2021, "PVT v2: Improved Baselines with Pyramid Vision Transformer", after Islam et al.
         2020, "How Much Position Information Do Convolutional Neural Networks Encode?": the zeros around the image
         tell where its edges are, so a model needs no other places.
Shapes   B images, N tokens, D width, M hidden width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mlps import TokenMlp
from paretovit.zoo.recompute import recomputed
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class ConvMlp(TokenMlp):
    """D to `hidden` (or `ratio` x D), a `kernel` x `kernel` depthwise convolution, GELU, back to D.

    Class tokens have no neighbours: they pass the convolution by. Raises `UserError` for tokens off the grid and for
    an even kernel.
    """

    family = "baseline"
    alone = False

    def __init__(
        self, dim: int, layout: Layout, *, kernel: int = 3, ratio: float = 4.0, hidden: int | None = None
    ) -> None:
        super().__init__(dim, layout)
        if layout.grid is None or len(layout.grid) != 2:
            raise UserError(f"conv_mlp needs tokens on a grid of rows and columns, got {layout.grid}")
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"conv_mlp: kernel must be odd, got {kernel}")
        self.grid, self.kernel = layout.grid, kernel
        self.hidden = round(dim * ratio) if hidden is None else hidden
        self.fc1 = nn.Linear(dim, self.hidden)
        self.conv = nn.Conv2d(self.hidden, self.hidden, kernel, padding=kernel // 2, groups=self.hidden)
        self.fc2 = nn.Linear(self.hidden, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        inner = self.fc1(tokens.x)
        front, patches = inner[:, : tokens.prefix], inner[:, tokens.prefix :]
        inner = as_tokens(self.conv(as_map(patches, self.grid)))
        if tokens.prefix:
            inner = torch.cat((front, inner), dim=1)
        active, kept = F.gelu(inner), inner.detach()
        with recomputed(active, lambda: F.gelu(kept)):
            return self.fc2(active)

    def reference(self, tokens: Tokens) -> Tensor:
        rows, columns = self.grid
        half, prefix = self.kernel // 2, tokens.prefix
        inner = tokens.x @ self.fc1.weight.T + self.fc1.bias
        seen = [inner[:, i] for i in range(prefix)]
        for r in range(rows):
            for c in range(columns):
                total = self.conv.get_parameter("bias") + torch.zeros_like(inner[:, 0])
                for i in range(max(r - half, 0), min(r + half + 1, rows)):
                    for j in range(max(c - half, 0), min(c + half + 1, columns)):
                        tap = self.conv.weight[:, 0, i - r + half, j - c + half]
                        total = total + tap * inner[:, prefix + i * columns + j]
                seen.append(total)
        x = torch.stack(seen, dim=1)
        return x * 0.5 * (1 + (x / 2**0.5).erf()) @ self.fc2.weight.T + self.fc2.bias

    def macs(self) -> int:
        return self.hidden * (2 * self.layout.num_tokens * self.dim + self.layout.patches * self.kernel**2)
