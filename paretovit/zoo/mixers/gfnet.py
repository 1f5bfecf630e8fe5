"""A learned filter of every frequency: convolution with a kernel as large as the image.

Idea     A circular convolution over the whole grid is one product per frequency; the Fourier transform gets there
         and back in N log N.
Paper    Rao et al. 2021, "Global Filter Networks for Image Classification", eqs. 4 and 5.
Differs  The mixer alone: in the paper's block one residual goes around filter and MLP together.
Shapes   B images, N tokens, D width, R rows, W frequencies along the columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer, rows_and_columns
from paretovit.zoo.mixers._fourier import from_spectrum, plain_from_spectrum, plain_spectrum, spectrum, transform_macs
from paretovit.zoo.tokens import Layout, Tokens


class Gfnet(Mixer):
    """Tokens' frequencies times a learned complex filter (R, W, D), kept as pairs of real numbers.

    `heads` is not used.
    """

    family = "non-attention shuffling"
    takes_prefix = False
    needs_grid = True

    def __init__(self, dim: int, heads: int, layout: Layout) -> None:
        super().__init__(dim, heads, layout)
        self.grid = rows, columns = rows_and_columns(layout)
        self.filter = nn.Parameter(0.02 * torch.randn(rows, columns // 2 + 1, dim, 2))

    def forward(self, tokens: Tokens) -> Tensor:
        z_BRWD = spectrum(tokens.x, self.grid)
        filter_RWD = torch.view_as_complex(self.filter.to(z_BRWD.real.dtype))
        return from_spectrum(z_BRWD * filter_RWD, self.grid).to(tokens.x.dtype)

    def reference(self, tokens: Tokens) -> Tensor:
        z = plain_spectrum(tokens.x, self.grid)
        return plain_from_spectrum(z * torch.complex(self.filter[..., 0], self.filter[..., 1]), self.grid)

    def macs(self) -> int:
        return 2 * transform_macs(self.grid, self.dim)
