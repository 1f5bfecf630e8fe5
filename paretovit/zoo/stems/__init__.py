"""Stems: how an image becomes tokens. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from paretovit.zoo.tokens import Grid


class Stem(nn.Module, ABC):
    """Image (B, C, H, W) to patch tokens (B, rows x columns, D).

    A subclass takes `(in_chans, dim, image_px, patch_px, *, its options)` and sets `grid`.
    Raises `UserError` for an image size that it cannot cut.
    """

    grid: Grid

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Patch tokens, row after row."""

    @abstractmethod
    def macs(self) -> int:
        """Multiply-accumulates for one image; closed form."""
