"""How often a model is right, and how sure one can be of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement
from paretovit.spec import ModelSpec
from paretovit.training.data import Images


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a model did on one split.

    images           how many were looked at
    hits1, hits5     for how many the right class came first, or among the first five
    loss             mean cross-entropy in nat
    seconds          of all forward passes, normalising included
    """

    images: int
    hits1: int
    hits5: int
    loss: float
    seconds: float


def score(module: nn.Module, images: Images, *, batch_size: int = 256, device: str | torch.device = "cpu") -> Score:
    """One pass over a split in evaluation mode; the module is left in the mode it was in.

    Raises `Unmeasurable` if the model gives numbers that are not finite: those rank no classes.
    """
    was_training, device = module.training, torch.device(device)
    module.eval()
    hits1 = hits5 = 0
    loss = 0.0
    begin = time.perf_counter()
    try:
        with torch.no_grad():
            for pixels, labels in zip(images.pixels.split(batch_size), images.labels.split(batch_size), strict=True):
                labels = labels.to(device)
                logits = module(images.normalised(pixels.to(device))).float()
                if not torch.isfinite(logits).all():
                    raise Unmeasurable("the model's outputs are not finite")
                ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
                hits1 += int(ranked[:, 0].sum())
                hits5 += int(ranked.sum())
                loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    finally:
        module.train(was_training)
    seconds = time.perf_counter() - begin
    return Score(images=len(images), hits1=hits1, hits5=hits5, loss=loss / len(images), seconds=seconds)


def evaluate(
    spec: ModelSpec,
    module: nn.Module,
    images: Images,
    *,
    recipe: str | None = None,
    seed: int | None = None,
    batch_size: int = 256,
    device: str = "cpu",
) -> list[Measurement]:
    """Rows of top-1 and top-5 accuracy; none for made-up images. `recipe` and `seed` say how it was trained.

    Raises `UserError` for a model and images that do not go together.
    """
    from paretovit.training.rows import accuracy_rows

    check_fit(spec, images)
    return accuracy_rows(spec, images, score(module, images, batch_size=batch_size, device=device), recipe, seed)


def check_fit(spec: ModelSpec, images: Images) -> None:
    """Raise `UserError` if the model takes other images than these or knows other classes."""
    for what, flag, wanted, present in (
        ("pixels", "--img-size", spec.image_px, images.image_px),
        ("channels", "--in-chans", spec.in_chans, images.in_chans),
        ("classes", "--num-classes", spec.num_classes, images.num_classes),
    ):
        if wanted != present:
            raise UserError(
                f"{spec.name} is for {wanted} {what}, {images.name} has {present}; give the model {flag} {present}"
            )


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The 95% interval of a share. Wilson 1927, "Probable Inference", JASA 22; unlike the usual one it holds near
    0 and 1, where these accuracies are."""
    z = 1.959964
    share = hits / images
    centre = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return max(0.0, centre - half), min(1.0, centre + half)
