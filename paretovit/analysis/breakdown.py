"""How alike two breakdowns of cost are: whether what is dear on one device is dear on another.

Paper    "An Investigation on Hardware-Aware Vision Transformer Scaling" (anonymous, under review), sec. 4.2, Figure 7
         and Table 11: breakdowns of one model on two devices that lie close together go with scaling rules that
         transfer from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def cosine_distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """1 minus the cosine of the angle between two breakdowns, cost by part; 0 for equal ones, 1 for disjoint ones.

    A part that only one of them has costs the other nothing. Only proportions count, so shares and seconds will do.
    NaN where one costs nothing at all.
    """
    parts = sorted(one.keys() | other.keys())
    a, b = (np.array([costs.get(part, 0.0) for part in parts]) for costs in (one, other))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 1 - float(a @ b) / lengths if lengths else float("nan")


def cosine_distances(breakdowns: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
    """The distance of every pair, (breakdowns, breakdowns)."""
    return np.array([[cosine_distance(one, other) for other in breakdowns] for one in breakdowns])
