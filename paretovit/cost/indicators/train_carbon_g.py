"""Carbon dioxide of 1,000 images, trained on."""

from __future__ import annotations

from typing import Any

from paretovit.cost.assumptions import stated
from paretovit.cost.folders import INDICATORS
from paretovit.cost.indicators import Derived
from paretovit.cost.subject import Setting
from paretovit.measurement import Conditions

_J_PER_KWH = 3.6e6


class TrainCarbonG(Derived):
    """Grams of carbon dioxide: the energy, times what the user states that the grid's electricity emits."""

    title = "training carbon per 1,000 images"
    unit = "g"
    kind = "derived"
    batch = "asked"
    source = "train_energy_j"
    only_if_named = True
    assumes = ("g_per_kwh",)

    def assumptions(self, setting: Setting) -> tuple[tuple[str, Any], ...]:
        return (*INDICATORS[self.source]().assumptions(setting), *super().assumptions(setting))

    def of_sample(self, sample: float, conditions: Conditions) -> float:
        return sample / _J_PER_KWH * stated(conditions, "g_per_kwh")
