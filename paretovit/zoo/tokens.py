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
    masked    True if some of them may be tokens that are no longer alive, as `Tokens.alive` then says
    """

    grid: Grid | None
    patches: int
    prefix: int
    masked: bool = False

    @classmethod
    def of_grid(cls, grid: Grid, prefix: int = 0) -> Layout:
        return cls(grid, math.prod(grid), prefix)

    @property
    def num_tokens(self) -> int:
        return self.prefix + self.patches

    def without_grid(self, patches: int) -> Layout:
        """As many patch tokens as given, no longer on a grid."""
        return replace(self, grid=None, patches=patches)


@dataclass
class Tokens:
    """Tokens of a batch with all that the parts of a model need to know of them.

    x       (B, N, D), prefix first
    grid    rows and columns of the patch tokens while they lie on a grid
    prefix  number of class or summary tokens
    place   (B, N, axes) coordinates, kept through removal and merging; None until somebody needs them
    size    (B, N) patches that a token stands for; None while every token stands for one
    alive   (B, N), 0 for tokens that are here and must not be heard: removed while training, or in a batch whose
            other images still have as many; None where all are alive
    aux     named losses and side outputs; the training loop adds what its recipe weighs
    halting what tokens that stop at different depths have come to so far
    aside   tokens that a part further on will go on with, while the blocks in between work on a summary of them
    """

    x: Tensor
    grid: Grid | None = None
    prefix: int = 0
    place: Tensor | None = None
    size: Tensor | None = None
    alive: Tensor | None = None
    aux: dict[str, Tensor] = field(default_factory=dict)
    halting: Halting | None = None
    aside: Tokens | None = None

    def with_x(self, x: Tensor) -> Tokens:
        """The same tokens with other values."""
        return Tokens(x, self.grid, self.prefix, self.place, self.size, self.alive, self.aux, self.halting, self.aside)

    def add_loss(self, name: str, loss: Tensor) -> None:
        """Add to the auxiliary loss of that name; each block that has one contributes."""
        self.aux[name] = self.aux[name] + loss if name in self.aux else loss

    def keep(self, index: Tensor) -> Tokens:
        """The prefix and the patch tokens of `index` (B, M), counted from the first patch; the grid is gone."""
        return replace(
            self,
            x=self._kept(self.x, index),
            grid=None,
            place=None if self.place is None else self._kept(self.place, index),
            size=None if self.size is None else self._kept(self.size, index),
            alive=None if self.alive is None else self._kept(self.alive, index),
            halting=None if self.halting is None else self._halting_kept(self.halting, index),
        )

    def _halting_kept(self, halting: Halting, index: Tensor) -> Halting:
        home = halting.home
        if home is None:
            home = torch.arange(self.x.shape[1], device=self.x.device).expand(self.x.shape[:2])
        return replace(halting, score=self._kept(halting.score, index), home=self._kept(home, index))

    def _kept(self, values: Tensor, index: Tensor) -> Tensor:
        at = index + self.prefix
        if values.ndim == 3:
            at = at.unsqueeze(-1).expand(-1, -1, values.shape[-1])
        return torch.cat((values[:, : self.prefix], values.gather(1, at)), dim=1)


@dataclass
class Halting:
    """Tokens that stop at different depths, on their way through the blocks of a stage.

    out     the tokens that will leave the stage, all of them; x is the weighted sum of the values they had so far
    score   (B, N) halting scores of the tokens still in the sequence, added up
    home    (B, N) where in `out` each of them belongs; None while none has left
    means   the mean halting score after each block so far, while training
    """

    out: Tokens
    score: Tensor
    home: Tensor | None = None
    means: tuple[Tensor, ...] = ()


def as_map(x_BND: Tensor, grid: Grid) -> Tensor:
    """Patch tokens on a grid as a feature map (B, D, rows, columns); a view, channels last in memory."""
    return x_BND.unflatten(1, grid).permute(0, 3, 1, 2)


def as_tokens(map_BDHW: Tensor) -> Tensor:
    """A feature map as patch tokens (B, rows x columns, D), row after row."""
    return map_BDHW.permute(0, 2, 3, 1).flatten(1, 2)
