"""Images that a call may have at most."""

from __future__ import annotations

from paretovit.cost.indicators._largest_batch import LargestBatch


class MaxBatch(LargestBatch):
    """Largest batch whose inference fits into memory, as it is predicted."""

    title = "largest batch, inference"
    unit = "1"
    lower_is_better = False
    kind = "once"
    only_if_named = True
