"""What a paper's table becomes: cells, each with what is printed, what is ours, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "exact",  # ours is the printed number, to its last digit
    "misprint",  # the paper contradicts its own number, and ours is the one that its other numbers ask for
    "recounted",  # not printed; ours is what a recount from the paper's formulas and code gives
    "explained",  # ours differs from the recount by what the note names, and by nothing else
    "agrees",  # as near as such a number can be expected to come again
    "lower",  # ours is
    "higher",  # ours is
    "open",  # both are there, but nothing says how far apart they may be
    "missing",  # there is none of ours; the note says how to get it
    "differs",  # ours is another number, and nobody knows why
]


@dataclass(frozen=True)
class Kind:
    """How a sort of cell is spoken of: at the head of a column, in a sentence, and with how many decimals.

    `per` divides a value for people, where there are more digits than a column has room for.
    """

    head: str
    words: str
    decimals: int = 0
    per: int = 1


KINDS = {
    "params": Kind("parameters", "parameter counts"),
    "all_params": Kind("all\ntrained", "counts of all trained tensors"),
    "macs": Kind("macs\nmillions", "multiply-accumulates", decimals=2, per=10**6),
    "size_mb": Kind("Size\nMB", "sizes", decimals=2),
    "gpu_gb": Kind("GPU\nGB", "GPU memories", decimals=1),
    "top1": Kind("top-1\n%", "top-1 accuracies", decimals=2),
    "top5": Kind("top-5\n%", "top-5 accuracies", decimals=2),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a paper beside ours.

    paper, table   such as "hybrid-xformers" and 3
    row, model     the row's name as printed, and the catalog's name of the model
    cell, unit     what the number is, a key of `KINDS`, and the unit of all four numbers
    printed        None where the paper prints none
    recounted      what the paper should have printed, worked out without our model; None where nobody has
    ours, spread   None where there is none; the spread is the standard deviation over seeds
    note           why not, or under which conditions
    """

    paper: str
    table: int
    row: str
    model: str
    cell: str
    unit: str
    printed: float | None = None
    recounted: float | None = None
    ours: float | None = None
    spread: float | None = None
    verdict: Verdict = "missing"
    note: str = ""
