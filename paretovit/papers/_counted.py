"""Numbers that a model determines, beside what is printed of it."""

from __future__ import annotations

from dataclasses import replace

from paretovit.cost.counting import Count
from paretovit.cost.subject import Setting, Subject
from paretovit.papers._cells import Cell, Verdict
from paretovit.spec import ModelSpec

_NEAR = 0.01  # of the printed number


def counts(spec: ModelSpec) -> Count:
    """The operator counter's totals for one image, without weights."""
    return Subject(spec, Setting()).count


def printed_as(text: str) -> tuple[float, int]:
    """A number as it stands in a table, and how many digits stand behind its point: "2.90" is (2.9, 2)."""
    return float(text), len(text.partition(".")[2])


def with_printed(cell: Cell, text: str | None) -> Cell:
    """The cell with what its table prints, or with nothing."""
    if text is None:
        return cell
    printed, digits = printed_as(text)
    return replace(cell, printed=printed, digits=digits)


def judged(cell: Cell, ours: float, why: str = "") -> Cell:
    """The cell with a number of ours: exact if it is the printed one to the last digit, near within a hundredth of it,
    else explained by `why`, the reason of a difference, and without one different.

    A remark that does not explain belongs into the cell's note before.
    """
    made = replace(cell, ours=ours)
    if cell.printed is None:
        return replace(made, verdict="unprinted")
    digits = 0 if cell.digits is None else cell.digits
    verdict: Verdict
    if round(ours, digits) == cell.printed:
        verdict = "exact"
    elif abs(ours - cell.printed) <= _NEAR * cell.printed:
        verdict = "near"
    elif why:
        return replace(made, verdict="explained", note=f"{cell.note}; {why}" if cell.note else why)
    else:
        verdict = "differs"
    return replace(made, verdict=verdict)
