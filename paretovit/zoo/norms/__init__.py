"""Norms: how tokens are brought to one scale. One file each."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class Norm(nn.Module):
    """Tokens (B, N, D) in, as many out. A subclass takes `(dim, *, its options)` and states

    repeatable   False if a training pass leaves a trace in it, such as running statistics: it may then not be run
                 again in the backward pass to save memory
    """

    repeatable: ClassVar[bool] = True
