"""Operators on the longest chain of dependent ones."""

from __future__ import annotations

from paretovit.cost.indicators import Static


class ChainDepth(Static):
    """Operators on the longest chain of which each needs the result of the one before: what no number of processors
    runs at once. Views are none.

    Dehghani et al. 2021, "The Efficiency Misnomer", sec. 2.1, on the degree of parallelism.
    """

    title = "chain of operators"
    unit = "1"
    field = "chain_depth"
