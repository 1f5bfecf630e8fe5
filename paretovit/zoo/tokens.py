"""The one value that flows through a model, and what is known of it when the model is built.

Shapes   B images, N tokens (`prefix` class or summary tokens first), D width, M tokens kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

Grid = tuple[int, ...]  # (rows, columns), or (frames, rows, columns)


@dataclass(frozen=True)
class Layout:
    """How many tokens there are at one place of a model and where they lie, known when it is built.

    grid      rows and columns of the patch tokens while they lie on a grid, else None
    patches   patch tokens, that is all but the prefix
    prefix    class or summary tokens in front
    """

    grid: Grid | None
    patches: int
    prefix: int

    @classmethod
    def of_grid(cls, grid: Grid, prefix: int = 0) -> Layout:
        return cls(grid, math.prod(grid), prefix)

    @property
    def num_tokens(self) -> int:
        return self.prefix + self.patches

    def without_grid(self, patches: int) -> Layout:
        """As many patch tokens as given, no longer on a grid."""
        return Layout(None, patches, self.prefix)


@dataclass
class Tokens:
    """Tokens of a batch with all that the parts of a model need to know of them.

    x       (B, N, D), prefix first
    grid    rows and columns of the patch tokens while they lie on a grid
    prefix  number of class or summary tokens
    place   (B, N, axes) coordinates, kept through removal and merging; None until somebody needs them
    size    (B, N) patches that a token stands for; None while every token stands for one
    alive   (B, N) mask of tokens not yet removed, while training with soft removal
    aux     named losses and side outputs; the training loop adds what its recipe weighs
    """

    x: Tensor
    grid: Grid | None = None
    prefix: int = 0
    place: Tensor | None = None
    size: Tensor | None = None
    alive: Tensor | None = None
    aux: dict[str, Tensor] = field(default_factory=dict)

    def with_x(self, x: Tensor) -> Tokens:
        """The same tokens with other values."""
        return Tokens(x, self.grid, self.prefix, self.place, self.size, self.alive, self.aux)

    def keep(self, index: Tensor) -> Tokens:
        """The prefix and the patch tokens of `index` (B, M), counted from the first patch; the grid is gone."""
        return replace(
            self,
            x=self._kept(self.x, index),
            grid=None,
            place=None if self.place is None else self._kept(self.place, index),
            size=None if self.size is None else self._kept(self.size, index),
            alive=None if self.alive is None else self._kept(self.alive, index),
        )

    def _kept(self, values: Tensor, index: Tensor) -> Tensor:
        at = index + self.prefix
        if values.ndim == 3:
            at = at.unsqueeze(-1).expand(-1, -1, values.shape[-1])
        return torch.cat((values[:, : self.prefix], values.gather(1, at)), dim=1)


def as_map(x_BND: Tensor, grid: Grid) -> Tensor:
    """Patch tokens on a grid as a feature map (B, D, rows, columns); a view, channels last in memory."""
    return x_BND.unflatten(1, grid).permute(0, 3, 1, 2)


def as_tokens(map_BDHW: Tensor) -> Tensor:
    """A feature map as patch tokens (B, rows x columns, D), row after row."""
    return map_BDHW.permute(0, 2, 3, 1).flatten(1, 2)
