"""No norm: the tokens as they are."""

from __future__ import annotations

from torch import nn


class Absent(nn.Identity):
    """Nothing is changed."""
