"""Average precision of boxes as COCO defines it, in numpy.

Paper    Lin et al. 2014, "Microsoft COCO"; the definition is that of the released evaluation code (pycocotools), with
         which this agrees number by number: a test holds the two together.

In each image the boxes found of a class, the surest first, are given to the true boxes that they overlap most; one is
right if the overlap (intersection over union) reaches a threshold and its true box was not taken before. Precision is
made monotonous, read off at 101 recalls, and averaged over them, over ten thresholds from 0.5 to 0.95, and over the
classes that occur. True boxes that are crowds, or of a size that is not asked for, are neither missed nor found: what
is given to them does not count.

Shapes   N true boxes, M found ones, T thresholds, R recalls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST = 100  # boxes of a class that count in an image
THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_SIDES = {
    "all": (0.0, 1e5),
    "small": (0.0, 32.0),
    "medium": (32.0, 96.0),
    "large": (96.0, 1e5),
}  # of squares, in pixels


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of an image: boxes (N, 4) as left, top, width and height in pixels, classes (N,) from 0, areas (N,)
    in pixels, and which of them (N,) are crowds, boxes around more than one object."""

    boxes: Array
    classes: NDArray[np.int64]
    areas: Array
    crowds: Mask


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector found in an image: boxes (M, 4) as those of a `Truth`, classes (M,), and how sure it is (M,)."""

    boxes: Array
    classes: NDArray[np.int64]
    scores: Array


@dataclass(frozen=True)
class Precision:
    """Average precisions from 0 to 1; None where no object is of that size, or of that class.

    ap                    over all thresholds
    ap50, ap75            at a threshold of 0.5, and of 0.75
    small, medium, large  of objects below 32 x 32 pixels, up to 96 x 96, and above, over all thresholds
    by_class              over all thresholds
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    by_class: tuple[float | None, ...]


def average_precision(truths: Sequence[Truth], founds: Sequence[Found], num_classes: int) -> Precision:
    """Of what was found in images, one after the other, beside what is there."""
    table = {size: np.full((len(THRESHOLDS), num_classes), np.nan) for size in _SIDES}
    for label in range(num_classes):
        pairs = [_Pair.of_class(truth, found, label) for truth, found in zip(truths, founds, strict=True)]
        pairs = [pair for pair in pairs if len(pair.areas) or len(pair.scores)]
        for size, (least, most) in _SIDES.items():
            table[size][:, label] = _by_threshold([pair.matched(least**2, most**2) for pair in pairs])
    every = table["all"]
    return Precision(
        ap=_mean(every),
        ap50=_mean(every[0]),
        ap75=_mean(every[5]),
        small=_mean(table["small"]),
        medium=_mean(table["medium"]),
        large=_mean(table["large"]),
        by_class=tuple(_mean(column) for column in every.T),
    )


@dataclass(frozen=True, eq=False)
class _Matched:
    """Of one class in one image: scores (M,) of what was found; whether it is right (T, M), and whether it counts
    (T, M); and how many objects there are to be found."""

    scores: Array
    right: Mask
    counts: Mask
    objects: int


@dataclass(frozen=True, eq=False)
class _Pair:
    """What is of one class in one image, the surest found first: overlaps (M, N), areas (N,) and crowds (N,) of the
    true boxes, scores (M,) and areas (M,) of the found ones."""

    overlaps: Array
    areas: Array
    crowds: Mask
    scores: Array
    found_areas: Array

    @classmethod
    def of_class(cls, truth: Truth, found: Found, label: int) -> _Pair:
        there, mine = truth.classes == label, np.flatnonzero(found.classes == label)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")][:MOST]
        boxes, crowds = found.boxes[mine], truth.crowds[there]
        return cls(
            overlaps=overlaps(boxes, truth.boxes[there], crowds),
            areas=truth.areas[there],
            crowds=crowds,
            scores=found.scores[mine],
            found_areas=boxes[:, 2] * boxes[:, 3],
        )

    def matched(self, least: float, most: float) -> _Matched:
        """Which of the found boxes are right, of objects of that area in pixels."""
        outside = (self.areas < least) | (self.areas > most)
        aside = outside | self.crowds
        num_thresholds, num_found = len(THRESHOLDS), len(self.scores)
        right = np.zeros((num_thresholds, num_found), dtype=bool)
        beside = np.zeros_like(right)
        if len(self.areas):
            free = np.ones((num_thresholds, len(self.areas)), dtype=bool)
            every = np.arange(num_thresholds)
            for k in range(num_found):
                reaches = self.overlaps[k] >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
                open_TN = reaches & (free | self.crowds)
                # an object that is asked for goes before one that is not, however much less it overlaps
                wanted = open_TN & ~aside
                some = wanted.any(1)
                candidates = np.where(some[:, None], wanted, open_TN)
                chosen = _last_largest(np.where(candidates, self.overlaps[k], -1.0))
                given = candidates.any(1)
                right[:, k] = some
                beside[:, k] = given & ~some
                free[every[given], chosen[given]] = False
        odd = (self.found_areas < least) | (self.found_areas > most)
        return _Matched(self.scores, right, right | ~(beside | odd), int((~aside).sum()))


def overlaps(found: Array, true: Array, crowds: Mask) -> Array:
    """Intersection over union (M, N) of boxes (M, 4) and (N, 4), left, top, width and height; of a crowd, which may
    hold many, intersection over the area of the found box."""
    corner = np.maximum(found[:, None, :2], true[None, :, :2])
    far = np.minimum((found[:, :2] + found[:, 2:])[:, None], (true[:, :2] + true[:, 2:])[None])
    both = np.prod(np.clip(far - corner, 0, None), axis=-1)
    area = np.prod(found[:, 2:], axis=-1)[:, None]
    whole = np.where(crowds[None], area, area + np.prod(true[:, 2:], axis=-1)[None] - both)
    return np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)


def _last_largest(values: Array) -> NDArray[np.int64]:
    """In each row the place of the largest number, the last one of several."""
    return values.shape[1] - 1 - np.argmax(values[:, ::-1], axis=1)


def _by_threshold(parts: list[_Matched]) -> Array:
    """The average precision at each threshold; nan where there is no object."""
    objects = sum(part.objects for part in parts)
    if not objects:
        return np.full(len(THRESHOLDS), np.nan)
    order = np.argsort(-np.concatenate([part.scores for part in parts]), kind="stable")
    right = np.concatenate([part.right for part in parts], axis=1)[:, order]
    counts = np.concatenate([part.counts for part in parts], axis=1)[:, order]
    precisions = np.zeros(len(THRESHOLDS))
    for t, (hits, seen) in enumerate(zip(np.cumsum(right, axis=1), np.cumsum(counts, axis=1), strict=True)):
        precision = hits / np.maximum(seen, 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        place = np.searchsorted(hits / objects, _RECALLS, side="left")
        precisions[t] = np.append(precision, 0.0)[place].mean()
    return precisions


def _mean(values: Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
