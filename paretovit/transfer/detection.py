"""To find objects: the task that a detector is trained for by the loop, and judged in.

Shapes   B images, Q queries, K classes, A = K + 4.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.devices import origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.spec import ModelSpec
from paretovit.training.objective import Objective, Step, auxiliary
from paretovit.training.recipe import Recipe
from paretovit.training.rows import QUALITIES
from paretovit.training.task import Task
from paretovit.training.team import Team
from paretovit.transfer.average_precision import MOST, Found, average_precision
from paretovit.transfer.scenes import Scenes
from paretovit.transfer.scenes._scenes import in_pixels
from paretovit.transfer.set_loss import set_loss

# fields of a recipe that would have to move the boxes, or to blend them, or that are of a classifier's loss: as they
# have to be (pictures of other sides would be cut before their colours are changed)
_UNUSED: dict[str, Any] = {
    "crop": "none",
    "crop_padding": 0,
    "augment": "none",
    "color_jitter": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "label_smoothing": 0.0,
    "loss": "ce",
    "teacher": "",
}


@dataclass(frozen=True, kw_only=True)
class DetectionScore:
    """What a detector did on one split: average precisions, as `average_precision.Precision` has them."""

    images: int
    seconds: float
    ap: float
    ap50: float
    ap75: float
    by_size: dict[str, float | None]
    by_class: tuple[float | None, ...]

    @property
    def quality(self) -> float:
        """The average precision over all thresholds."""
        return self.ap


class Detection(Task[Scenes, DetectionScore]):
    """Boxes around the objects of an image, and their classes."""

    quality, loss = "ap", "detection_loss"

    def check(self, spec: ModelSpec, images: Scenes, recipe: Recipe) -> None:
        super().check(spec, images, recipe)
        for field, unused in _UNUSED.items():
            if getattr(recipe, field) != unused:
                raise UserError(
                    f"a detector's boxes would not go with {field}={getattr(recipe, field)} of recipe {recipe.name}; "
                    f"give --set {field}={unused}, or a recipe for detectors, such as boxes"
                )

    def objective(self, spec: ModelSpec, recipe: Recipe, device: torch.device) -> Objective:
        def of(step: Step) -> tuple[Tensor, Tensor]:
            found_LBQA = step.forward(step.pixels).float()
            known = bool(torch.isfinite(found_LBQA).all())
            # numbers that are none cannot be matched; the loop stops at such a loss
            loss = set_loss(found_LBQA, step.targets) if known else found_LBQA.sum()
            return loss + auxiliary(step.module, recipe), loss

        return of

    def judged(self, module: nn.Module, images: Scenes, team: Team) -> DetectionScore:
        """Every process looks at all images: an average precision is not the mean of those of shares."""
        return detection_score(module, images, device=team.device)

    def read(self, content: dict[str, Any]) -> DetectionScore:
        return DetectionScore(**content | {"by_class": tuple(content["by_class"])})

    def rows(
        self,
        spec: ModelSpec,
        images: Scenes,
        score: DetectionScore,
        recipe: str | None,
        seed: int | None,
        made: Origin | None = None,
    ) -> list[Measurement]:
        """AP, AP50 and AP75; of each size, and of each class, in `origin.timing` of the first."""
        if not images.real:
            return []
        conditions = Conditions(spec=spec.key, data=images.name, split=images.split, recipe=recipe, seed=seed)
        made = made or origin("measured")
        facts: dict[str, Any] = {"images": score.images}
        detail = {
            "images_per_s": round(score.images / score.seconds, 1),
            "by_size": score.by_size,
            "by_class": dict(zip(images.class_names, score.by_class, strict=True)),
        }
        return [
            Measurement(
                model=spec.name,
                indicator=name,
                unit=QUALITIES[name][1],
                value=value,
                samples=(value,),
                conditions=conditions,
                origin=replace(made, timing=made.timing | facts | (detail if name == "ap" else {})),
            )
            for name, value in (("ap", score.ap), ("ap50", score.ap50), ("ap75", score.ap75))
        ]


def detection_score(
    module: nn.Module, images: Scenes, *, batch_size: int = 64, device: str | torch.device = "cpu"
) -> DetectionScore:
    """One pass over a split in evaluation mode; the module is left in the mode it was in.

    Raises `Unmeasurable` if the model gives numbers that are not finite, and `UserError` for a split without objects.
    """
    was_training = module.training
    module.eval()
    found: list[Found] = []
    begin = time.perf_counter()
    try:
        with torch.no_grad():
            for index in torch.arange(len(images)).split(batch_size):
                answers = module(images.normalised(images.pixels[index].to(device))).float().cpu()
                if not torch.isfinite(answers).all():
                    raise Unmeasurable("the model's outputs are not finite")
                found += surest(answers, images.sizes[index])
    finally:
        module.train(was_training)
    seconds = time.perf_counter() - begin
    precision = average_precision(images.truths, found, images.num_classes)
    if precision.ap is None or precision.ap50 is None or precision.ap75 is None:
        raise UserError(f"{images.name}, {images.split} has no object to be found")
    return DetectionScore(
        images=len(images),
        seconds=seconds,
        ap=precision.ap,
        ap50=precision.ap50,
        ap75=precision.ap75,
        by_size={"small": precision.small, "medium": precision.medium, "large": precision.large},
        by_class=precision.by_class,
    )


def surest(found_BQA: Tensor, sizes: Tensor) -> Iterator[Found]:
    """The hundred surest answers to each image, of width and height `sizes` (B, 2): a query may answer with several
    classes, as in the released code of Zhu et al. 2020."""
    chances = found_BQA[..., :-4].sigmoid()
    num_classes = chances.shape[-1]
    scores, places = chances.flatten(1).topk(min(MOST, chances[0].numel()))
    boxes = in_pixels(found_BQA[..., -4:].double(), sizes)
    for score, place, box in zip(scores, places, boxes, strict=True):
        yield Found(
            boxes=box[place // num_classes].numpy(),
            classes=(place % num_classes).numpy(),
            scores=score.double().numpy(),
        )
