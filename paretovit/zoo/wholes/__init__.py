"""Models that refuse the backbone: taken whole from where they are. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from paretovit.spec import ModelSpec


class Whole(ABC):
    """A subclass takes its options and builds the model that they name.

    answers  what the model makes of an image: "logits" of its classes, or "boxes" of objects
    """

    answers: ClassVar[str] = "logits"

    @abstractmethod
    def __call__(self, spec: ModelSpec, *, drop_path: float, pretrained: bool) -> nn.Module:
        """The module for the spec's image size, input channels and classes."""
