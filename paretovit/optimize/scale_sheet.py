"""What a search has come to, as text."""

from __future__ import annotations

import textwrap

from paretovit.optimize.roofline_sheet import RooflineSheet
from paretovit.optimize.scale import Candidate, SearchPath, Step
from paretovit.zoo.factors import TITLES, factors_of


def scale_sheet(path: SearchPath) -> RooflineSheet:
    """A line for every candidate, the one that was kept marked, and sentences on what was not trained."""
    lines = [line for step in path.steps for line in _lines(step)]
    letters = [letter for _, letter in TITLES.values()]
    about = path.about
    columns = ["step", "scaled by", *letters, f"{about['cost']}\n({about['unit']})", "times\nthe start", "top-1\n%", ""]
    title = f"{about['start']['name']}, scaled by {about['cost']}"
    return RooflineSheet(title, columns, lines, "\n".join(_notes(path)))


def _lines(step: Step) -> list[list[str]]:
    return [_line(step, one) for one in step.candidates if not one.grown.why]


def _line(step: Step, one: Candidate) -> list[str]:
    kept = one is step.kept or one.spec.key == step.kept.spec.key
    title = TITLES[one.grown.factor][0] if one.grown.factor in TITLES else ""
    return [
        step.name,
        title or {"all": "all, at random", "none": "as it was"}.get(one.grown.factor, ""),
        *map(str, factors_of(one.spec)),
        "" if one.cost is None else _number(one.cost),
        f"{one.grown.ratio:.2f}",
        "–" if one.top1 is None else f"{100 * one.top1:.1f} ± {100 * one.error:.1f}",
        "kept" if kept else "tied" if one.tied else "dropped" if one.why else "",
    ]


def _number(cost: float) -> str:
    """Three digits; a count of millions in full, its lesser digits rounded."""
    return f"{float(f'{cost:.3g}'):,.0f}" if cost >= 1000 else f"{cost:.3g}"


def _notes(path: SearchPath) -> list[str]:
    about = path.about
    notes = [
        f"d layers, h heads, e their width, r MLP ratio, I image and p patch in pixels. Accuracy on {about['data']}, "
        f"{about['judged on']}, recipe {about['recipe']['name']}, ± one standard error; those within one of the "
        "best are tied."
    ]
    for step in path.steps:
        for one in step.candidates:
            if one.why:
                what = TITLES[one.grown.factor][0] if one.grown.factor in TITLES else one.spec.name
                notes.append(f"{step.name}, {what}: {one.why}.")
    return [textwrap.fill(note, 100, break_on_hyphens=False) for note in notes]
