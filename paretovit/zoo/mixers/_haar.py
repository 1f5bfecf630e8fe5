"""The Haar wavelet transform of a map, one level, and back; sums and differences, no product.

Shapes   B images, D channels, H rows, W columns; h and w are half as many, rounded up.
"""

from __future__ import annotations

import torch
from torch import Tensor


def haar(map_BDHW: Tensor) -> Tensor:
    """The four sub-bands (B, 4 D, h, w): of blocks of 2 x 2 the mean, the differences between rows, between columns,
    and across, each times 2, which keeps the sum of squares. The last row or column of an odd number counts twice."""
    if map_BDHW.shape[-2] % 2:
        map_BDHW = torch.cat((map_BDHW, map_BDHW[..., -1:, :]), dim=-2)
    if map_BDHW.shape[-1] % 2:
        map_BDHW = torch.cat((map_BDHW, map_BDHW[..., -1:]), dim=-1)
    top, bottom = map_BDHW[..., ::2, :] * 0.5, map_BDHW[..., 1::2, :] * 0.5
    low, high = top + bottom, top - bottom
    (left, right), (high_left, high_right) = ((x[..., ::2], x[..., 1::2]) for x in (low, high))
    return torch.cat((left + right, high_left + high_right, left - right, high_left - high_right), dim=1)


def inverse_haar(bands_BEhw: Tensor, rows: int, columns: int) -> Tensor:
    """The map (B, E / 4, rows, columns) of which these are the sub-bands."""
    mean, vertical, horizontal, diagonal = (bands_BEhw * 0.5).chunk(4, dim=1)
    left, right = mean + horizontal, mean - horizontal
    high_left, high_right = vertical + diagonal, vertical - diagonal
    top = torch.stack((left + high_left, right + high_right), dim=-1).flatten(-2)
    bottom = torch.stack((left - high_left, right - high_right), dim=-1).flatten(-2)
    return torch.stack((top, bottom), dim=-2).flatten(-3, -2)[..., :rows, :columns]
