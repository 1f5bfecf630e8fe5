"""Of sizes in a row, the one whose cost is nearest to a target's; the cost is taken to grow, or to fall, along the row.

Costs that are exact and take no time are asked for by halving. Costs that are measured are asked for a few times only:
where a line through what is known says that the target is, over a cost that is exact, such as multiply-accumulates,
both as logarithms.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from paretovit.errors import Unmeasurable, UserError
from paretovit.spec import ModelSpec

Ratio = Callable[[ModelSpec], float]  # a cost over that of some other model
Found = TypeVar("Found")

_NEIGHBOURS = 2  # tried to each side of where the target was crossed, for costs may not grow evenly
_SLOPES = (0.25, 2.0)  # that a cost is taken to grow with, against the one that foretells it, both as logarithms


def nearest(sizes: Sequence[ModelSpec], ratio: Ratio, *, rising: bool = True) -> tuple[int, float, int] | None:
    """The place of the size whose ratio is nearest to 1, that ratio, and how many were asked for; None where no size
    makes a model.

    The range is halved, for the ratio is taken to rise from size to size, or else to fall; to each side of where it
    crosses 1 some more are asked for. Sizes that make no model are passed over.
    """
    known: dict[int, float] = {}

    def at(place: int) -> float:
        """The ratio there, or at the nearest place below that makes a model; such places are taken out."""
        while True:
            if place not in known:
                known[place] = _or_nan(ratio, sizes[place])
            if not math.isnan(known[place]) or place == 0:
                return known[place]
            place -= 1

    crossed = bisect_left(range(len(sizes)), x=True, key=lambda place: (at(place) >= 1) == rising)
    for place in range(crossed - _NEIGHBOURS, crossed + _NEIGHBOURS):
        if 0 <= place < len(sizes):
            at(place)
    made = {place: value for place, value in known.items() if not math.isnan(value)}
    if not made:
        return None
    best = min(made, key=lambda place: (abs(made[place] - 1), place))
    return best, made[best], len(known)


def guess(
    sizes: Sequence[ModelSpec],
    foretold: Ratio,
    known: Sequence[tuple[float, float]],
    target: float,
    *,
    rising: bool = True,
) -> int | None:
    """The place of the size that should cost the target; None where no size makes a model.

    `known` are models as pairs of logarithms, what was foretold of them and what they cost; `foretold` is exact and
    rises along the row, or else falls.
    """
    wanted = math.exp(crossing(known, math.log(target)))
    found = nearest(sizes, lambda spec: foretold(spec) / wanted, rising=rising)
    return None if found is None else found[0]


def next_made(sizes: Sequence[ModelSpec], foretold: Ratio, place: int, step: int) -> int | None:
    """The first place after that one, by steps of 1 or -1, whose size makes a model; None past the ends."""
    while 0 <= (place := place + step) < len(sizes):
        if not math.isnan(_or_nan(foretold, sizes[place])):
            return place
    return None


def crossing(known: Sequence[tuple[float, float]], target: float) -> float:
    """Where a line through the points that are nearest to the target on either side, or outside of them all through
    the outermost two, meets it; through a single point the slope is 1."""
    points = sorted(set(known))
    for (x, y), (far_x, far_y) in pairwise(points):
        if y <= target <= far_y:
            return x + (far_x - x) * (target - y) / (far_y - y) if far_y > y else x
    (x, y), *rest = reversed(points) if points[-1][1] < target else points
    slope = (y - rest[0][1]) / (x - rest[0][0]) if rest else 1.0
    return x + (target - y) / min(max(slope, _SLOPES[0]), _SLOPES[1])


def side_by_side(
    searches: Mapping[str, Generator[ModelSpec, None, Found]], ahead: Callable[[Sequence[ModelSpec]], None]
) -> dict[str, Found]:
    """What each of the searches comes to. They say in turn whose cost they ask for next, and what all of them ask for
    is `ahead`'s to have measured at once before any of them goes on."""
    found: dict[str, Found] = {}
    left = dict(searches)
    while left:
        asked = []
        for name, search in list(left.items()):
            try:
                asked.append(next(search))
            except StopIteration as end:
                found[name] = end.value
                del left[name]
        ahead(asked)
    return {name: found[name] for name in searches}


def carried_out(search: Generator[ModelSpec, None, Found]) -> Found:
    """What a search comes to by itself."""
    return side_by_side({"": search}, lambda asked: None)[""]


def _or_nan(ratio: Ratio, spec: ModelSpec) -> float:
    """NaN for a size that makes no model."""
    try:
        return ratio(spec)
    except (UserError, Unmeasurable, AssertionError, RuntimeError):
        return math.nan
