"""What the paper says of models that are scaled for one target (sections 4.1 and 4.2), tried on searches of ours.

What a model was scaled for is a row of its own (`analysis/scaled.py`); its accuracies and costs are rows like any
other's. The paper sets a scaled model beside DeiT of the same cost, and beside the one that was scaled for
another device; it says of neither how much a second training would differ.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

import numpy as np

from paretovit.analysis.claims import Bound, Claim, Side
from paretovit.analysis.scaled import SEARCH, WIDTH, Scaled, scaled_of
from paretovit.measurement import Conditions, Measurement
from paretovit.training.rows import HELD_OUT

PAPER = "hardware-aware-vit-scaling"

_EQUAL = 1.25  # times that one cost may be another and both still be called equal

_BETTER = "A ViT scaled step by step is more accurate than one of the same cost that is wider alone (table 2)"
_NO_WORSE = "A ViT scaled step by step is no less accurate than one of the same cost that is wider alone (table 2)"
_FRONT = "No other model that costs as much or less on its own target is more accurate (figures 5 and 6)"
_OWN = "At equal cost on a target, models scaled for it are more accurate than those for another (tables 5 and 12)"

BySeed = Mapping[int | None, float]


def claims_of_scaled(rows: Sequence[Measurement]) -> list[Claim]:
    """Every claim on every search that the rows hold, for each split and recipe that its models were trained by."""
    models = [scaled for row in rows if (scaled := scaled_of(row)) is not None]
    costs = {target: _costs(rows, target) for target in dict.fromkeys(model.target for model in models)}
    starts = list(dict.fromkeys(model.name for model in models if not model.step))
    if len(starts) == 1:  # each name begins with it
        models = [model._replace(name=model.name.removeprefix(starts[0]).strip() or "the start") for model in models]
    made: list[Claim] = []
    for trained_by, top1 in _accuracies(rows, {model.key for model in models}).items():
        where = f"{trained_by}; scaled from {', '.join(starts)}"
        trained = [model for model in models if model.key in top1]
        made += _beside_wider(trained, top1, costs, where)
        made += _on_front(trained, top1, costs, where)
        made += _on_others(trained, top1, costs, where)
    order = list(dict.fromkeys(claim.says for claim in made))
    return sorted(made, key=lambda claim: order.index(claim.says))


def _costs(rows: Sequence[Measurement], target: str) -> dict[str, float]:
    """By the spec's key. Of several numbers of threads that of the first row counts: others are other targets."""
    indicator, _, runtime = target.partition(" on ")
    found: dict[str, float] = {}
    like: Conditions | None = None
    for row in rows:
        stated = row.conditions
        if row.indicator == indicator and row.value is not None and (not runtime or stated.runtime == runtime):
            like = stated.column() if like is None else like
            if stated.column() == like:
                found[stated.spec] = row.value
    return found


def _accuracies(rows: Sequence[Measurement], keys: set[str]) -> dict[str, dict[str, BySeed]]:
    """In percent by what was trained how, key and seed; of images that nothing was chosen by."""
    found: dict[str, dict[str, dict[int | None, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        stated = row.conditions
        if row.indicator == "top1" and row.value is not None and stated.spec in keys and stated.split != HELD_OUT:
            where = f"{stated.data}, {stated.split}; {stated.recipe}"
            found[where][stated.spec][stated.seed] = 100 * row.value
    return {where: dict(of) for where, of in found.items()}


def _beside_wider(
    models: Sequence[Scaled], top1: Mapping[str, BySeed], costs: Mapping[str, Mapping[str, float]], where: str
) -> Iterator[Claim]:
    """Each beside the one that is wider alone and nearest to it in cost, whatever target that one was made for; beside
    none where it is that one itself."""
    wanted: tuple[tuple[str, Bound], ...] = ((_BETTER, "above"), (_NO_WORSE, "not below"))
    for says, bound in wanted:
        for one in models:
            own = costs[one.target]
            if one.by != SEARCH or not one.step or one.key not in own:
                continue
            apart = {m: abs(math.log(own[m.key] / own[one.key])) for m in models if m.by == WIDTH and m.key in own}
            other = min(apart, key=lambda m: apart[m], default=None)
            if other is not None and other.key != one.key and apart[other] <= math.log(_EQUAL):
                sides = (_named(one, one.target, own, models), _named(other, one.target, own, models))
                yield _claim(says, where, (sides[0], top1[one.key]), (sides[1], top1[other.key]), bound)


def _on_front(
    models: Sequence[Scaled], top1: Mapping[str, BySeed], costs: Mapping[str, Mapping[str, float]], where: str
) -> Iterator[Claim]:
    """Each beside the most accurate of those that cost no more than it."""
    for one in models:
        own = costs[one.target]
        if one.by != SEARCH or one.key not in own:
            continue
        others = [other for other in models if other.key != one.key and own.get(other.key, math.inf) <= own[one.key]]
        if others:
            best = max(others, key=lambda other: float(np.mean(list(top1[other.key].values()))))
            sides = (_named(one, one.target, own, models), _named(best, one.target, own, models))
            yield _claim(_FRONT, where, (sides[0], top1[one.key]), (sides[1], top1[best.key]), "not below")


def _on_others(
    models: Sequence[Scaled], top1: Mapping[str, BySeed], costs: Mapping[str, Mapping[str, float]], where: str
) -> Iterator[Claim]:
    """The mean over the models that were scaled for another target and lie, by their cost on this one, between two that
    were scaled for it; what these would reach at that cost is read off a line through the two, the cost's logarithm."""
    paths: dict[str, list[Scaled]] = defaultdict(list)
    for one in models:
        if one.by == SEARCH and one.key in costs[one.target]:
            paths[one.target].append(one)
    for target, other in permutations(paths, 2):
        own = costs[target]
        path = sorted(paths[target], key=lambda one: own[one.key])
        if len(path) < 2:
            continue
        low, high = own[path[0].key], own[path[-1].key]
        # the start is on every path
        within = [m for m in paths[other] if m.step and m.key in own and low <= own[m.key] <= high]
        seeds = set.intersection(*(set(top1[one.key]) for one in (*path, *within)))
        if not within or not seeds:
            continue
        at = np.log([own[one.key] for one in path])
        here, there = {}, {}
        for seed in seeds:
            reached = [top1[one.key][seed] for one in path]
            here[seed] = float(np.mean([np.interp(math.log(own[one.key]), at, reached) for one in within]))
            there[seed] = float(np.mean([top1[one.key][seed] for one in within]))
        says = f"{len(within)} model{'s' * (len(within) > 1)} at their cost in {target}"
        yield _claim(_OWN, where, (f"scaled for {target}: {says}", here), (f"scaled for {other}", there), "above")


def _named(model: Scaled, target: str, own: Mapping[str, float], models: Sequence[Scaled]) -> str:
    """With its measured cost over that of the start of the search for that target."""
    start = next((own[m.key] for m in models if m.target == target and not m.step and m.key in own), None)
    return f"{model.name} ({target}{f' x {own[model.key] / start:.1f}' if start else ''})"


def _claim(says: str, where: str, first: tuple[str, BySeed], second: tuple[str, BySeed], bound: Bound) -> Claim:
    a, b = (Side(name, tuple(values.values())) for name, values in (first, second))
    return Claim(paper=PAPER, says=says, where=where, first=a, second=b, bound=bound)
