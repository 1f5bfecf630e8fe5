"""Which of the training images are trained on, and which are held out to judge by."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.training.batches import seed_of
from paretovit.training.data import Examples
from paretovit.training.recipe import Recipe
from paretovit.training.rows import HELD_OUT

E = TypeVar("E", bound=Examples)


def split(images: E, recipe: Recipe) -> tuple[E, E | None]:
    """The images that `recipe` trains on, and those it holds out, if any.

    Of `train_images`, every class has as many, its first ones, whatever the seed: all models see the same. Of each
    class a share of `held_out` is held out, drawn by the seed.

    Raises `UserError` for more images than there are and for a share that leaves a class without any.
    """
    chosen = torch.arange(len(images))
    if recipe.train_images is not None:
        if recipe.train_images > len(images):
            raise UserError(
                f"{images.name} has {len(images)} training images, not {recipe.train_images}; lower train_images"
            )
        rank = _rank_in_class(images.strata)
        # the first of every class, then the second of every class, ...
        chosen = torch.argsort(rank * images.num_classes + images.strata)[: recipe.train_images].sort().values
    if not recipe.held_out:
        return _part(images, chosen, images.split), None
    random = torch.Generator().manual_seed(seed_of(recipe, "held out"))
    mixed = chosen[torch.randperm(len(chosen), generator=random)]
    labels = images.strata[mixed]
    sizes = torch.bincount(labels, minlength=images.num_classes)
    held = _rank_in_class(labels) < (sizes * recipe.held_out).round().long()[labels]
    if not held.any() or held.all():
        raise UserError(f"held_out={recipe.held_out:g} of {len(chosen)} images leaves no images to judge or train by")
    return _part(images, mixed[~held].sort().values, images.split), _part(images, mixed[held].sort().values, HELD_OUT)


def _rank_in_class(labels: Tensor) -> Tensor:
    """For each image, how many of its class come before it."""
    order = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels)
    starts = sizes.cumsum(0) - sizes
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - starts[labels[order]]
    return rank


def _part(images: E, index: Tensor, name: str) -> E:
    return images if len(index) == len(images) else images.part(index, name)
