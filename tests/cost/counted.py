"""What the tests of the operator counter count."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.cost.counting import Count, count_module

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm's advice on its own deprecated names
    import timm
    from timm.models.vision_transformer import VisionTransformer

HEADS = (2, 3, 10, 8)  # images, heads, tokens, width of a head


class Function(nn.Module):
    """A function as a module, so that it can be counted."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def cost(function: Callable[..., Any], *shapes: tuple[int, ...], device: str = "meta") -> Count:
    return count_module(Function(function), *[torch.ones(shape, device=device) for shape in shapes])


def small_vit() -> nn.Module:
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5)


def timm_model(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(name)
