"""What to train next: a plain vision transformer with one factor grown until it costs so many times as much."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from paretovit.errors import Unmeasurable, UserError
from paretovit.optimize.bracket import side_by_side
from paretovit.optimize.scale_cost import Cost
from paretovit.optimize.scale_factors import Grown, growing
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.zoo.catalog import resolve
from paretovit.zoo.factors import TITLES, factors_of


def propose(
    model: str | ModelSpec,
    store: Store,
    *,
    cost: str = "macs",
    times: float = 2.0,
    tolerance: float = 0.1,
    **how: Any,
) -> list[ModelSpec]:
    """The model with its layers, heads, head width, MLP, image or patch grown, each alone, until it costs `times` as
    much; the first half of a step of `paretovit scale`, whose second trains them and keeps the best.

    cost        a count, a peak of memory, or a time or rate, which is measured unless `store` has it
    tolerance   share by which a proposal's cost may miss; a factor that comes no nearer is left out
    how         keywords of `Cost`: runtime, device, batch_size, threads, progress, care

    Raises `UserError` for a model without these factors, for `times` that is not above 1, as `Cost` does, and where the
    model itself cannot be measured.
    """
    spec = resolve(model) if isinstance(model, str) else model
    factors_of(spec)
    if not 1 < times < math.inf:
        raise UserError(f"times must be above 1, got {times}")
    costs = Cost(cost, spec, store, **how)
    return [one.spec for one in grown_alone(first(costs), times, costs, tolerance) if not one.why]


def first(cost: Cost) -> Grown:
    """The start of a search. Raises `UserError` where it has no cost."""
    try:
        return Grown("start", cost.start, cost.ratio(cost.start))
    except Unmeasurable as error:
        raise UserError(f"{cost.where} of {cost.start.name} cannot be had: {error}") from error


def grown_alone(base: Grown, target: float, cost: Cost, tolerance: float) -> list[Grown]:
    """`base` with each of its factors grown alone until the cost is the target, over that of the search's start; one
    that misses it by more than the tolerance says `why`. What is measured of them is measured side by side."""
    searches = {factor: growing(base, factor, target, cost.ratio, cost.foretold) for factor in TITLES}
    return [_checked(one, target, tolerance) for one in side_by_side(searches, cost.ahead).values()]


def _checked(made: Grown, target: float, tolerance: float) -> Grown:
    if made.why or abs(made.ratio / target - 1) <= tolerance:
        return made
    return replace(made, why=f"out of reach: the nearest is {made.ratio:.3g} times the start's cost")
