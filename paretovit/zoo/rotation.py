"""Rotary positions: what turns queries and keys by their places, so that attention sees differences of places.

Idea     A pair of channels is a number in the plane; turned by an angle that grows with the place, the product of
         a query and a key depends on how far apart they lie and not on where.
Paper    Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", eqs. 13 to 15 and 34.
Shapes   B images, H heads, N tokens, K width per head, A axes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.tokens import Layout, Tokens


class Rotation(nn.Module):
    """Turns the channels (2i, 2i + 1) of (B, H, N, K) by place x frequency.

    With A axes each has an A-th of the channels, and within it the frequencies `base` ** (-2i / (K / A)). Where the
    tokens lie as `layout` says, cosines and sines are worked out once; tokens that were removed or merged carry
    their places with them.

    Raises `UserError` for heads whose width does not split into pairs for every axis.
    """

    frequency: Tensor
    cos: Tensor | None
    sin: Tensor | None

    def __init__(self, head_dim: int, layout: Layout, *, axes: int, base: float, front: int = 0) -> None:
        super().__init__()
        if head_dim % (2 * axes):
            raise UserError(
                f"rotary positions on {axes} axes turn pairs of channels; a head of width {head_dim} does not divide "
                f"by {2 * axes}"
            )
        share = head_dim // axes
        slope = base ** -(torch.arange(0, share, 2, dtype=torch.float64) / share)
        frequency_AK = torch.zeros(axes, head_dim, dtype=torch.float64)
        for axis in range(axes):
            frequency_AK[axis, axis * share : (axis + 1) * share] = slope.repeat_interleave(2)
        self.front = front
        cos = sin = None
        if layout.grid is not None:
            place_NA = places(layout, axes, front)
            cos, sin = (table.to(torch.get_default_dtype()) for table in _cos_sin(place_NA, frequency_AK))
        self.register_buffer("frequency", frequency_AK.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tokens, *parts: Tensor, index: Tensor | None = None) -> tuple[Tensor, ...]:
        """The parts, turned. `index` names the token in each of their rows, where that is not its own number."""
        cos, sin = self.cos, self.sin
        if cos is None or sin is None:
            assert tokens.place is not None  # the backbone gives tokens their places before the first block
            place_BNA = tokens.place.to(self.frequency)
            if self.front:  # tokens that moved lie where they lay; the empty rows are nowhere else than at 0
                place_BNA = nn.functional.pad(place_BNA, (0, 0, self.front, 0))
            cos, sin = (t.unsqueeze(1) for t in _cos_sin(place_BNA, self.frequency))
        if index is not None:
            cos, sin = cos[..., index, :], sin[..., index, :]
        return tuple(_turned(part, cos.to(part.dtype), sin.to(part.dtype)) for part in parts)


def places(layout: Layout, axes: int, front: int = 0) -> Tensor:
    """Coordinates (front + N, axes) of the tokens of a layout.

    On one axis a token's place is its number in the sequence, class tokens and the `front` empty rows before it
    counted. On more, patches have those of their grid and all before them lie at 0. Raises `UserError` for a grid
    of another number of axes.
    """
    if axes == 1:
        return torch.arange(front + layout.num_tokens, dtype=torch.float64).unsqueeze(1)
    if layout.grid is None or len(layout.grid) != axes:
        raise UserError(f"rotary positions on {axes} axes need a grid of as many, got {layout.grid}")
    lines = [torch.arange(side, dtype=torch.float64) for side in layout.grid]
    grid = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).flatten(0, -2)
    return torch.cat((grid.new_zeros(front + layout.prefix, axes), grid))


def _cos_sin(place_NA: Tensor, frequency_AK: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines, and sines with the sign that each channel's partner comes with, both (..., N, K)."""
    angle = (place_NA.unsqueeze(-1) * frequency_AK).sum(-2)
    sign = torch.ones(angle.shape[-1], dtype=angle.dtype, device=angle.device)
    sign[::2] = -1
    return angle.cos(), angle.sin() * sign


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    partner = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos, partner, sin)
