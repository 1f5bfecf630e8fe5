"""Images that a training step may have at most."""

from __future__ import annotations

from paretovit.cost.indicators._largest_batch import LargestBatch


class MaxBatchTrain(LargestBatch):
    """Largest batch whose training step (AdamW) fits into memory, as it is predicted."""

    title = "largest batch, training"
    unit = "1"
    lower_is_better = False
    kind = "once"
    only_if_named = True
    training = True
