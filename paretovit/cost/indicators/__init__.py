"""Cost indicators: what a model costs, one file each, each in a stated unit."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from paretovit.cost.subject import Setting, Subject
from paretovit.measurement import Conditions

Kind = Literal["static", "timed", "once", "derived"]


class Indicator(ABC):
    """One cost. A subclass states

    title             for people
    unit              SI, or "1" for a count
    lower_is_better   False for rates
    kind              "static": known from the architecture; "timed": visited again and again in rounds that
                      alternate between models; "once": measured once; "derived": from the samples of `source`
    batch             which batch size its value depends on: "one" image, the one "asked" for, the "best" one
                      (found, not given), or "" for none
    quantile          which quantile of the samples the value is
    how               how its value comes about, as `Origin.how` says it
    only_if_named     it takes long, or rests on what only the user knows: left out unless asked for by name
    assumes           names in `cost/assumptions.py` that its value may rest on
    processes         of "once": fresh processes that one sample each is taken in, or 0 for one that has run before
    """

    title: ClassVar[str]
    unit: ClassVar[str]
    lower_is_better: ClassVar[bool] = True
    kind: ClassVar[Kind]
    batch: ClassVar[Literal["", "one", "asked", "best"]] = ""
    source: ClassVar[str] = ""
    quantile: ClassVar[float] = 0.5
    processes: ClassVar[int] = 0
    how: ClassVar[str] = "measured"
    only_if_named: ClassVar[bool] = False
    assumes: ClassVar[tuple[str, ...]] = ()

    def assumptions(self, setting: Setting) -> tuple[tuple[str, Any], ...]:
        """What its value takes for granted under this setting: part of the row's conditions."""
        return tuple((name, value) for name, value in setting.assumed if name in self.assumes)

    def settle(self, subject: Subject, before: dict[str, Any] | None = None) -> dict[str, Any]:
        """Whatever must be done once before the first sample, such as warming up; facts to keep with the row.

        `before` are the facts that an earlier process of the same model found: what was chosen then stays.
        """
        return {}

    def wake(self, subject: Subject) -> None:  # noqa: B027  # nothing is what most need
        """What goes before a visit and is not part of it."""

    @abstractmethod
    def __call__(self, subject: Subject) -> list[float]:
        """Samples in `unit`. Raises `Unmeasurable` for what cannot be had."""

    def value(self, samples: Sequence[float]) -> float:
        """The one number of a row. Raises `Unmeasurable` where the samples cannot tell it."""
        return float(np.quantile(np.asarray(samples), self.quantile))


class Static(Indicator):
    """A count that the operator counter makes, read off the model without running it."""

    kind = "static"
    how = "counted"
    unit = "1"

    def __call__(self, subject: Subject) -> list[float]:
        return [float(getattr(subject.count, self.field))]

    field: ClassVar[str]


class Timed(Indicator):
    """Seconds of one call, repeated; a subclass says which call, and may turn seconds into a rate."""

    kind = "timed"
    unit = "s"

    @abstractmethod
    def batch_size(self, subject: Subject) -> int:
        """Images per call."""

    training: ClassVar[bool] = False

    def settle(self, subject: Subject, before: dict[str, Any] | None = None) -> dict[str, Any]:
        repeats = subject.warm_up(self.batch_size(subject), training=self.training)
        subject.repeats = before["repeats"] if before else repeats
        return {"repeats": subject.repeats}

    def wake(self, subject: Subject) -> None:
        subject.wake(self.batch_size(subject), training=self.training)

    def __call__(self, subject: Subject) -> list[float]:
        batch = self.batch_size(subject)
        return [self.of_seconds(s, batch) for s in subject.seconds(batch, training=self.training)]

    def of_seconds(self, seconds: float, batch_size: int) -> float:
        return seconds


class Fresh(Indicator):
    """Taken in fresh processes, since its cost is paid once: nothing that was compiled before is found again.

    Libraries take seconds to load, which says nothing of the model; so they are loaded before the clock starts.
    """

    kind = "once"
    processes = 1

    def wake(self, subject: Subject) -> None:
        for library in subject.runtime.libraries:
            import_module(library)
        torch.compiler.config.force_disable_caches = True
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")  # for that is what was asked for


class Derived(Indicator):
    """Another reading of the samples of `source`; nothing is run for it."""

    kind = "derived"

    def __call__(self, subject: Subject) -> list[float]:
        raise AssertionError(f"{type(self).__name__} is derived from {self.source}, never measured by itself")

    def of_sample(self, sample: float, conditions: Conditions) -> float:
        """A sample of `source` in this indicator's unit, for a row with these conditions. Raises `Unmeasurable` where
        something is not stated that it takes."""
        return sample


def images_per_call(conditions: Conditions) -> int:
    assert isinstance(conditions.batch_size, int), "derived from calls on batches of a size that was asked for"
    return conditions.batch_size
