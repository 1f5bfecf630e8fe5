"""Average precision beside pycocotools, which defines it, and worked out by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from paretovit.transfer.average_precision import Found, Precision, Truth, average_precision

CLASSES = 4


def drawn(seed: int, *, images: int, found: int, crowds: float) -> tuple[list[Truth], list[Found]]:
    """Random objects from 4 to 200 pixels a side; found boxes are objects shifted and scaled at random, some of them of
    another class, and some out of nothing. Scores are coarse, so that many are equal."""
    random = np.random.default_rng(seed)
    truths, founds = [], []
    for _ in range(images):
        count = random.integers(0, 8)
        sides = np.exp(random.uniform(np.log(4), np.log(200), (count, 2)))
        boxes = np.concatenate((random.uniform(0, 300, (count, 2)), sides), axis=1)
        classes = random.integers(0, CLASSES - 1, count)  # the last class has no object
        areas = boxes[:, 2] * boxes[:, 3] * random.uniform(0.4, 1.0, count)
        truths.append(Truth(boxes, classes, areas, random.random(count) < crowds))
        made = random.integers(0, found + 1)
        if count:
            chosen = random.integers(0, count, made)
            moved = random.normal(0, 0.06, (made, 4)) * np.tile(boxes[chosen][:, 2:], 2)
            near = np.maximum(boxes[chosen] + moved, 0.1)
            labels = np.where(random.random(made) < 0.8, classes[chosen], random.integers(0, CLASSES, made))
        else:
            near, labels = random.uniform(1, 200, (made, 4)), random.integers(0, CLASSES, made)
        founds.append(Found(near, labels, random.integers(0, 20, made) / 20))
    return truths, founds


def by_pycocotools(truths: list[Truth], founds: list[Found]) -> Precision:
    coco, evaluation = (pytest.importorskip(f"pycocotools.{name}") for name in ("coco", "cocoeval"))
    there = [
        {"image_id": i, "category_id": int(c), "bbox": list(map(float, b)), "area": float(a), "iscrowd": int(k)}
        for i, truth in enumerate(truths)
        for b, c, a, k in zip(truth.boxes, truth.classes, truth.areas, truth.crowds, strict=True)
    ]
    for number, one in enumerate(there, start=1):  # 0 would stand for no match
        one["id"] = number
    results = [
        {"image_id": i, "category_id": int(c), "bbox": list(map(float, b)), "score": float(s)}
        for i, found in enumerate(founds)
        for b, c, s in zip(found.boxes, found.classes, found.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        known = coco.COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": i, "width": 500, "height": 500} for i in range(len(truths))],
            "categories": [{"id": c, "name": str(c)} for c in range(CLASSES)],
            "annotations": there,
        }
        known.createIndex()
        judge = evaluation.COCOeval(known, known.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ap, ap50, ap75, small, medium, large = (None if value < 0 else float(value) for value in judge.stats[:6])
    # thresholds, recalls, classes, areas, most boxes
    precisions = judge.eval["precision"][:, :, :, 0, 2]
    by_class = tuple(None if (p := precisions[:, :, c]).max() < 0 else float(p[p > -1].mean()) for c in range(CLASSES))
    return Precision(ap, ap50, ap75, small, medium, large, by_class)


def assert_same(ours: Precision, theirs: Precision) -> None:
    for name in ("ap", "ap50", "ap75", "small", "medium", "large", "by_class"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-12), name


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("crowds", [0.0, 0.3])
def test_random_boxes_are_judged_as_by_pycocotools(seed: int, crowds: float):
    truths, founds = drawn(seed, images=12, found=25, crowds=crowds)
    ours = average_precision(truths, founds, CLASSES)
    assert ours.ap is not None
    assert 0.05 < ours.ap < 0.95
    assert ours.by_class[-1] is None
    assert_same(ours, by_pycocotools(truths, founds))


@pytest.mark.parametrize("seed", range(20))
def test_objects_that_cover_each_other_are_given_away_as_by_pycocotools(seed: int):
    """On a coarse grid, so that a box reaches several objects, of several sizes, and many overlaps are equal."""
    random = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        return np.concatenate((random.integers(0, 3, (count, 2)), random.integers(2, 6, (count, 2))), axis=1) * 10.0

    truths, founds = [], []
    for _ in range(6):
        areas = random.choice([500.0, 2000.0, 10000.0], 8)
        truths.append(Truth(boxes(8), random.integers(0, 2, 8), areas, random.random(8) < 0.15))
        founds.append(Found(boxes(20), random.integers(0, 2, 20), random.random(20)))
    assert_same(average_precision(truths, founds, CLASSES), by_pycocotools(truths, founds))


def test_of_very_many_boxes_a_hundred_of_each_class_count_as_in_pycocotools():
    truths, founds = drawn(3, images=3, found=1500, crowds=0.1)
    assert max(np.bincount(found.classes).max() for found in founds) > 100
    assert_same(average_precision(truths, founds, CLASSES), by_pycocotools(truths, founds))


def truth(*boxes: tuple[float, ...], crowd: bool = False) -> Truth:
    array = np.array(boxes, dtype=float).reshape(-1, 4)
    return Truth(array, np.zeros(len(boxes), int), array[:, 2] * array[:, 3], np.full(len(boxes), crowd))


def found(*boxes: tuple[float, ...], scores: tuple[float, ...] | None = None) -> Found:
    given = np.linspace(0.9, 0.1, len(boxes)) if scores is None else np.array(scores)
    return Found(np.array(boxes, dtype=float).reshape(-1, 4), np.zeros(len(boxes), int), given)


A, B, FAR = (0.0, 0.0, 50.0, 50.0), (60.0, 0.0, 50.0, 50.0), (200.0, 200.0, 50.0, 50.0)


def ap(there: Truth, mine: Found) -> float | None:
    return average_precision([there], [mine], 1).ap


def test_all_found_is_one_and_nothing_found_is_none():
    assert ap(truth(A, B), found(A, B)) == 1
    assert ap(truth(A, B), found()) == 0
    assert ap(truth(), found(A)) is None  # there is nothing to be found


def test_half_of_the_objects_found_reaches_51_of_101_recalls():
    assert ap(truth(A, B), found(A)) == pytest.approx(51 / 101)


def test_a_wrong_box_costs_only_what_is_less_sure_than_it():
    assert ap(truth(A, B), found(A, B, FAR)) == 1
    assert ap(truth(A, B), found(FAR, A, B)) == pytest.approx(2 / 3)
    # precision 1 up to half of the recall, then 2 of 3
    assert ap(truth(A, B), found(A, FAR, B)) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_an_object_is_found_once():
    assert ap(truth(A, B), found(A, A, B)) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_overlap_decides_at_how_many_thresholds_a_box_is_right():
    # 50 x 36 of 50 x 50 is an overlap of 0.72: right at 0.5, 0.55, 0.6, 0.65 and 0.7
    precision = average_precision([truth(A)], [found((0, 0, 50, 36))], 1)
    assert precision.ap == pytest.approx(0.5)
    assert (precision.ap50, precision.ap75) == (1, 0)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    there = truth(A, (150, 150, 150, 150))
    there.crowds[1] = True
    assert ap(there, found(FAR, FAR, A, scores=(0.9, 0.8, 0.7))) == 1


def test_sizes_are_told_by_the_area_and_others_are_passed_over():
    there = truth((0, 0, 20, 20), (100, 100, 60, 60))
    precision = average_precision([there], [found((0, 0, 20, 20))], 1)
    assert (precision.small, precision.medium, precision.large) == (1, 0, None)
