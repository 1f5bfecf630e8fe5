"""Static indicators as rows, without a worker process and without weights."""

from __future__ import annotations

from collections.abc import Sequence

from paretovit.cost.folders import INDICATORS
from paretovit.cost.indicators import Static
from paretovit.cost.live_bytes import predicted_rows
from paretovit.cost.subject import Setting, Subject
from paretovit.devices import origin
from paretovit.measurement import Conditions, Measurement
from paretovit.spec import ModelSpec
from paretovit.zoo.catalog import resolve


def count(models: Sequence[str | ModelSpec], *, batch_size: int | None = None) -> list[Measurement]:
    """Every static indicator of the models, for one image, and with a batch size the predicted peaks of memory of
    inference and of training on such batches; nothing is allocated.

    Raises `UserError` for unknown names and for an operator that nobody can count.
    """
    statics = [(name, indicator) for name in INDICATORS.names() if issubclass(indicator := INDICATORS[name], Static)]
    rows = []
    for model in models:
        spec = resolve(model) if isinstance(model, str) else model
        subject, made = Subject(spec, Setting()), origin("counted")
        for name, indicator in statics:
            samples = indicator()(subject)
            rows.append(
                Measurement(
                    model=spec.name,
                    indicator=name,
                    unit=indicator.unit,
                    value=samples[0],
                    samples=tuple(samples),
                    conditions=Conditions(spec=spec.key),
                    origin=made,
                )
            )
        if batch_size is not None:
            rows += predicted_rows(spec, batch_size=batch_size)
    return rows
