"""Elements of all trained tensors, bare parameters included, shared ones once."""

from __future__ import annotations

from paretovit.cost.indicators import Static


class Params(Static):
    """Elements of all trained tensors, bare parameters included, shared ones once."""

    title = "parameters"
    unit = "1"
    field = "params"
