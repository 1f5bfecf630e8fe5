"""How weights were pruned, in the words of rows of their accuracy: the recipe, and the model's name. No torch.

What writes these rows and what reads them share this file, so that a figure or a claim need not guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORDS = re.compile(
    r"(?:(?P<recipe>.+?), from )?(?P<parent>\S+ \(.+\)) pruned to (?P<pattern>\d:\d) by (?P<score>\w+)"
    r"(?P<reordered>, channels reordered)?(?P<gradual>, step by step)?"
)
_NAME = re.compile(r"(?P<parent>.+)_\dof\d(?:_(?P<first>\d+)-(?P<last>\d+))?")


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """A way to prune.

    pattern     of N:M, as "2:4"
    score       what weights were judged by: "magnitude" or "wanda"
    reordered   whether channels changed places first
    gradual     whether one weight of each group was taken at a time, with a training after each
    """

    pattern: str
    score: str = "magnitude"
    reordered: bool = False
    gradual: bool = False

    def __str__(self) -> str:
        reordered, gradual = ", channels reordered" * self.reordered, ", step by step" * self.gradual
        return f"pruned to {self.pattern} by {self.score}{reordered}{gradual}"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a row's recipe says of a pruned model: from which parent, how it was pruned, and by which recipe it was
    trained after that; None for not at all."""

    parent: str
    pruning: Pruning
    recipe: str | None


def told(parent: str, pruning: Pruning) -> str:
    """The recipe of a row about a model that was pruned and not trained; behind "RECIPE, from " of one that was."""
    return f"{parent} {pruning}"


def tried(recipe: str | None) -> Tried | None:
    """What the recipe of a row says of pruning; None for one of something else."""
    match = _WORDS.fullmatch(recipe or "")
    if match is None:
        return None
    pruning = Pruning(
        pattern=match["pattern"],
        score=match["score"],
        reordered=match["reordered"] is not None,
        gradual=match["gradual"] is not None,
    )
    return Tried(parent=match["parent"], pruning=pruning, recipe=match["recipe"])


def sparse_name(parent: str, pattern: str, blocks: tuple[int, int] | None) -> str:
    """What a model is called some of whose blocks, or with None all, were pruned: "vit_2of4_4-11"."""
    return f"{parent}_{pattern.replace(':', 'of')}" + ("" if blocks is None else f"_{blocks[0]}-{blocks[1]}")


def of_name(name: str) -> tuple[str, tuple[int, int] | None] | None:
    """The parent and the blocks of a sparse model's name; None for another name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return match["parent"], None if match["first"] is None else (int(match["first"]), int(match["last"]))
