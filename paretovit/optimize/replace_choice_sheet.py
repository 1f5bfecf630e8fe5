"""What a search for layers to replace has tried and chosen, as text."""

from __future__ import annotations

import textwrap
from typing import Any

from paretovit.optimize.replace_candidates import Tried
from paretovit.optimize.replace_choice import Chosen
from paretovit.optimize.roofline_sheet import RooflineSheet


def choice_sheet(chosen: Chosen) -> RooflineSheet:
    """A line for every plan that was trained: those in full first, by accuracy; then why this one, and what was not
    trained."""
    about = chosen.about
    ranked = sorted(
        (one for one in chosen.tried if one.score is not None),
        key=lambda one: (one.top1 is None, -(one.top1 or 0.0), one.ratio > chosen.most, -(one.score or 0.0)),
    )
    columns = ["plan", "made", f"{about['cost']}\n({about['unit']})", "times the\nparent", "short\ntop-1 %"]
    title = f"{about['parent']['name']}: which layers to replace for {about['budget']}"
    lines = [_line(one, chosen) for one in ranked]
    return RooflineSheet(title, [*columns, "full\ntop-1 %", ""], lines, "\n".join(_notes(chosen)))


def _line(one: Tried, chosen: Chosen) -> list[str]:
    verdict = "chosen" if one.mixers == chosen.chosen.mixers else ""
    if not verdict and one.holding in ("fails", "unknown"):
        verdict = "breaks the budget"
    elif not verdict:
        verdict = "over budget" if one.ratio > chosen.most else "tied" if one.tied else ""
    return [
        str(one.plan).removeprefix("layers "),
        one.made,
        "" if one.cost is None else f"{one.cost:.4g}",
        f"{one.ratio:.3f}",
        "" if one.score is None else f"{100 * one.score:.1f}",
        "" if one.top1 is None else f"{100 * one.top1:.1f} ± {100 * one.error:.1f}",
        verdict,
    ]


def _notes(chosen: Chosen) -> list[str]:
    about, best = chosen.about, chosen.chosen
    first = max(chosen.tried, key=lambda one: one.top1 or 0.0)
    why = "the most accurate" if best is first or best.mixers == first.mixers else "the cheapest that is tied with it"
    again = ", and keeps the budget measured again" if best.holding == "holds" else ", within noise of the budget"
    notes = [
        f"Accuracy on {about['data']}, {about['judged on']}: after {_epochs(about['short recipe'])} on labels "
        f"alone (short), by which plans are found, and after {_epochs(about['recipe'])} (full), ± one standard error. "
        "Early, middle and late plans are made by hand, and all of them trained in full.",
        f"Chosen: {best.plan}, {why}{again if ' on ' in about['cost'] else ''}. "
        f"{chosen.folder} is a checkpoint like any other.",
    ]
    untrained = {one.why: one for one in chosen.tried if one.why}
    notes += [f"{one.plan}: {why}." for why, one in untrained.items()]
    return [textwrap.fill(note, 100, break_on_hyphens=False) for note in notes]


def _epochs(recipe: dict[str, Any]) -> str:
    return f"{recipe['epochs']} epoch{'' if recipe['epochs'] == 1 else 's'}"
