"""A backbone: a model without its head, from images to the map of features that its last block leaves.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", app. E: what a detector is
         given is "the feature map before the final classifier and layernorm layer".
Shapes   B images, C channels, H x W pixels; D width, R rows and S columns of the map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.tokens import as_map


class FeatureMap(nn.Module, ABC):
    """Images (B, C, H, W) to features (B, D, R, S).

    backbone   the model; what comes behind its last block is taken off, in place
    channels   D
    """

    channels: int

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """The map of the patches; class tokens are not in it."""


def feature_map(model: nn.Module, name: str) -> FeatureMap:
    """The backbone of a model on the skeleton, or of one of timm's, which is changed in place.

    Raises `UserError` for a model whose patches do not lie on a grid of rows and columns in the end, and for one of
    timm's that does not show what its blocks leave.
    """
    return _OfSkeleton(model, name) if isinstance(model, Backbone) else _OfTimm(model, name)


class _OfSkeleton(FeatureMap):
    backbone: Backbone

    def __init__(self, model: Backbone, name: str) -> None:
        grid = model.layout.grid
        if grid is None or len(grid) != 2 or model.layout.masked:
            raise UserError(
                f"{name} has no map of features, for its tokens do not stay on a grid of rows and columns; take a "
                "backbone of images that keeps all of them"
            )
        super().__init__(model)
        self.channels = model.num_features
        for part in ("norm", "readout", "head"):
            setattr(model, part, nn.Identity())

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.backbone.through(self.backbone.enter(image))
        assert tokens.grid is not None
        return as_map(tokens.x[:, tokens.prefix :], tokens.grid)


class _OfTimm(FeatureMap):
    def __init__(self, model: Any, name: str) -> None:
        if not hasattr(model, "forward_intermediates") or not hasattr(model, "prune_intermediate_layers"):
            raise UserError(f"timm's {name} does not show what its blocks leave (forward_intermediates); take another")
        super().__init__(model)
        model.prune_intermediate_layers(1, prune_norm=True, prune_head=True)
        self.channels = model.feature_info[-1]["num_chs"]

    def forward(self, image: Tensor) -> Tensor:
        model: Any = self.backbone
        (found,) = model.forward_intermediates(image, indices=1, intermediates_only=True)
        return found
