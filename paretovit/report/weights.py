"""Accuracies of pretrained weights beside what their network costs, and what of the published rows a page shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from paretovit.errors import UserError
from paretovit.measurement import Measurement
from paretovit.spec import ModelSpec
from paretovit.store import Column
from paretovit.zoo.pretrained import has_weights_named, network

_MOST = 24  # published columns that a page bears where nothing else is there to show
_TIMES = 3  # of those of times, where there are more
_COUNTS = ("macs", "activations", "params")


def for_page(rows: Sequence[Measurement], specs: Mapping[str, ModelSpec]) -> list[Measurement]:
    """What was taken here, and beside it the published top-1 accuracy of weights whose network was taken here.

    Of several published accuracies it is the first. Where nothing was taken here, it is all that was published; and
    where that is more than a page bears, the first accuracy and a few costs of its models. Raises `UserError` where
    there is none.
    """
    own = [row for row in rows if row.conditions.source is None]
    if not own:
        columns = {(row.indicator, row.conditions.column()) for row in rows}
        if len(columns) > _MOST:
            return _foremost(rows, specs)
        return list(rows)
    costed = {network(specs[row.conditions.spec]).key for row in own if row.conditions.spec in specs}
    accuracies = [
        row
        for row in rows
        if row.conditions.source is not None
        and row.indicator == "top1"
        and row.conditions.spec in specs
        and network(specs[row.conditions.spec]).key in costed
    ]
    foremost = [row for row in accuracies if row.conditions.column() == accuracies[0].conditions.column()]
    shown = {row.conditions.spec for row in (*own, *foremost)}
    return with_costs([*own, *foremost], {key: spec for key, spec in specs.items() if key in shown})


def _foremost(rows: Sequence[Measurement], specs: Mapping[str, ModelSpec]) -> list[Measurement]:
    """The first published top-1 accuracy, counts, and the times of the newest torch that most models have."""
    columns: dict[Column, list[Measurement]] = defaultdict(list)
    for row in rows:
        columns[Column(row.indicator, row.conditions.column())].append(row)
    accuracy = next((column for column in columns if column.indicator == "top1"), None)
    if accuracy is None:
        raise UserError(
            f"the store has {len(columns)} published columns, no published top1 and nothing that was taken here, which "
            "is more than a page shows; `paretovit measure` some of the models, or ask `paretovit favor`"
        )

    def newest(column: Column) -> tuple[list[int], int]:
        release = columns[column][0].origin.versions.get("torch", "0").partition("+")[0]
        return [int(number) for number in release.split(".")], len(columns[column])

    times = sorted((c for c in columns if c.indicator in ("images_per_s", "latency_s")), key=newest, reverse=True)
    kept = [accuracy, *times[:_TIMES], *(c for c in columns if c.indicator in _COUNTS)]
    judged = {row.conditions.spec for row in columns[accuracy]}
    made = with_costs([row for column in kept for row in columns[column]], specs)
    return [row for row in made if row.conditions.spec in judged]


def with_costs(rows: Sequence[Measurement], specs: Mapping[str, ModelSpec]) -> list[Measurement]:
    """The rows, and for each set of weights those of its network's costs that it has not itself.

    `resnet50.a1_in1k` and `resnet50` are one network, so a time of the one is a time of the other. A model on our
    skeleton likewise has the costs that timm's tables print for the same network. Nothing is added where no two specs
    are one network. What was learned, a row with data or a recipe, is never shared.
    """
    of = {key: network(spec).key for key, spec in specs.items()}
    alike = Counter(of.values())
    takers: dict[str, list[ModelSpec]] = defaultdict(list)
    for key, spec in specs.items():
        if has_weights_named(spec) or (spec.whole is None and alike[of[key]] > 1):
            takers[of[key]].append(spec)
    if not takers:
        return list(rows)
    has = {(row.indicator, row.conditions) for row in rows}
    made = []
    for row in rows:
        stated = row.conditions
        if stated.data is not None or stated.recipe is not None:
            continue
        for spec in takers.get(of.get(stated.spec, ""), ()):
            conditions = replace(stated, spec=spec.key)
            if (row.indicator, conditions) not in has:
                has.add((row.indicator, conditions))
                made.append(replace(row, model=spec.name, conditions=conditions))
    return [*rows, *made]
