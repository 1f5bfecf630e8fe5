"""Images trained on per second."""

from __future__ import annotations

from paretovit.cost.indicators import Derived, images_per_call
from paretovit.measurement import Conditions


class TrainImagesPerS(Derived):
    """Images per second through the training step."""

    title = "training throughput"
    unit = "1/s"
    lower_is_better = False
    kind = "derived"
    batch = "asked"
    source = "train_step_s"

    def of_sample(self, sample: float, conditions: Conditions) -> float:
        return images_per_call(conditions) / sample
