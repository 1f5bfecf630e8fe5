"""Accuracies of pretrained weights beside what their network costs, and what of the published rows a page shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from paretovit.errors import UserError
from paretovit.measurement import Measurement
from paretovit.spec import ModelSpec
from paretovit.zoo.pretrained import has_weights_named, network

_MOST = 24  # published columns that a page bears where nothing else is there to show


def for_page(rows: Sequence[Measurement], specs: Mapping[str, ModelSpec]) -> list[Measurement]:
    """What was taken here, and beside it the published top-1 accuracy of weights whose network was taken here.

    Of several published accuracies it is the first. Where nothing was taken here, it is all that was published. Raises
    `UserError` where that is more than a page bears.
    """
    own = [row for row in rows if row.conditions.source is None]
    if not own:
        columns = {(row.indicator, row.conditions.column()) for row in rows}
        if len(columns) > _MOST:
            raise UserError(
                f"the store has {len(columns)} published columns and nothing that was taken here, which is more than "
                "a page shows; `paretovit measure` some of the models, or ask `paretovit favor`"
            )
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
