"""N:M patterns: of every M weights in a row, one after the other, at most N are not zero.

Paper    Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", for 2:4; Zhou et al. 2021, "Learning N:M
         Fine-grained Structured Sparse Neural Networks From Scratch", for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paretovit.errors import UserError

_GROUPS = (2, 4, 8)


@dataclass(frozen=True)
class Pattern:
    """`kept` of every `group` weights. Raises `UserError` for other groups than 2, 4 or 8, or where none is to go."""

    kept: int
    group: int

    def __post_init__(self) -> None:
        if self.group not in _GROUPS or not 1 <= self.kept < self.group:
            raise UserError(f"pattern {self} is none; take N:M with M of 2, 4 or 8 and N from 1 to below M, as in 2:4")

    @classmethod
    def of(cls, text: str) -> Pattern:
        """ "2:4". Raises `UserError` for what cannot be read."""
        kept, colon, group = text.partition(":")
        if not (colon and kept.isdecimal() and group.isdecimal()):
            raise UserError(f"cannot read the pattern {text!r}; write it as 2:4")
        return cls(int(kept), int(group))

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    @property
    def is_2_of_4(self) -> bool:
        """Whether what keeps to this pattern keeps to 2:4, too, which hardware executes."""
        return self in (TWO_OF_FOUR, Pattern(1, 4), Pattern(1, 2))

    def fits(self, width: int) -> bool:
        return width % self.group == 0

    def mask(self, scores: Tensor) -> Tensor:
        """True for the `kept` highest scores (out, in) of every group, the first ones among equals."""
        groups = scores.unflatten(-1, (-1, self.group))
        order = groups.argsort(dim=-1, descending=True, stable=True)
        return torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order[..., : self.kept], True).flatten(-2)

    def holds(self, mask: Tensor) -> bool:
        """Whether no group of a mask (out, in) keeps more than it may."""
        return self.fits(mask.shape[-1]) and bool((mask.unflatten(-1, (-1, self.group)).sum(-1) <= self.kept).all())


TWO_OF_FOUR = Pattern(2, 4)  # the one that GPUs execute
