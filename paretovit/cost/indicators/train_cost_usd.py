"""Price of training on 1,000 images."""

from __future__ import annotations

from paretovit.cost.assumptions import stated
from paretovit.cost.indicators import Derived, images_per_call
from paretovit.measurement import Conditions


class TrainCostUsd(Derived):
    """US dollars for training steps on 1,000 images: their time, times the stated price of the machine."""

    title = "training price per 1,000 images"
    unit = "USD"
    kind = "derived"
    batch = "asked"
    source = "train_step_s"
    only_if_named = True
    assumes = ("usd_per_hour",)

    def of_sample(self, sample: float, conditions: Conditions) -> float:
        return 1000 * sample / images_per_call(conditions) / 3600 * stated(conditions, "usd_per_hour")
