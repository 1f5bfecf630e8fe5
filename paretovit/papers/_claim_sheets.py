"""Claims as text: a sheet for each claim and what it was tried on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from paretovit.analysis.claims import Claim, Side
from paretovit.papers._sheets import Sheet, wrapped

_COLUMNS = ["first", "second", "first\nours", "second\nours", "seeds", "first less\nsecond", "verdict", "printed"]
_LEGEND = (
    "Top-1 accuracies in percent, mean over seeds ± half the 95% Student interval, ≤ that of the best seed; the "
    "difference ± half its 95% Welch interval, which decides. Open: the interval holds both signs, or there is a "
    "single seed. That no other is better holds unless one is; a tie: the two are not told apart. !: the paper's own "
    "numbers go the other way."
)


def claim_sheets(claims: Sequence[Claim]) -> list[Sheet]:
    """For each pair of models ours, their difference, the verdict, and what the paper prints for the two; how to read
    them is said once, below the last."""
    made = []
    for paper, says, where in dict.fromkeys((claim.paper, claim.says, claim.where) for claim in claims):
        of = [claim for claim in claims if (claim.paper, claim.says, claim.where) == (paper, says, where)]
        made.append(Sheet(f"{paper}: {says}", _COLUMNS, [_line(claim) for claim in of], wrapped(f"On {where}")))
    if made:
        made[-1] = replace(made[-1], notes=f"{made[-1].notes}\n\n{wrapped(_LEGEND)}")
    return made


def _line(claim: Claim) -> list[str]:
    by, (low, high) = claim.by
    reach = f" ±{(high - low) / 2:.1f}" if math.isfinite(high) else ""
    sides = (claim.first, claim.second)
    printed = [f"{side.printed:.1f}" for side in sides if side.printed is not None]
    return [
        *(side.model for side in sides),
        *(_ours(side) for side in sides),
        ", ".join(dict.fromkeys(str(len(side.values)) for side in sides)),
        f"{round(by, 1) + 0.0:+.1f}{reach}",
        claim.said,
        (", ".join(printed) + " !" * (claim.printed_bears_out is False)) if len(printed) == 2 else "",
    ]


def _ours(side: Side) -> str:
    low, high = side.interval
    return f"{side.mean:.1f}" + (f" ±{(high - low) / 2:.1f} ≤{side.best:.1f}" if math.isfinite(high) else "")
