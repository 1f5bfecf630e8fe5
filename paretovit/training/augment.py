"""Images changed at random: one by one by timm's policies, and a batch at once by mixing its images.

What happens to an image depends on the seed and on its place in the epoch alone: not on the batch it is in, not on
how many processes prepare it, and not on whether the run was interrupted. The libraries used here draw from three
global generators; these are seeded for each image and put back afterwards.

Shapes   B images, C channels, H = W pixels, K classes; of clips, T frames come after the channels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import augment_and_mix_transform, auto_augment_transform, rand_augment_transform
from timm.data.mixup import cutmix_bbox_and_lam
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import ColorJitter, InterpolationMode
from torchvision.transforms.v2.functional import pad, pil_to_tensor, resize

from paretovit.errors import UserError
from paretovit.training.data._pictures import square
from paretovit.training.recipe import Recipe

_SRC_PADDING = 4  # pixels, as in DeiT III


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """All that is drawn inside comes from `seed`, whichever of the global generators it is drawn from."""
    before, before_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(before_numpy)


def changes_images(recipe: Recipe) -> bool:
    """Whether the recipe changes images one by one."""
    return recipe.crop != "none" or recipe.augment != "none" or bool(recipe.color_jitter)


def image_policy(recipe: Recipe, mean: Sequence[float], px: int) -> Callable[[Image.Image], Tensor]:
    """What `recipe` does to a single picture, grey or RGB, to make bytes (C, px, px) of it: crop, policy, colour.

    `mean` is the mean of a channel, from 0 to 1: the colour of what a rotation or a shear lets in. Raises `UserError`
    for a policy that timm cannot read.
    """
    policy = _policy(recipe.augment, tuple(round(255 * value) for value in mean))
    jitter = ColorJitter(*(recipe.color_jitter,) * 3) if recipe.color_jitter else None

    crop = RandomResizedCropAndInterpolation(px, scale=recipe.crop_scale, interpolation="bicubic")

    def changed(picture: Image.Image) -> Tensor:
        picture = crop(picture) if recipe.crop == "rrc" else square(picture, px)
        if recipe.crop == "src":
            padded = pad(picture, [_SRC_PADDING] * 4, padding_mode="reflect")
            left, top = (random.randrange(2 * _SRC_PADDING + 1) for _ in range(2))
            picture = padded.crop((left, top, left + px, top + px))
        # policies and colours are made for three channels; grey pictures come back grey
        mode = picture.mode
        if policy is not None or jitter is not None:
            picture = picture.convert("RGB")
        for step in (policy, jitter):
            picture = picture if step is None else step(picture)
        return pil_to_tensor(picture.convert(mode))

    return changed


def _policy(name: str, mean: tuple[int, ...]) -> Callable[[Image.Image], Image.Image] | None:
    """timm's policy of that name."""
    if name == "none":
        return None
    colour = mean * 3 if len(mean) == 1 else mean
    hints: dict[str, Any] = {"img_mean": colour, "translate_const": 10, "interpolation": Image.Resampling.BICUBIC}
    make = {"rand": rand_augment_transform, "augmix": augment_and_mix_transform}.get(
        name.split("-")[0], auto_augment_transform
    )
    try:
        return make(name, hints)
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"timm cannot read the policy augment={name}; write such as rand-m9-mstd0.5-inc1") from error


def erased(pixels: Tensor, recipe: Recipe, seeds: Sequence[int]) -> Tensor:
    """Normalised images (B, C, ..., H, W), of some of which a box is overwritten with noise, the same box in all frames
    of a clip; one seed for each."""
    erase = RandomErasing(probability=recipe.erasing, mode="pixel", device="cpu")
    done = []
    for image, seed in zip(pixels.cpu(), seeds, strict=True):
        with drawing_from(seed):
            done.append(erase(image.flatten(0, -3).clone()).view(image.shape))
    return torch.stack(done).to(pixels.device)


def mixed(pixels: Tensor, labels: Tensor, recipe: Recipe, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (B, C, ..., H, W), each blended with its mirror in the batch or with a box cut out of it, and the shares
    of their classes (B, K).

    Zhang et al. 2017, "mixup", eq. 1; Yun et al. 2019, "CutMix", eqs. 1 and 2, the share corrected for a box that
    reaches over the border. One share per batch, as timm has it by default.
    """
    with drawing_from(seed):
        cuts = bool(recipe.cutmix) and not (recipe.mixup and np.random.rand() < 0.5)
        alpha = recipe.cutmix if cuts else recipe.mixup
        share = float(np.random.beta(alpha, alpha))
        if cuts:
            (top, bottom, left, right), share = cutmix_bbox_and_lam(pixels.shape, share)
            pixels = pixels.clone()
            pixels[..., top:bottom, left:right] = pixels.flip(0)[..., top:bottom, left:right]
        else:
            pixels = pixels * share + pixels.flip(0) * (1 - share)
    own = F.one_hot(labels, num_classes).float()
    return pixels, own * float(share) + own.flip(0) * (1 - float(share))


def resized(pixels: Tensor, px: int) -> Tensor:
    """Images (B, C, ..., H, W) brought to `px` x `px`, bicubic with anti-aliasing."""
    if pixels.shape[-1] == px:
        return pixels
    return resize(pixels, [px, px], interpolation=InterpolationMode.BICUBIC, antialias=True)
