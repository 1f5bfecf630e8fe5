"""Rows that say what a model was scaled for, beside which its accuracies and costs are judged."""

from __future__ import annotations

from typing import NamedTuple

from paretovit.devices import origin
from paretovit.measurement import Conditions, Measurement
from paretovit.spec import ModelSpec

INDICATOR = "scaled_ratio"
SEARCH, WIDTH = "all factors, step by step", "width alone"


class Scaled(NamedTuple):
    """A model that was scaled for `target`, such as "macs" or "latency_s on litert", in so many steps, by SEARCH or by
    WIDTH; `ratio` is its cost there over that of the start. `name` and `key` are its spec's."""

    name: str
    key: str
    target: str
    step: int
    by: str
    ratio: float


def scaled_row(spec: ModelSpec, *, target: str, step: int, by: str, ratio: float) -> Measurement:
    """The row that `scaled_of` reads."""
    conditions = Conditions(spec=spec.key, assumptions=(("scaled for", target), ("step", step), ("by", by)))
    return Measurement(
        model=spec.name, indicator=INDICATOR, unit="1", value=ratio, conditions=conditions, origin=origin("derived")
    )


def scaled_of(row: Measurement) -> Scaled | None:
    """What a row says of how its model was scaled, if anything."""
    if row.indicator != INDICATOR or row.value is None:
        return None
    about = dict(row.conditions.assumptions)
    return Scaled(row.model, row.conditions.spec, about["scaled for"], about["step"], about["by"], row.value)
