"""The images of one epoch: shuffled, augmented and normalised, a batch at a time.

Everything random comes from the seed and the number of the epoch alone, so an epoch can be run again, or first
run after an interruption, and sees the same batches.

Shapes   B images, C channels, H = W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from paretovit.training.data import Images
from paretovit.training.recipe import Recipe


def seed_of(recipe: Recipe, purpose: str) -> int:
    """A seed for one purpose ("initial weights", "epoch 3"), unrelated to the seeds of the others."""
    digest = hashlib.sha256(f"{recipe.seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def steps_per_epoch(images: Images, recipe: Recipe) -> int:
    """Full batches; a set smaller than a batch is one step."""
    return max(1, len(images) // recipe.batch_size)


def batches(images: Images, recipe: Recipe, epoch: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of images (B, C, H, W) float32 and labels (B,) on `device`, for epoch 0, 1, ..."""
    random = torch.Generator().manual_seed(seed_of(recipe, f"batches of epoch {epoch}"))
    order = torch.randperm(len(images), generator=random)
    for step in range(steps_per_epoch(images, recipe)):
        chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        pixels = images.pixels[chosen].to(device)
        if recipe.hflip and images.may_flip:
            pixels = flipped(pixels, torch.rand(len(pixels), generator=random) < 0.5)
        if recipe.crop_padding:
            moves = torch.randint(2 * recipe.crop_padding + 1, (2, len(pixels)), generator=random)
            pixels = shifted(pixels, moves, recipe.crop_padding)
        yield images.normalised(pixels), images.labels[chosen].to(device)


def flipped(pixels: Tensor, which: Tensor) -> Tensor:
    """The images (B, C, H, W) for which `which` (B,) holds, left to right."""
    return torch.where(which.to(pixels.device)[:, None, None, None], pixels.flip(-1), pixels)


def shifted(pixels: Tensor, moves: Tensor, padding: int) -> Tensor:
    """Each image (B, C, H, W) cut out of itself padded with black, from row `moves[0]` and column `moves[1]`.

    A move of `padding` leaves the image where it was; 0 moves it down (right) by `padding` pixels.
    """
    batch, channels, height, width = pixels.shape
    padded = F.pad(pixels, (padding,) * 4)
    top, left = moves.to(pixels.device)
    rows = (top[:, None] + torch.arange(height, device=pixels.device))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width, device=pixels.device))[:, None, None, :]
    image = torch.arange(batch, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[None, :, None, None]
    return padded[image, channel, rows, columns]
