"""Cost indicators: what a model costs, one file each, each in a stated unit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from paretovit.cost.subject import Subject

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
    """

    title: ClassVar[str]
    unit: ClassVar[str]
    lower_is_better: ClassVar[bool] = True
    kind: ClassVar[Kind]
    batch: ClassVar[Literal["", "one", "asked", "best"]] = ""
    source: ClassVar[str] = ""
    quantile: ClassVar[float] = 0.5

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


class Derived(Indicator):
    """Another reading of the samples of `source`; nothing is run for it."""

    kind = "derived"

    def __call__(self, subject: Subject) -> list[float]:
        raise AssertionError(f"{type(self).__name__} is derived from {self.source}, never measured by itself")

    def of_sample(self, sample: float, conditions_batch: int) -> float:
        """A sample of `source`, taken with so many images per call, in this indicator's unit."""
        return sample
