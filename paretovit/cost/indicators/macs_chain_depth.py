"""Matrix products and convolutions on the longest chain of dependent ones."""

from __future__ import annotations

from paretovit.cost.indicators import Static


class MacsChainDepth(Static):
    """Operators with multiply-accumulates on the chain of dependent operators that has most of them.

    As `chain_depth`, but not moved by how many element-wise operators a code is written in; fused attention is one.
    """

    title = "chain of products"
    unit = "1"
    field = "macs_chain_depth"
