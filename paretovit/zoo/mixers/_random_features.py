"""Positive random features: what every estimate of softmax attention by FAVOR+ draws, and does with keys.

Shapes   B images, N tokens, H heads, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def key_features(dots_BHNF: Tensor, half_norm_BHN1: Tensor) -> tuple[Tensor, Tensor]:
    """exp(w . k - |k|^2 / 2) over the largest of its image and head, and the log of that, (B, H, 1, 1).

    `dots` are the products w . k, and are used up. Choromanski et al. 2020, eq. 5.
    """
    largest_BH11 = (dots_BHNF.detach().amax(-1, keepdim=True) - half_norm_BHN1.detach()).amax(-2, keepdim=True)
    return exp_of_difference(dots_BHNF, half_norm_BHN1 + largest_BH11), largest_BH11


def exp_of_difference(dots_BHNF: Tensor, offset: Tensor) -> Tensor:
    """exp(dots - offset), in place: another tensor of this size costs more than what is worked out in it.

    In half precision exponentials would be too rough, so they are taken in single.
    """
    half = dots_BHNF.dtype in (torch.float16, torch.bfloat16)
    return (dots_BHNF.float() if half else dots_BHNF).sub_(offset).exp_().to(dots_BHNF.dtype)


def orthogonal_normal(rows: int, dim: int) -> Tensor:
    """Rows (rows, dim) that are each standard normal, and orthogonal within every block of `dim` rows.

    Directions are those of a random rotation; lengths are drawn on their own, as of normal vectors.
    """
    blocks = -(-rows // dim)
    q, r = torch.linalg.qr(torch.randn(blocks, dim, dim))
    rotations = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # else some rotations are likelier
    lengths = torch.randn(rows, dim).norm(dim=1, keepdim=True)
    return rotations.flatten(0, 1)[:rows] * lengths
