"""Where the time of training goes: the phases of a training step, and the operator groups in each."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from paretovit.cost.groups import GROUPS, OUTSIDE
from paretovit.report.figures import Figure
from paretovit.report.figures._group_bars import Bar, group_bars, told, wholes
from paretovit.report.headings import described, sheet_of
from paretovit.store import Table

_INDICATOR = "train_time_share"


class TrainingStep(Figure):
    """A bar per model and phase, from the rows of `paretovit profile --training`: the phase's share of the step, parted
    by the operators in it."""

    title = "What a training step is made of"
    needs = "shares of a training step by phase and operator group, as `paretovit profile --training` stores them"

    def can_draw(self, table: Table) -> bool:
        return any(True for _ in _bars(table))

    def draw(self, table: Table) -> alt.LayerChart:
        subtitle = [
            "The bars of a model add to its step, as it runs without a profiler.",
            "Outside operators: what Python and autograd take between them, and waiting for images.",
        ]
        return group_bars(list(_bars(table)), self.title, subtitle)


def _bars(table: Table) -> Iterator[Bar]:
    """By model and phase, in the order of a step; what tells several steps of a model apart is in the headings."""
    found = list(wholes(table, [_INDICATOR]))
    conditions = [name for name in told(found) if name != "split"]  # of what is trained on there is one
    recipes = sheet_of(table).recipes
    for whole in found:
        phases: dict[str, dict[str, float]] = {}
        for part, share in whole.parts.items():
            phase, _, group = part.partition(" ")
            if phase != "layer" and group in (*GROUPS, OUTSIDE):
                phases.setdefault(phase, {})[group] = share
        step = sum(share for shares in phases.values() for share in shares.values())
        words = (whole.model, described(whole.column.conditions, conditions, recipes))
        heading = ", ".join(word for word in words if word) + (" !" if whole.busy else "")
        for phase, shares in phases.items():
            yield Bar(whole.model, phase, shares, step, whole.busy, heading=heading)
