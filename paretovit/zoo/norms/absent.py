"""No norm: the tokens as they are."""

from __future__ import annotations

from torch import nn

from paretovit.zoo.norms import Norm


class Absent(Norm, nn.Identity):
    """Nothing is changed."""
