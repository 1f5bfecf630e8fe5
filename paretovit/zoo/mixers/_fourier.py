"""The Fourier transform over the grid that tokens lie on: what mixers that work on frequencies share.

Shapes   B images, N tokens, D width, R rows, C columns, W = C // 2 + 1 frequencies along the columns; the others
         are known from them, as tokens are real.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Sides = tuple[int, int]


def spectrum(x_BND: Tensor, grid: Sides) -> Tensor:
    """Frequencies (B, R, W, D) of tokens on their grid, scaled by 1 / sqrt(N)."""
    # no Fourier transform in half precision but for sizes that are powers of two
    x = x_BND.float() if x_BND.dtype in (torch.bfloat16, torch.float16) else x_BND
    return torch.fft.rfft2(x.unflatten(1, grid), dim=(1, 2), norm="ortho")


def from_spectrum(z_BRWD: Tensor, grid: Sides) -> Tensor:
    """Tokens (B, N, D) of frequencies; the inverse of `spectrum`."""
    return torch.fft.irfft2(z_BRWD, s=grid, dim=(1, 2), norm="ortho").flatten(1, 2)


def transform_macs(grid: Sides, dim: int) -> int:
    """Multiply-accumulates of one of the two for one image."""
    n = math.prod(grid)
    return round(5 * n * dim * math.log2(n) / 2 / 2)  # half of the operations, and half of that for real tokens


def plain_spectrum(x_BND: Tensor, grid: Sides) -> Tensor:
    """`spectrum` by its definition, for references."""
    waves_RWRC = _waves(grid, x_BND)
    x_BRCD = x_BND.unflatten(1, grid)
    rows = [
        torch.stack([(x_BRCD * wave.conj()[..., None]).sum((1, 2)) for wave in of_row], dim=1) for of_row in waves_RWRC
    ]
    return torch.stack(rows, dim=1) / math.prod(grid) ** 0.5


def plain_from_spectrum(z_BRWD: Tensor, grid: Sides) -> Tensor:
    """`from_spectrum` by its definition, for references."""
    rows, columns = grid
    out = torch.zeros(len(z_BRWD), rows, columns, z_BRWD.shape[-1]).to(z_BRWD.real)
    for r, of_row in enumerate(_waves(grid, z_BRWD.real)):
        for c, wave in enumerate(of_row):
            twice = 1 if c == 0 or 2 * c == columns else 2  # once for itself, once for the frequency -c
            out += twice * (z_BRWD[:, r, c, None, None] * wave[..., None]).real
    return out.flatten(1, 2) / math.prod(grid) ** 0.5


def _waves(grid: Sides, like: Tensor) -> Tensor:
    """e^(2 pi i (r k / R + c l / C)), (R, W, R, C) for every frequency (k, l) and place (r, c)."""
    rows, columns = (torch.arange(side).to(like) for side in grid)
    k, width = rows[:, None, None, None], columns[: grid[1] // 2 + 1][None, :, None, None]
    turns = k * rows[None, None, :, None] / grid[0] + width * columns[None, None, None, :] / grid[1]
    return torch.exp(2j * torch.pi * turns)
