"""Read-outs: from the tokens of the last block to what the classifier sees of an image. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from paretovit.zoo.tokens import Layout, Tokens


class Readout(nn.Module, ABC):
    """Tokens to features (B, D). A subclass takes `(dim, *, its options)` and states

    prefix       class tokens that it wants in front of the patches
    joins        the stage, from 0, in front of whose blocks they join the patches
    norm_first   True if the final norm is over all tokens before the read-out, False if over its result
    vectors      vectors per image that it gives; of more than one each has a linear map to the classes of its own
    """

    prefix: ClassVar[int] = 0
    joins: int = 0
    norm_first: bool = True
    vectors: ClassVar[int] = 1

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """One vector per image (B, D), or several (B, `vectors`, D)."""

    def classifier(self, num_classes: int) -> nn.Module:
        """A fresh map from what it gives to the classes; to plain features (B, D) where there are none."""
        if self.vectors > 1:
            return Classifiers(self.dim, num_classes, self.vectors)
        return nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()

    def macs(self, layout: Layout) -> int:
        """Multiply-accumulates for one image of tokens that lie as told; closed form."""
        return 0


class Classifiers(nn.Module):
    """A linear map to the classes for each of several vectors; the logits are the mean of theirs.

    Paper    Touvron et al. 2020, "Training data-efficient image transformers" (DeiT), sec. 4: the classifiers of the
             class and of the distillation token speak together.
    """

    def __init__(self, dim: int, num_classes: int, vectors: int) -> None:
        super().__init__()
        made = (nn.Linear(dim, num_classes) if num_classes else nn.Identity() for _ in range(vectors))
        self.maps = nn.ModuleList(made)

    def each(self, x_BVD: Tensor) -> list[Tensor]:
        """The logits (B, classes) of every vector by itself, for a loss that wants them apart."""
        return [linear(x_BD) for linear, x_BD in zip(self.maps, x_BVD.unbind(1), strict=True)]

    def forward(self, x_BVD: Tensor) -> Tensor:
        return torch.stack(self.each(x_BVD)).mean(0)
