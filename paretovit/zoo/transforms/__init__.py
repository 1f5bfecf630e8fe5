"""Transforms: what is done to a built model, such as masking its weights. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class Transform(ABC):
    """A subclass takes its options and changes a model in place or returns another."""

    @abstractmethod
    def __call__(self, model: nn.Module) -> nn.Module:
        """The transformed model."""
