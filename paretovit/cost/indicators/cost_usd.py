"""Price of 1,000 images."""

from __future__ import annotations

from paretovit.cost.assumptions import stated
from paretovit.cost.indicators import Derived
from paretovit.measurement import Conditions


class CostUsd(Derived):
    """US dollars for 1,000 images at the best batch size: their time, times the stated price of the machine."""

    title = "price per 1,000 images"
    unit = "USD"
    kind = "derived"
    batch = "best"
    source = "images_per_s"
    only_if_named = True
    assumes = ("usd_per_hour",)

    def of_sample(self, sample: float, conditions: Conditions) -> float:
        return 1000 / sample / 3600 * stated(conditions, "usd_per_hour")
