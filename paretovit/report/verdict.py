"""What a table says, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretovit.analysis.pareto import not_beaten
from paretovit.report.figures.pareto import on_front
from paretovit.report.headings import Heading, Sheet

_NAMED = 8  # a sentence does not name more models than that


def verdict(sheet: Sheet) -> str:
    """One sentence: who is Pareto-optimal for the foremost quality and cost, and who cannot be told apart from them."""
    count = len(sheet.table.lines)
    if not sheet.qualities:
        return f"{_models(count)} measured, none with an accuracy yet: train them to see who is Pareto-optimal."
    if not sheet.costs:
        return f"{_models(count)} with an accuracy, none with a cost yet: measure them to see who is Pareto-optimal."
    quality, cost = sheet.qualities[0], sheet.costs[0]
    values = np.array([sheet.values(cost), sheet.values(quality)]).T
    compared = int((~np.isnan(values).any(axis=1)).sum())
    best = on_front(sheet, cost, quality)
    if compared and not any(best):
        return f"Every {cost.title} here was taken while others used the machine and claims nothing: measure again."
    if not compared:
        return f"No model has both {quality.title} and {cost.title} yet: measure and train the same models."
    order = sorted((at for at, optimal in enumerate(best) if optimal), key=lambda at: values[at, 0])
    order = order if cost.lower_is_better else order[::-1]
    device = cost.column.conditions.device
    sentence = (
        f"{f'On {device}, ' if device else ''}{len(order)} of {_models(compared)} "
        f"{'is' if len(order) == 1 else 'are'} Pareto-optimal for {quality.title} × {cost.title}: "
        f"{listed([sheet.labels[at] for at in order])}"
    )
    ties = [at for at, tie in enumerate(_undecided(sheet, cost, quality)) if tie and not best[at]]
    if ties:
        names = listed([sheet.labels[at] for at in ties]) if len(ties) <= 3 else f"{len(ties)} more"
        sentence += f"; {names} cannot be told apart from them within the noise"
    return sentence + "."


def listed(words: Sequence[str]) -> str:
    """ "a, b and c"; of more than a sentence bears, the first ones and how many more."""
    if len(words) > _NAMED:
        return f"{', '.join(words[:_NAMED])} and {len(words) - _NAMED} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _undecided(sheet: Sheet, cost: Heading, quality: Heading) -> list[bool]:
    """Which lines no other beats beyond the noise in both cost and quality."""
    lows, highs = np.moveaxis(np.array([sheet.intervals(cost), sheet.intervals(quality)], dtype=float), 2, 0)
    directions = (-1 if cost.lower_is_better else 1, 1)
    return [bool(tie) for tie in not_beaten(lows.T, highs.T, directions)]


def _models(count: int) -> str:
    return f"{count} model{'s' if count != 1 else ''}"
