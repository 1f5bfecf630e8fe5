"""How often a model is right, and how sure one can be of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement
from paretovit.spec import ModelSpec
from paretovit.training.data import Examples, Images

BINS = 15  # of confidence, as in Guo et al. 2017


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a model did on one split.

    images           how many were looked at
    hits1, hits5     for how many the right class came first, or among the first five
    loss             mean cross-entropy in nat
    seconds          of all forward passes, normalising included
    by_class         per class, how many there are of it and for how many it came first
    right            per image, 1 if the right class came first
    by_confidence    per bin of equal width from 0 to 1, over the highest probability of an image: how many are in it,
                     the sum of these probabilities, and how many of them were right
    """

    images: int
    hits1: int
    hits5: int
    loss: float
    seconds: float
    by_class: tuple[tuple[int, int], ...] = ()
    right: tuple[int, ...] = ()
    by_confidence: tuple[tuple[int, float, int], ...] = ()

    @property
    def quality(self) -> float:
        """The top-1 accuracy."""
        return self.hits1 / self.images

    @property
    def calibration_error(self) -> float:
        """How far confidence is from the share that is right, on average over the images: Guo et al. 2017, "On
        Calibration of Modern Neural Networks", eq. 3."""
        return sum(abs(right - confidence) for _, confidence, right in self.by_confidence) / self.images


def score(
    module: nn.Module,
    images: Images,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    share: tuple[int, int] = (0, 1),
    in_detail: bool = False,
) -> Score:
    """One pass over a split in evaluation mode; the module is left in the mode it was in. Of `share=(r, n)` the images
    r, r + n, ... are looked at. `by_class`, `right` and `by_confidence` are filled in where `in_detail` asks for them.
    Of clips a batch is so many that they have `batch_size` frames together.

    Raises `Unmeasurable` if the model gives numbers that are not finite: those rank no classes.
    """
    was_training, device = module.training, torch.device(device)
    module.eval()
    batch_size = max(1, batch_size // (images.frames or 1))
    hits1 = hits5 = 0
    loss = 0.0
    classes = torch.zeros(images.num_classes, 2, dtype=torch.int64)
    bins = torch.zeros(BINS, 3, dtype=torch.float64)
    firsts = bytearray()
    begin = time.perf_counter()
    try:
        with torch.no_grad():
            mine, of_first = (torch.arange(len(images))[r :: share[1]].split(batch_size) for r in (share[0], 0))
            for index in mine:
                labels = images.labels[index].to(device)
                logits = module(images.normalised(images.pixels[index].to(device))).float()
                if not torch.isfinite(logits).all():
                    raise Unmeasurable("the model's outputs are not finite")
                ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
                hits1 += int(ranked[:, 0].sum())
                hits5 += int(ranked.sum())
                loss += float(F.cross_entropy(logits, labels, reduction="sum"))
                if in_detail:
                    right, labels = ranked[:, 0].cpu(), labels.cpu()
                    firsts += bytes(right.tolist())
                    classes += torch.stack([labels.bincount(w, images.num_classes) for w in (None, right)], 1).long()
                    confidence = logits.softmax(1).amax(1).cpu().double()
                    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
                    facts = torch.stack((torch.ones_like(confidence), confidence, right.double()), 1)
                    bins.index_add_(0, place, facts)
            for _ in of_first[len(mine) :]:  # what is shared out is put together by all: they call equally often
                module(images.normalised(images.pixels[:1].to(device)))
    finally:
        module.train(was_training)
    seconds = time.perf_counter() - begin
    seen = len(range(len(images))[share[0] :: share[1]])
    found = Score(images=seen, hits1=hits1, hits5=hits5, loss=loss / max(seen, 1), seconds=seconds)
    if not in_detail:
        return found
    by_confidence = tuple((int(count), total, int(right)) for count, total, right in bins.tolist())
    return replace(
        found,
        by_class=tuple((count, hits) for count, hits in classes.tolist()),
        right=tuple(firsts),
        by_confidence=by_confidence,
    )


def evaluate(
    spec: ModelSpec,
    module: nn.Module,
    images: Images,
    *,
    recipe: str | None = None,
    seed: int | None = None,
    batch_size: int = 256,
    device: str = "cpu",
    served: nn.Module | None = None,
    served_by: Mapping[str, Any] | None = None,
) -> list[Measurement]:
    """Rows of top-1 and top-5 accuracy and of the calibration error; none for made-up images. `recipe` and `seed` say
    how it was trained. The top-1 row has the accuracy of every class in `origin.timing`, and how fast the pass was.

    Where the same model is also `served` by a runtime, the rows of what that makes of it follow, and how much of the
    top-1 accuracy is lost to it; `served_by` are their further conditions.

    Raises `UserError` for a model and images that do not go together.
    """
    from paretovit.training.rows import accuracy_rows, drop_row

    check_fit(spec, images)
    own = score(module, images, batch_size=batch_size, device=device, in_detail=True)
    rows = accuracy_rows(spec, images, own, recipe, seed)
    if served is None or not rows:
        return rows
    other = score(served, images, batch_size=batch_size, device=device, in_detail=True)
    theirs = [*accuracy_rows(spec, images, other, recipe, seed), drop_row(spec, images, own, other, recipe, seed)]
    return rows + [replace(row, conditions=replace(row.conditions, **(served_by or {}))) for row in theirs]


def check_fit(spec: ModelSpec, images: Examples) -> None:
    """Raise `UserError` if the model takes other images than these or knows other classes."""
    if spec.frames != images.frames:
        takes, has = (
            "still images" if frames is None else f"clips of {frames} frames" for frames in (spec.frames, images.frames)
        )
        mend = (
            "give the model --video divided, or one such as timesformer_divided_tiny_patch16_224"
            if spec.frames is None
            else f"give clips of {spec.frames} frames, such as moving/DATA or videos/PATH"
        )
        raise UserError(f"{spec.name} is for {takes}, {images.name} has {has}; {mend}")
    for what, flag, wanted, present in (
        ("pixels", "--img-size", spec.image_px, images.image_px),
        ("channels", "--in-chans", spec.in_chans, images.in_chans),
        ("classes", "--num-classes", spec.num_classes, images.num_classes),
    ):
        if wanted != present:
            raise UserError(
                f"{spec.name} is for {wanted} {what}, {images.name} has {present}; give the model {flag} {present}"
            )
