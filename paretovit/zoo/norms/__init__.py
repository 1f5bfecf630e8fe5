"""Norms: how tokens are brought to one scale. One file each."""

from __future__ import annotations

from torch import nn


class Norm(nn.Module):
    """Tokens (B, N, D) in, as many out. A subclass takes `(dim, *, its options)`."""
