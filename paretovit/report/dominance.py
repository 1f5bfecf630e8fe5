"""Who is non-dominated in accuracy and several costs at once, and what the front would lose without each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from paretovit.analysis.pareto import exclusive, hypervolume, non_dominated
from paretovit.report.headings import Heading, Sheet
from paretovit.report.verdict import listed

# One cost of each kind: time, memory, size, work; of two of a kind the first that enough models have.
_KINDS = (("latency_s", "images_per_s"), ("peak_bytes_train", "peak_bytes_infer"), ("params",), ("macs",))
_COSTS = 3  # with the accuracy four dimensions: in more of them nearly every model is on the front
_KEPT = 1 / 3  # of the models that were compared so far, so many must have a cost for it to be among these
_BEYOND = 0.1  # the reference point lies beyond the worst by this part of each dimension's range
_WEIGHED = 150  # members of a front that are weighed against each other: it takes seconds for more
_LISTED = 30


@dataclass(frozen=True)
class Dominance:
    """Over `headings`, a quality and some costs, of the `compared` lines of a sheet.

    epsilon    how noisy each dimension is: the median, over the models, of half an interval over the value
    front      lines that no other dominates, values taken as they are
    near       lines that are dominated, but by no other once made better by epsilon in every dimension
    share      for each of `front`, the part of the hypervolume that it alone dominates; () of a front that is too
               large to be weighed. Costs count by their logarithm, so that halving one counts alike wherever it starts
    """

    headings: tuple[Heading, ...]
    compared: tuple[int, ...]
    epsilon: tuple[float, ...]
    front: tuple[int, ...]
    near: tuple[int, ...]
    share: tuple[float, ...]


def dominance(sheet: Sheet) -> Dominance | None:
    """Over the foremost quality and one cost of each kind that most models have; None without two such costs.

    A value that claims nothing, such as one taken while others used the machine, leaves its model out.
    """
    headings = _headings(sheet)
    if len(headings) < 3:
        return None
    compared = sorted(set.intersection(*(_known(sheet, h) for h in headings)))
    points = np.array([[sheet.values(h)[at] for h in headings] for at in compared])
    directions = [-1 if h.lower_is_better else 1 for h in headings]
    epsilon = [_noise(sheet, h, compared) for h in headings]
    best = non_dominated(points, directions)
    near = non_dominated(points, directions, epsilon=epsilon) & ~best
    front = np.flatnonzero(best)
    return Dominance(
        headings=headings,
        compared=tuple(compared),
        epsilon=tuple(epsilon),
        front=tuple(compared[at] for at in front),
        near=tuple(compared[at] for at in np.flatnonzero(near)),
        share=_shares(points, headings, directions, front) if len(front) <= _WEIGHED else (),
    )


def dominance_section(sheet: Sheet) -> str:
    """The front in all these dimensions as a table. Every word from the store passes through `escape`."""
    found = dominance(sheet)
    if found is None or not found.front:
        return ""
    titles = [h.title for h in found.headings]
    noise = listed([f"{title} ±{share:.1%}" for title, share in zip(titles, found.epsilon, strict=True) if share])
    lines = list(zip(found.front, found.share or [math.nan] * len(found.front), strict=True))
    lines.sort(key=lambda line: -line[1] if found.share else 0.0)
    heads = "".join(
        f'<th>{escape(h.title)}<span class="unit">{escape(h.scale.unit)}</span></th>' for h in found.headings
    )
    heads += '<th>only its own<span class="unit">% of the volume</span></th>' if found.share else ""
    body = "".join(_line(sheet, found, at, share) for at, share in lines[:_LISTED])
    said = [
        f"{len(found.front)} of {len(found.compared)} models are beaten by no other in {listed(titles)} together"
        f"{f'; the table has {_LISTED} of them' if len(lines) > _LISTED else ''}."
    ]
    if found.near:
        labels = [sheet.labels[at] for at in found.near]
        said.append(f"Beaten within the noise only ({noise}: the median half of an interval): {listed(labels)}.")
    elif noise:
        said.append(f"None of the others is within the noise of them ({noise}: the median half of an interval).")
    if found.share:
        said.append(
            "The last column is what the front would lose without the model: the part of the dominated volume "
            "that is only its own, costs by their logarithms, from a point 10% beyond the worst of each. A small part "
            "means that another does nearly the same."
        )
    return (
        '<section id="dominance"><h2>Who is beaten by nobody in all of these at once</h2>'
        f"<p>{escape(' '.join(said))}</p>"
        '<div class="scroll"><table><thead><tr><th class="text">model</th><th class="text">family</th>'
        f"{heads}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _line(sheet: Sheet, found: Dominance, at: int, share: float) -> str:
    cells = "".join(
        f"<td>{escape(h.scale.around(sheet.values(h)[at], *sheet.intervals(h)[at]))}</td>" for h in found.headings
    )
    own = f"<td>{100 * share:.2f}</td>" if found.share else ""
    return (
        f'<tr><th scope="row">{escape(sheet.labels[at])}</th><td class="text">{escape(sheet.families[at])}</td>'
        f"{cells}{own}</tr>"
    )


def _headings(sheet: Sheet) -> tuple[Heading, ...]:
    """The foremost quality and the costs."""
    if not sheet.qualities:
        return ()
    chosen = [sheet.qualities[0]]
    models = _known(sheet, chosen[0])
    for kind in _KINDS:
        for heading in (h for name in kind for h in sheet.costs if h.column.indicator == name):
            left = models & _known(sheet, heading)
            if len(left) >= max(2, _KEPT * len(models)):
                chosen.append(heading)
                models = left
                break
    return tuple(chosen[: 1 + _COSTS])


def _known(sheet: Sheet, heading: Heading) -> set[int]:
    """Lines whose value claims something; a cost must be positive to have a logarithm."""
    pairs = zip(sheet.values(heading), sheet.intervals(heading), strict=True)
    return {
        at
        for at, (value, (low, high)) in enumerate(pairs)
        if math.isfinite(high - low) and (value > 0 or heading.is_quality)
    }


def _noise(sheet: Sheet, heading: Heading, compared: list[int]) -> float:
    """The median over the models of half an interval over the value."""
    values, intervals = sheet.values(heading), sheet.intervals(heading)
    halves = [(intervals[at][1] - intervals[at][0]) / 2 / abs(values[at]) for at in compared if values[at]]
    return float(np.median(halves)) if halves else 0.0


def _shares(
    points: NDArray[np.float64], headings: Sequence[Heading], directions: Sequence[int], front: NDArray[np.int64]
) -> tuple[float, ...]:
    """What each member of the front alone dominates, as a part of what the front dominates."""
    placed = np.column_stack(
        [column if h.is_quality else np.log(column) for h, column in zip(headings, points.T, strict=True)]
    )
    signs = np.asarray(directions)
    worst = np.where(signs > 0, placed.min(axis=0), placed.max(axis=0))
    reach = np.ptp(placed, axis=0)
    reference = worst - signs * _BEYOND * np.where(reach > 0, reach, 1.0)
    members = placed[front]
    return tuple((exclusive(members, directions, reference) / hypervolume(members, directions, reference)).tolist())
