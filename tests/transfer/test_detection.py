"""A detector is trained by the loop that trains classifiers, and judged by average precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.training.folder import BEST
from paretovit.training.loop import TrainResult, train
from paretovit.training.progress import Tick, Watch
from paretovit.training.recipe import DEIT, RECIPES, Recipe, lr_at
from paretovit.transfer.detection import Detection, detection_score, surest
from paretovit.transfer.scenes import Scenes, open_scenes
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import load_model

STEPS = 5  # of an epoch: 20 scenes in batches of 4


class Killed(BaseException):
    """Ends a run without letting it tidy up, as kill -9 does."""


def stopping_at(step: int) -> Watch:
    def watch(tick: Tick) -> None:
        if tick.done == step:
            raise Killed

    return watch


def run(spec: ModelSpec, data: Any, recipe: Recipe, out: Path, **told: Any) -> TrainResult:
    return train(spec, data, recipe, out=out, task=Detection(), **told)


@pytest.fixture
def whole_run(tmp_path: Path, detector: ModelSpec, few_scenes: Any, short: Recipe) -> TrainResult:
    return run(detector, few_scenes, short, tmp_path / "whole")


def test_training_makes_the_loss_smaller(tmp_path: Path, detector: ModelSpec, few_scenes: Any, short: Recipe):
    losses: list[float] = []
    recipe = replace(short, epochs=12, drop_path=0.0)
    result = run(detector, few_scenes, recipe, tmp_path, progress=lambda tick: losses.append(tick.loss))
    assert sum(losses[-STEPS:]) < 0.8 * sum(losses[:STEPS])
    rows = {row.indicator: row for row in result.rows}
    assert rows["detection_loss"].value == pytest.approx(sum(losses[-STEPS:]) / STEPS)
    assert rows["images_seen"].value == 12 * 20


@pytest.mark.parametrize("step", [1, STEPS, STEPS + 3])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, whole_run: TrainResult, detector: ModelSpec, few_scenes: Any, short: Recipe, step: int
):
    with pytest.raises(Killed):
        run(detector, few_scenes, short, tmp_path / "cut", progress=stopping_at(step))
    torch.rand(100)  # whatever else the program draws in between does not matter
    resumed = run(detector, few_scenes, short, tmp_path / "cut")
    first, second = load_model(tmp_path / "cut")[1], load_model(whole_run.checkpoint)[1]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    values = [[(row.indicator, row.value) for row in result.rows if row.unit != "s"] for result in (resumed, whole_run)]
    assert values[0] == values[1]
    assert resumed.rows[0].origin.timing["curve"] == whole_run.rows[0].origin.timing["curve"]


def test_a_finished_run_gives_its_rows_again(
    whole_run: TrainResult, detector: ModelSpec, few_scenes: Any, short: Recipe
):
    again = run(detector, few_scenes, short, whole_run.checkpoint, progress=stopping_at(1))
    assert again.rows == whole_run.rows
    assert (whole_run.checkpoint / BEST).is_dir()


def test_rows_are_average_precisions_with_their_conditions(
    whole_run: TrainResult, detector: ModelSpec, few_scenes: Any
):
    rows = {row.indicator: row for row in whole_run.rows}
    assert list(rows)[:3] == ["ap", "ap50", "ap75"]
    assert {"top1", "train_loss"}.isdisjoint(rows)
    conditions = rows["ap"].conditions
    assert (conditions.data, conditions.split, conditions.recipe, conditions.seed) == (
        "pasted/digits",
        "val",
        "short",
        0,
    )
    assert conditions.spec == detector.key
    facts = rows["ap"].origin.timing
    assert facts["curve"][-1] == [2, rows["ap"].value]
    assert set(facts["by_class"]) == set(few_scenes.val.class_names)
    assert facts["by_size"]["large"] is None
    assert facts["images"] == 10
    assert rows["detection_loss"].unit == "1"


def test_what_would_not_move_the_boxes_is_refused(tmp_path: Path, detector: ModelSpec, few_scenes: Any, short: Recipe):
    with pytest.raises(
        UserError, match=r"would not go with crop=rrc of recipe deit; give --set crop=none, or a recipe"
    ):
        run(detector, few_scenes, replace(DEIT, batch_size=4), tmp_path)
    for field, value in (("crop_padding", 2), ("mixup", 0.2), ("label_smoothing", 0.1), ("teacher", "vit")):
        with pytest.raises(UserError, match=rf"boxes would not go with {field}={value} of"):
            run(detector, few_scenes, replace(short, **{field: value}), tmp_path)


def test_recipes_for_detectors_are_accepted_and_follow_the_paper(detector: ModelSpec, few_scenes: Any):
    for name in ("deformable_detr", "boxes"):
        Detection().check(detector, few_scenes.val, RECIPES[name])
    paper = RECIPES["deformable_detr"]
    rates = [lr_at(paper, epoch * 10, 10) for epoch in range(50)]
    assert rates == [2e-4] * 40 + [pytest.approx(2e-5)] * 10


def test_a_detector_of_other_classes_is_refused(tmp_path: Path, detector: ModelSpec, few_scenes: Any, short: Recipe):
    with pytest.raises(UserError, match="is for 3 classes, pasted/digits has 10"):
        run(replace(detector, num_classes=3), few_scenes, short, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, detector: ModelSpec, few_scenes: Any, short: Recipe):
    wild = replace(short, lr=1e30, clip_grad=None)
    with pytest.raises(UserError, match=r"at step \d+ \(gradients: [^\n]*try a smaller lr$"):
        run(detector, few_scenes, wild, tmp_path)


class Knowing(nn.Module):
    """Answers each image with what is in it, as sure as told, in another order; images are known by their pixels."""

    def __init__(self, scenes: Scenes, confidence: float = 5.0) -> None:
        super().__init__()
        self.scenes, self.confidence = scenes, confidence
        self.known = scenes.normalised(scenes.pixels[:])

    def forward(self, images: Tensor) -> Tensor:
        most, classes = self.scenes.labels.shape[1], self.scenes.num_classes
        answers = torch.full((len(images), most, classes + 4), -9.0)
        answers[..., -4:] = 0.5
        for row, image in enumerate(images):
            (at,) = (self.known == image).flatten(1).all(1).nonzero()[0].tolist()
            for query, box in enumerate(self.scenes.labels[at].flip(0)):
                if box[0] >= 0:
                    answers[row, query, int(box[0])] = self.confidence
                    answers[row, query, -4:] = box[1:]
        return answers


def test_a_detector_that_knows_everything_has_an_average_precision_of_one(few_scenes: Any):
    score = detection_score(Knowing(few_scenes.val), few_scenes.val, batch_size=3)
    assert (score.ap, score.ap50, score.ap75, score.quality, score.images) == (1, 1, 1, 1, 10)
    mirrored = replace(few_scenes.val, labels=few_scenes.val.mirrored(few_scenes.val.labels, torch.ones(10).bool()))
    assert detection_score(Knowing(few_scenes.val), mirrored).ap < 0.5


def test_judging_leaves_the_module_in_its_mode(detector: ModelSpec, few_scenes: Any):
    module = build(detector).train()
    first = detection_score(module, few_scenes.val)
    assert module.training
    assert detection_score(module.eval(), few_scenes.val).ap == first.ap
    assert not module.training


def test_the_surest_answers_come_with_their_class_and_box_in_pixels():
    answers = torch.full((1, 3, 2 + 4), -9.0)
    answers[0, 1] = torch.tensor([0.5, 2.0, 0.5, 0.25, 0.2, 0.1])
    (found,) = surest(answers, torch.tensor([[200, 100]]))
    assert found.classes[:2].tolist() == [1, 0]  # one answer, two classes
    for box in found.boxes[:2]:
        assert box.tolist() == pytest.approx([80, 20, 40, 10], rel=1e-5)
    assert found.scores[0] == pytest.approx(1 / (1 + 2.718281828**-2))
    assert len(found.scores) == 6


def test_of_more_than_a_hundred_answers_the_surest_hundred_count():
    (found,) = surest(torch.randn(1, 50, 5 + 4), torch.tensor([[10, 10]]))
    assert len(found.scores) == 100
    assert (found.scores[:-1] >= found.scores[1:]).all()


def test_of_made_up_images_no_average_precision_is_stated(tmp_path: Path, detector: ModelSpec, short: Recipe):
    fake = open_scenes("pasted/fake", img_size=32, in_chans=1)
    result = run(detector, fake, replace(short, epochs=1, batch_size=64), tmp_path)
    assert {row.indicator for row in result.rows} == {"images_seen", "train_time_s", "train_epoch_s"}
