"""Element-wise operations of one image: everything that is computed element by element."""

from __future__ import annotations

from paretovit.cost.indicators import Static


class ElementwiseOps(Static):
    """Element-wise operations of one image: everything that is computed element by element."""

    title = "element-wise operations"
    unit = "1"
    field = "elementwise_ops"
