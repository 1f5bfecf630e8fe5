"""The images of one epoch: shuffled, augmented and normalised, a batch at a time.

Everything random comes from the seed and the number of the epoch alone, so an epoch can be run again, or first
run after an interruption, and sees the same batches.

Shapes   B images, C channels, H = W pixels; of clips, T frames come after the channels, and what happens to one
         happens to all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from paretovit.training.augment import changes_images, drawing_from, erased, image_policy, mixed
from paretovit.training.data import Examples
from paretovit.training.recipe import Recipe


def seed_of(recipe: Recipe, purpose: str) -> int:
    """A seed for one purpose ("initial weights", "epoch 3"), unrelated to the seeds of the others."""
    digest = hashlib.sha256(f"{recipe.seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def steps_per_epoch(images: Examples, recipe: Recipe) -> int:
    """Full batches; a set smaller than a batch is one step."""
    return max(1, len(images) // recipe.batch_size)


def batches(
    images: Examples,
    recipe: Recipe,
    epoch: int,
    device: torch.device,
    *,
    start: int = 0,
    share: tuple[int, int] = (0, 1),
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of images (B, C, H, W) or clips (B, C, T, H, W), float32, and targets on `device`, for epoch 0, 1, ...,
    from step `start` on.

    Targets are what the images' `targets` are, such as labels (B,), or the shares of the classes (B, K) where the
    recipe mixes images. Of `share=(r, n)` each
    batch's images r, r + n, ... come, as every process draws the same for the whole batch; images are mixed within a
    share. With `workers` so many processes prepare the images; what they make does not depend on their number.
    """
    random = torch.Generator().manual_seed(seed_of(recipe, f"batches of epoch {epoch}"))
    order = torch.randperm(len(images), generator=random).repeat_interleave(recipe.repeats)[: len(images)]
    chosen = _Chosen(images, recipe, epoch, order, share)
    mine = slice(share[0], None, share[1])
    mixes = bool(recipe.mixup or recipe.cutmix)
    steps = range(start, steps_per_epoch(images, recipe))
    ready = iter(_in_order(chosen, steps, workers))
    for step in range(steps.stop):
        size = len(order[chosen.batch(step)])
        which = torch.rand(size, generator=random) < 0.5 if recipe.hflip and images.may_flip else None
        moves = None
        if recipe.crop_padding:
            moves = torch.randint(2 * recipe.crop_padding + 1, (2, size), generator=random)
        if step < start:
            continue  # drawn all the same, so that the steps after it find the generator where they would have
        pixels, labels = (tensor.to(device) for tensor in next(ready))
        if which is not None:
            pixels, labels = flipped(pixels, which[mine]), images.mirrored(labels, which[mine])
        if moves is not None:
            pixels = shifted(pixels, moves[:, mine], recipe.crop_padding)
        pixels = images.normalised(pixels)
        if recipe.erasing:
            pixels = erased(pixels, recipe, chosen.seeds(step, "erasing"))
        if mixes:
            seed = seed_of(recipe, f"mixing in epoch {epoch}, step {step}")
            pixels, labels = mixed(pixels, labels, recipe, images.num_classes, seed)
        yield pixels, labels


class _Chosen(Dataset[tuple[Tensor, Tensor]]):
    """The bytes and labels of each step of an epoch, its images changed one by one where the recipe does so."""

    def __init__(self, images: Examples, recipe: Recipe, epoch: int, order: Tensor, share: tuple[int, int]) -> None:
        self.images, self.recipe, self.epoch, self.order, self.share = images, recipe, epoch, order, share
        self.policy = image_policy(recipe, images.mean, images.image_px) if changes_images(recipe) else None

    def batch(self, step: int) -> slice:
        return slice(step * self.recipe.batch_size, (step + 1) * self.recipe.batch_size)

    def seeds(self, step: int, purpose: str) -> list[int]:
        """One per image of this share, by its place in the epoch."""
        places = range(len(self.order))[self.batch(step)][self.share[0] :: self.share[1]]
        first = seed_of(self.recipe, f"{purpose} in epoch {self.epoch}")
        return [(first + place) % 2**63 for place in places]

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        index = self.order[self.batch(step)][self.share[0] :: self.share[1]]
        labels = self.images.targets(index)
        if self.policy is None:
            return self.images.pixels[index], labels
        changed = []
        for at, seed in zip(index.tolist(), self.seeds(step, "augmentation"), strict=True):
            shown = []
            for picture in self.images.pictures(at):
                with drawing_from(seed):  # anew for every frame of a clip: all are changed alike
                    shown.append(self.policy(picture))
            changed.append(shown[0] if self.images.frames is None else torch.stack(shown, dim=1))
        return torch.stack(changed), labels


def _in_order(chosen: _Chosen, steps: range, workers: int) -> Iterable[tuple[Tensor, Tensor]]:
    if not workers:
        return map(chosen.__getitem__, steps)
    # a generator of its own: the loader draws a seed, and the global generator is the model's
    return DataLoader(
        chosen, batch_size=None, sampler=steps, num_workers=workers, generator=torch.Generator(), prefetch_factor=4
    )


def flipped(pixels: Tensor, which: Tensor) -> Tensor:
    """The images (B, C, ..., H, W) for which `which` (B,) holds, left to right."""
    of_an_image = which.to(pixels.device).view(-1, *(1 for _ in pixels.shape[1:]))
    return torch.where(of_an_image, pixels.flip(-1), pixels)


def shifted(pixels: Tensor, moves: Tensor, padding: int) -> Tensor:
    """Each image (B, C, ..., H, W) cut out of itself padded with black, from row `moves[0]` and column `moves[1]`.

    A move of `padding` leaves the image where it was; 0 moves it down (right) by `padding` pixels.
    """
    padded = F.pad(pixels.flatten(1, -3), (padding,) * 4)  # a channel of a frame is moved as a channel is
    (batch, channels), (height, width) = padded.shape[:2], pixels.shape[-2:]
    top, left = moves.to(pixels.device)
    rows = (top[:, None] + torch.arange(height, device=pixels.device))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width, device=pixels.device))[:, None, None, :]
    image = torch.arange(batch, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[None, :, None, None]
    return padded[image, channel, rows, columns].view(pixels.shape)
