"""What training and evaluation yield as rows. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from paretovit.devices import device_name, origin
from paretovit.measurement import Conditions, Measurement, Origin, median, wilson
from paretovit.spec import ModelSpec

if TYPE_CHECKING:
    from paretovit.training.data import Examples, Images
    from paretovit.training.energy import Energy
    from paretovit.training.evaluate import Score
    from paretovit.training.recipe import Recipe

HELD_OUT = "held out of train"  # the split of training images that a recipe keeps from training

# Title, unit, and whether less is better. The calibration error is that of Guo et al. 2017, with 15 bins. Accuracies
# are those after the last epoch, and so are average precisions, which are COCO's (Lin et al. 2014); a loss is the mean
# over the last epoch, of classifiers of the cross-entropy, label smoothing included, of detectors of the weighted sum
# that they are trained by; times are those of the training steps, validation and saving left out; an image seen again
# counts again; memory is that of CUDA's allocator; energy is what the meter that a row names counted during those
# steps, whoever used it.
QUALITIES: dict[str, tuple[str, str, bool]] = {
    "top1": ("top-1 accuracy", "1", False),
    "top5": ("top-5 accuracy", "1", False),
    "top1_drop": ("top-1 accuracy lost to the runtime", "1", True),
    "ece": ("calibration error", "1", True),
    "ap": ("average precision", "1", False),
    "ap50": ("average precision at IoU 0.5", "1", False),
    "ap75": ("average precision at IoU 0.75", "1", False),
    "train_loss": ("training loss", "nat", True),
    "detection_loss": ("training loss of detection", "1", True),
    "train_time_s": ("training time", "s", True),
    "train_epoch_s": ("training time per epoch", "s", True),
    "images_seen": ("images trained on", "1", True),
    "train_run_energy_j": ("energy of the training run", "J", True),
    "train_peak_bytes": ("peak memory of the training run", "B", True),
}


class Judged(Protocol):
    """The score of a model on so many `images`; of two the one of the higher `quality` is the better."""

    @property
    def images(self) -> int: ...

    @property
    def quality(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A finished epoch, counted from 1: mean loss, seconds and images of its steps, and the score after it.

    The score is on the images held out where some are; `final`, after the last epoch, is then on the split reported.
    `peak_bytes` is the most memory that was in use during the steps, where that is known; `joules` is what `meter`
    counted meanwhile.
    """

    number: int
    loss: float
    seconds: float
    images: int
    score: Judged
    final: Judged | None = None
    peak_bytes: int | None = None
    joules: float | None = None
    meter: str = ""


def accuracy_rows(
    spec: ModelSpec, images: Images, score: Score, recipe: str | None, seed: int | None, made: Origin | None = None
) -> list[Measurement]:
    """Top-1 and top-5 with a 95% Wilson interval in `origin.timing`, and the calibration error of a score in detail;
    top-5 only where there are more than five classes, and nothing for made-up images. The device is no condition of an
    accuracy."""
    if not images.real:
        return []
    conditions = Conditions(spec=spec.key, data=images.name, split=images.split, recipe=recipe, seed=seed)
    rows = []
    for indicator, hits in (("top1", score.hits1), ("top5", score.hits5))[: 2 if images.num_classes > 5 else 1]:
        facts: dict[str, Any] = {
            "images": score.images,
            "interval_95": list(wilson(hits, score.images)),
            "images_per_s": round(score.images / score.seconds, 1),
        }
        if indicator == "top1" and score.by_class:
            named = zip(images.class_names, score.by_class, strict=True)
            facts["by_class"] = {name: list(counts) for name, counts in named}
        rows.append(_row(spec, indicator, (hits / score.images,), conditions, _with(made or origin("measured"), facts)))
    if score.by_confidence:
        facts = {"images": score.images, "by_confidence": [list(counts) for counts in score.by_confidence]}
        made = _with(made or origin("measured"), facts)
        rows.append(_row(spec, "ece", (score.calibration_error,), conditions, made))
    return rows


def drop_row(
    spec: ModelSpec, images: Images, own: Score, served: Score, recipe: str | None, seed: int | None
) -> Measurement:
    """How much less of the images are recognised in `served` than in `own`, two scores in detail of the same images.

    The 95% interval in `origin.timing` is of the difference of paired shares, which images that both or neither
    recognise do not widen: Agresti & Min 2005, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 24 (half an image is added to each of the four cells).
    """
    pairs = list(zip(own.right, served.right, strict=True))
    lost, won = pairs.count((1, 0)), pairs.count((0, 1))
    n, b, c = own.images + 2, lost + 0.5, won + 0.5
    half = 1.959964 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    facts = {"images": own.images, "lost": lost, "won": won, "interval_95": [(b - c) / n - half, (b - c) / n + half]}
    conditions = Conditions(spec=spec.key, data=images.name, split=images.split, recipe=recipe, seed=seed)
    return _row(spec, "top1_drop", ((lost - won) / own.images,), conditions, _with(origin("measured"), facts))


def training_rows(
    spec: ModelSpec,
    images: Examples,
    recipe: Recipe,
    epochs: Sequence[Epoch],
    *,
    device: str,
    threads: int | None,
    made: Origin,
    label: str | None = None,
    energy: Energy | None = None,
    score_rows: Callable[..., list[Measurement]] = accuracy_rows,
    loss: str = "train_loss",
) -> list[Measurement]:
    """The rows of a finished run: accuracy on `images`, and what the training took.

    `made` is the origin of the run, `label` how rows name the recipe, if not by its own label. The accuracy is that
    after the last epoch, or after the best if the recipe picks it; of another task its `score_rows`, with the quality
    first, and its indicator of the `loss` say what takes its place. The first row keeps the curve, pairs of epoch and
    quality, and beside it what had been spent by then; where images were held out it is theirs, and the accuracy on
    `images` follows. Memory is a row where an allocator counted it; what the process took is a fact of the time.
    Energy is a row where it was asked for, with a reason if there is no number.
    """
    label, last = label or recipe.label, epochs[-1]
    picked = max(epochs, key=lambda epoch: epoch.score.quality) if recipe.pick == "best" else last
    watched = replace(images, split=HELD_OUT) if last.final is not None else images
    rows = score_rows(spec, watched, picked.score, label, recipe.seed, made)
    if rows:
        curve = [[epoch.number, epoch.score.quality] for epoch in epochs]
        spent = {
            "images_seen": list(accumulate(epoch.images for epoch in epochs)),
            "train_time_s": [round(s, 3) for s in accumulate(epoch.seconds for epoch in epochs)],
        }
        facts = {"curve": curve, "spent": spent, "device": device_name(device)}
        rows[0] = replace(rows[0], origin=_with(rows[0].origin, facts))
    if last.final is not None:
        rows += score_rows(spec, images, last.final, label, recipe.seed, made)
    learned = Conditions(spec=spec.key, data=images.name, split="train", recipe=label, seed=recipe.seed)
    if images.real:
        rows.append(_row(spec, loss, (last.loss,), learned, made))
    rows.append(_row(spec, "images_seen", (sum(epoch.images for epoch in epochs),), learned, made))
    timed = while_training(learned, recipe, device=device, threads=threads)
    seconds = tuple(epoch.seconds for epoch in epochs)
    peak = max((epoch.peak_bytes for epoch in epochs if epoch.peak_bytes is not None), default=None)
    on_cpu = device == "cpu"
    known = {"process_peak_bytes": peak} if on_cpu and peak is not None else {}
    rows += [
        _row(spec, "train_time_s", (sum(seconds),), timed, _with(made, known)),
        _row(spec, "train_epoch_s", seconds, timed, made),
    ]
    if peak is not None and not on_cpu:
        rows.append(_row(spec, "train_peak_bytes", (float(peak),), timed, made))
    if energy is not None:
        rows.append(_energy_row(spec, energy, epochs, timed, made))
    return rows


def while_training(learned: Conditions, recipe: Recipe, *, device: str, threads: int | None) -> Conditions:
    """Of what a run learned, with what else its times depend on."""
    return replace(
        learned,
        device=device_name(device),
        runtime="torch_eager",
        dtype=recipe.amp_dtype,
        batch_size=recipe.batch_size,
        threads=threads,
    )


def _energy_row(
    spec: ModelSpec, energy: Energy, epochs: Sequence[Epoch], timed: Conditions, made: Origin
) -> Measurement:
    if energy.meter is not None:
        timed = replace(timed, assumptions=(("energy", energy.meter.source), *energy.stated))
    joules = [epoch.joules for epoch in epochs if epoch.joules is not None and epoch.meter == energy.name]
    if energy.meter is not None and len(joules) == len(epochs):
        return _row(spec, "train_run_energy_j", (sum(joules),), timed, made)
    why = energy.why or f"only {len(joules)} of {len(epochs)} epochs were metered so ({energy.name})"
    return Measurement(
        model=spec.name, indicator="train_run_energy_j", unit="J", value=None, conditions=timed, origin=made, why=why
    )


def _row(
    spec: ModelSpec, indicator: str, samples: tuple[float, ...], conditions: Conditions, made: Origin
) -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=indicator,
        unit=QUALITIES[indicator][1],
        value=float(median(samples)),
        samples=tuple(float(sample) for sample in samples),
        conditions=conditions,
        origin=made,
    )


def _with(made: Origin, facts: dict[str, Any]) -> Origin:
    return replace(made, timing=made.timing | facts)
