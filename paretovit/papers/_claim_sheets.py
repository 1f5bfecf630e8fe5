"""Claims as text: a sheet for each claim and what it was tried on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from paretovit.analysis.claims import Claim, Side, summed_up
from paretovit.papers._sheets import Sheet, wrapped

_COLUMNS = ["first", "second", "first\nours", "second\nours", "seeds", "first less\nsecond", "verdict", "printed"]
_LEGEND = (
    "Top-1 accuracies in percent where the claim names nothing else, mean over seeds ± half the 95% Student interval, "
    "≤ that of the best seed; the difference ± half its 95% interval, which decides: Welch's, or where both come from "
    "the same parents Student's of the differences by seed. Open: the interval holds both signs or reaches over the "
    "bound that the claim states, or there is a single seed. That no other is better holds unless one is; a tie: the "
    "two are not told apart. !: the paper's own numbers go the other way."
)


def claim_sheets(claims: Sequence[Claim]) -> list[Sheet]:
    """For each pair of models ours, their difference, the verdict, and what the paper prints for the two; how to read
    them is said once, below the last."""
    made = []
    for (paper, says, where), of in _by_claim(claims).items():
        made.append(Sheet(f"{paper}: {says}", _COLUMNS, [_line(claim) for claim in of], wrapped(f"On {where}")))
    if made:
        made[-1] = replace(made[-1], notes=f"{made[-1].notes}\n\n{wrapped(_LEGEND)}")
    return made


def claim_page(claims: Sequence[Claim], title: str, command: str) -> str:
    """The claims as a page of Markdown: a line for what each comes to, and below it their pairs, as `claim_sheets` has
    them; `command` is what made the page. What claims were tried on is told once, by number."""
    found = _by_claim(claims)
    wheres = list(dict.fromkeys(where for _, _, where in found))
    sections, lines = [], []
    for (_, says, where), of in found.items():
        number = f" [{wheres.index(where) + 1}]" if len(wheres) > 1 else ""
        lines.append([f"{says}{number}", summed_up(of), str(len(of))])
        printed = any(_line(claim)[-1] for claim in of)
        shown = [line if printed else line[:-1] for line in map(_line, of)]
        sections += [f"## {says}{number}", _markdown(_COLUMNS[: len(shown[0])], shown)]
    tried = [f"{at}. {where}" if len(wheres) > 1 else where for at, where in enumerate(wheres, start=1)]
    parts = [
        f"# {title}: what it claims, tried here",
        f"Made by `{command}` from rows alone.",
        _markdown(["claim", "on our data", "pairs"], lines),
        "Tried on:" if len(wheres) == 1 else "Tried on these, by the number behind a claim:",
        "\n".join(tried),
        *sections,
        "## How to read the tables",
        _LEGEND,
    ]
    return "\n\n".join(parts) + "\n"


def _by_claim(claims: Sequence[Claim]) -> dict[tuple[str, str, str], list[Claim]]:
    """What the pairs are about: the paper, the claim, and what it was tried on."""
    found: dict[tuple[str, str, str], list[Claim]] = {}
    for claim in claims:
        found.setdefault((claim.paper, claim.says, claim.where), []).append(claim)
    return found


def _markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; a column is ranged right where all of its cells begin with a number."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in (columns, *lines)]
    right = [all(line[at][:1].isdigit() or line[at][:1] in "+-" for line in cells[1:]) for at in range(len(columns))]
    cells.insert(1, ["---:" if numbers else "---" for numbers in right])
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _line(claim: Claim) -> list[str]:
    by, (low, high) = claim.by
    reach = f" ±{(high - low) / 2:.1f}" if math.isfinite(high) else ""
    sides = (claim.first, claim.second)
    printed = [f"{side.printed:.1f}" for side in sides if side.printed is not None]
    return [
        *(side.model for side in sides),
        *(_ours(side) for side in sides),
        ", ".join(dict.fromkeys(str(len(side.values)) for side in sides)) + _repeats(claim),
        f"{round(by, 1) + 0.0:+.1f}{reach}",
        claim.said,
        (", ".join(printed) + " !" * (claim.printed_bears_out is False)) if len(printed) == 2 else "",
    ]


def _repeats(claim: Claim) -> str:
    return "" if claim.repeats == "seeds" else f" {claim.repeats}"


def _ours(side: Side) -> str:
    low, high = side.interval
    return f"{side.mean:.1f}" + (f" ±{(high - low) / 2:.1f} ≤{side.best:.1f}" if math.isfinite(high) else "")
