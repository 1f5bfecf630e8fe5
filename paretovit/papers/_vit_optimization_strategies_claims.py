"""What Vadakkeveedu 2023 says of accuracies with sparse layers (section 4.3 and figure 4.4), tried on runs of ours.

Its figures print no numbers, and it sets each sparse model beside its parent. A parent that is not at its end gains by
being trained on, whether pruned or not; so each is set beside the parent that stayed dense and was trained on for as
long, too. That two ways of making a model cheaper add up is said in section 1.4 of their costs alone; here what they
lose is tried.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from paretovit.analysis.claims import Bound, Claim, Side
from paretovit.measurement import Measurement
from paretovit.training.pruning import Pruning, of_name, tried
from paretovit.training.rows import HELD_OUT

PAPER = "vit-optimization-strategies"

_FREE = "2:4 sparse last layers, trained after pruning, lose no accuracy"
_BETTER = "Some models with sparse last layers are better than their parents"
_NEEDED = "Training after pruning is needed"
_ADD = "Losses by 2:4 sparsity and by another saving at most add up"
_AS_LONG = ", trained on for as long"
_TWO_OF_FOUR = Pruning(pattern="2:4")  # by magnitude, in one shot, as the thesis does

BySeed = dict[int | None, float]


class _Group(NamedTuple):
    """What was trained alike: on what, by which recipe, from parents made in one way."""

    data: str
    split: str
    recipe: str
    how: str


class _Family(NamedTuple):
    """A parent and what was made of it, accuracies in percent by seed; `sparse` by the name of the model."""

    name: str
    parent: BySeed
    dense: BySeed
    sparse: dict[str, BySeed]
    pruned: dict[str, BySeed]


def claims(rows: Sequence[Measurement]) -> list[Claim]:
    """Every claim on every parent of which the rows hold sparse models."""
    made: list[Claim] = []
    for group, families in _families(rows).items():
        where = f"{group.data}, {group.split}; {group.how}, then {group.recipe}"
        for family in families:
            made += _of(family, where)
        made += _together(families, where)
    return made


def _of(family: _Family, where: str) -> Iterator[Claim]:
    spans = {name: found[1] for name in family.sparse if (found := of_name(name)) is not None}
    end = max((span[1] for span in spans.values() if span is not None), default=None)
    late = [name for name, span in spans.items() if span is not None and span[1] == end and span[0] > 0]
    wanted: tuple[tuple[str, Bound], ...] = ((_FREE, "not below"), (_BETTER, "above"))
    for says, bound in wanted:
        for name in late:
            for other, values in ((family.name, family.parent), (f"{family.name}{_AS_LONG}", family.dense)):
                yield from _claim(says, where, (name, family.sparse[name]), (other, values), bound)
    for name in family.sparse:
        pruned = (f"{name}, as pruned", family.pruned.get(name, {}))
        yield from _claim(_NEEDED, where, (name, family.sparse[name]), pruned, "above")


def _together(families: Sequence[_Family], where: str) -> Iterator[Claim]:
    """Of what was made of the parent with most sparse models, that parent's loss by sparsity of all layers expected."""
    plain = max(families, key=lambda family: len(family.sparse))
    alone = plain.sparse.get(f"{plain.name}_2of4", {})
    for family in families:
        both = family.sparse.get(f"{family.name}_2of4", {})
        if family is plain:
            continue
        seeds = alone.keys() & plain.dense.keys() & family.dense.keys()
        added = {seed: family.dense[seed] + alone[seed] - plain.dense[seed] for seed in seeds}
        expected = (f"{family.name}, less what 2:4 loses alone", added)
        yield from _claim(_ADD, where, (f"{family.name}_2of4", both), expected, "not below")


def _claim(
    says: str, where: str, first: tuple[str, BySeed], second: tuple[str, BySeed], bound: Bound
) -> Iterator[Claim]:
    if first[1] and second[1]:
        sides = (Side(name, tuple(values.values())) for name, values in (first, second))
        yield Claim(paper=PAPER, says=says, where=where, first=next(sides), second=next(sides), bound=bound)


def _families(rows: Sequence[Measurement]) -> dict[_Group, list[_Family]]:
    """Parents by what was trained alike; a parent's words end with how it was made."""
    accuracy: dict[tuple[str, str, str, str], BySeed] = defaultdict(dict)
    for row in rows:
        stated = row.conditions
        if row.indicator == "top1" and row.value is not None and stated.split != HELD_OUT and stated.recipe:
            place = (stated.data or "", stated.split or "", row.model, stated.recipe)
            accuracy[place][stated.seed] = 100 * row.value
    found: dict[_Group, dict[str, _Family]] = defaultdict(dict)
    for (data, split, model, recipe), values in accuracy.items():
        about = tried(recipe)
        if about is None or about.recipe is None or about.pruning != _TWO_OF_FOUR:
            continue
        name, _, inside = about.parent.removesuffix(")").partition(" (")
        group = _Group(data, split, about.recipe, inside.split(", layers ")[0])
        pruned = accuracy.get((data, split, model, recipe.removeprefix(f"{about.recipe}, from ")), {})
        family = found[group].setdefault(
            about.parent,
            _Family(
                name,
                accuracy.get((data, split, name, inside), {}),
                accuracy.get((data, split, name, f"{about.recipe}, from {about.parent}"), {}),
                {},
                {},
            ),
        )
        family.sparse[model], family.pruned[model] = values, pruned
    return {group: list(families.values()) for group, families in found.items()}
