"""Every frequency worked on by the same small complex MLP: a global convolution that depends on what it sees.

Idea     A filter with a weight per frequency is fixed once learned. An MLP shared by all frequencies adapts to the
         image, has no weights that depend on its size, and is cheap as it joins channels in blocks only.
Paper    Guibas et al. 2021, "Adaptive Fourier Neural Operators: Efficient Token Mixers for Transformers", eqs. 7
         to 10 and figure 2.
Shapes   B images, N tokens, D width, R rows, W frequencies along the columns, G blocks of channels, M = B R W.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, rows_and_columns
from paretovit.zoo.mixers._fourier import from_spectrum, plain_from_spectrum, plain_spectrum, spectrum, transform_macs
from paretovit.zoo.tokens import Layout, Tokens

SCALE = 0.02  # of the weights at first; the paper's code


class Afno(Mixer):
    """Frequencies through two complex layers, block-diagonal in `blocks` blocks of channels, then soft-shrunk.

    ReLU and shrinking act on real and imaginary parts alone; what is smaller than `shrink` becomes 0, so that few
    frequencies remain. `residual` adds the tokens themselves, as the paper does inside the mixer; without it this
    is the survey's variant. `heads` is not used.
    """

    family = "non-attention shuffling"
    takes_prefix = False
    needs_grid = True
    trials = ({"blocks": 2, "shrink": 0.3}, {"residual": False})

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        blocks: int = 8,
        shrink: float = 0.01,
        residual: bool = True,
    ) -> None:
        super().__init__(dim, heads, layout)
        if blocks < 1 or dim % blocks:
            raise UserError(f"afno: {blocks} blocks do not divide the width {dim}; choose a number that does")
        if shrink < 0:
            raise UserError(f"afno: shrink must not be negative, got {shrink}")
        self.grid = rows_and_columns(layout)
        self.blocks, self.shrink, self.residual = blocks, shrink, residual
        width = dim // blocks
        # complex numbers as pairs of real ones, the last axis
        self.weight1 = nn.Parameter(SCALE * torch.randn(blocks, width, width, 2))
        self.bias1 = nn.Parameter(SCALE * torch.randn(blocks, width, 2))
        self.weight2 = nn.Parameter(SCALE * torch.randn(blocks, width, width, 2))
        self.bias2 = nn.Parameter(SCALE * torch.randn(blocks, width, 2))

    def forward(self, tokens: Tokens) -> Tensor:
        z_BRWD = spectrum(tokens.x, self.grid)
        pairs_GME = torch.view_as_real(z_BRWD).reshape(-1, self.blocks, 2 * self.dim // self.blocks).transpose(0, 1)
        hidden_GME = _complex_linear(pairs_GME, self.weight1, self.bias1).relu()
        shrunk_GME = F.softshrink(_complex_linear(hidden_GME, self.weight2, self.bias2), self.shrink)
        shrunk = shrunk_GME.transpose(0, 1).reshape(*z_BRWD.shape, 2).to(z_BRWD.real.dtype)
        out_BND = from_spectrum(torch.view_as_complex(shrunk), self.grid).to(tokens.x.dtype)
        return out_BND + tokens.x if self.residual else out_BND

    def reference(self, tokens: Tokens) -> Tensor:
        w1, b1, w2, b2 = (
            torch.complex(part[..., 0], part[..., 1]) for part in (self.weight1, self.bias1, self.weight2, self.bias2)
        )
        z = plain_spectrum(tokens.x, self.grid)
        outs = []
        for block, part in enumerate(z.chunk(self.blocks, dim=-1)):
            hidden = part @ w1[block] + b1[block]
            hidden = torch.complex(hidden.real.clamp(min=0), hidden.imag.clamp(min=0))
            out = hidden @ w2[block] + b2[block]
            real, imag = (p.sign() * (p.abs() - self.shrink).clamp(min=0) for p in (out.real, out.imag))
            outs.append(torch.complex(real, imag))
        mixed = plain_from_spectrum(torch.cat(outs, dim=-1), self.grid)
        return mixed + tokens.x if self.residual else mixed

    def macs(self) -> int:
        rows, columns = self.grid
        layer = rows * (columns // 2 + 1) * self.dim * (self.dim // self.blocks) * 4  # real products in a complex one
        return 2 * transform_macs(self.grid, self.dim) + 2 * layer


def _complex_linear(pairs_GME: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A complex layer as one real product: pairs (real, imaginary) along the last axis in and out."""
    weight, bias = weight.to(pairs_GME.dtype), bias.to(pairs_GME.dtype)
    real, imag = weight.unbind(-1)
    # what a real part adds to (real, imaginary), and what an imaginary part does
    both = torch.stack((weight, torch.stack((-imag, real), dim=-1)), dim=2)
    return torch.baddbmm(bias.flatten(1).unsqueeze(1), pairs_GME, both.flatten(3).flatten(1, 2))
