"""Norms: how tokens are brought to one scale. One file each."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Norm(nn.Module):
    """Tokens (B, N, D) in, as many out; behind a read-out, one vector per image (B, D). A subclass takes
    `(dim, *, its options)` and states

    repeatable   False if a training pass leaves a trace in it, such as running statistics: it may then not be run
                 again in the backward pass to save memory
    """

    repeatable: ClassVar[bool] = True

    def gain_and_shift(self) -> tuple[Tensor, Tensor] | None:
        """Outside training, what every channel is multiplied by and what is then added to it, (D,) each; None for a
        norm that must look at the tokens."""
        return None
