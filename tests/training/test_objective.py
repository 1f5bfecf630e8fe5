from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import nn
from torch.nn import functional as F

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part
from paretovit.training.data import Data, open_data
from paretovit.training.loop import train
from paretovit.training.objective import (
    Classification,
    Step,
    Teacher,
    label_loss,
    teacher_loss,
    teacher_of,
    token_loss,
)
from paretovit.training.recipe import DEMO, Recipe
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import save_model
from paretovit.zoo.tokens import Tokens

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])
LABELS = torch.tensor([0, 2])
SHARES = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.25, 0.75]])
CPU = torch.device("cpu")


def test_cross_entropy_is_timms_with_smoothed_and_with_shared_labels():
    smooth = replace(DEMO, label_smoothing=0.2)
    torch.testing.assert_close(label_loss(LOGITS, LABELS, smooth), LabelSmoothingCrossEntropy(0.2)(LOGITS, LABELS))
    plain = replace(DEMO, label_smoothing=0.0)
    torch.testing.assert_close(label_loss(LOGITS, SHARES, plain), SoftTargetCrossEntropy()(LOGITS, SHARES))


def test_binary_cross_entropy_counts_every_class_that_is_in_the_image():
    bce = replace(DEMO, loss="bce", label_smoothing=0.0)
    torch.testing.assert_close(label_loss(LOGITS, LABELS, bce), BinaryCrossEntropy(0.0)(LOGITS, LABELS))
    by_threshold = BinaryCrossEntropy(0.0, target_threshold=0.0)
    torch.testing.assert_close(label_loss(LOGITS, SHARES, bce), by_threshold(LOGITS, SHARES))
    smooth = replace(bce, label_smoothing=0.1)
    torch.testing.assert_close(label_loss(LOGITS, LABELS, smooth), BinaryCrossEntropy(0.1)(LOGITS, LABELS))


def test_a_teacher_is_learnt_by_its_first_choice_or_by_its_softened_probabilities():
    wanted = torch.tensor([[0.0, 3.0, 1.0], [1.0, 0.0, 2.0]])
    hard = teacher_loss(LOGITS, wanted, replace(DEMO, distill="hard"))
    torch.testing.assert_close(hard, F.cross_entropy(LOGITS, torch.tensor([1, 2])))
    soft = teacher_loss(LOGITS, wanted, replace(DEMO, distill="soft", distill_tau=3.0))
    by_hand = 0.0
    for student, teacher in zip(LOGITS.tolist(), wanted.tolist(), strict=True):
        q = [math.exp(v / 3) / sum(math.exp(w / 3) for w in student) for v in student]
        p = [math.exp(v / 3) / sum(math.exp(w / 3) for w in teacher) for v in teacher]
        by_hand += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) * 9 / 2
    assert float(soft) == pytest.approx(by_hand, rel=1e-5)


def test_the_weight_of_the_teacher_is_shared_with_the_labels():
    class Fixed(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return LOGITS

    recipe = replace(DEMO, teacher="somebody", distill="hard", distill_alpha=0.25, aux_weights=())
    student, teacher = Fixed(), Teacher(Fixed(), 4)
    total, shown = Classification(recipe, teacher)(Step(student, student, torch.zeros(2, 1, 4, 4), LABELS))
    labels = label_loss(LOGITS, LABELS, recipe)
    torch.testing.assert_close(shown, labels)
    torch.testing.assert_close(total, 0.75 * labels + 0.25 * teacher_loss(LOGITS, LOGITS, recipe))


def test_a_distillation_token_learns_from_the_teacher_and_the_class_token_from_the_labels():
    module = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, patch_size=16, num_classes=3, depth=2)
    module.set_distilled_training(True)
    teacher = Teacher(timm.create_model("resnet10t", num_classes=3), 64)  # images are brought to its size
    recipe = replace(DEMO, teacher="cnn", distill="hard", distill_alpha=1.0, aux_weights=())
    total, _ = Classification(recipe, teacher)(Step(module.train(), module, torch.rand(2, 3, 32, 32), LABELS))
    total.backward()
    assert module.head_dist.weight.grad.abs().sum() > 0
    assert module.head.weight.grad is None or module.head.weight.grad.abs().sum() == 0
    assert all(parameter.grad is None for parameter in teacher.module.parameters())


def test_tokens_are_matched_where_they_are_alive():
    ours, theirs = torch.zeros(1, 3, 2), torch.tensor([[[9.0, 9.0], [1.0, 3.0], [2.0, 2.0]]])
    # the class token is left out; (1 + 9) / 2 = 5 and (4 + 4) / 2 = 4
    assert token_loss(Tokens(ours, prefix=1), Tokens(theirs, prefix=1)) == 4.5
    alive = torch.tensor([[1.0, 0.0, 1.0]])
    assert token_loss(Tokens(ours, prefix=1, alive=alive), Tokens(theirs, prefix=1)) == 4.0
    with pytest.raises(UserError, match="the same patches and width"):
        token_loss(Tokens(ours[:, :2], prefix=1), Tokens(theirs, prefix=1))


def test_a_model_that_drops_tokens_learns_its_teachers_tokens(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    taught = train(small_spec, few_digits, short, out=tmp_path / "teacher")
    stage = replace(small_spec.stages[0], sequence=Part.of("dynamic_vit", blocks=(1,)))
    student = replace(small_spec, stages=(stage,), name="student")
    told = {"teacher": str(taught.checkpoint), "distill_tokens": 0.5, "epochs": 1}
    with_tokens = train(student, few_digits, replace(short, **told), out=tmp_path / "with")
    without = train(student, few_digits, replace(short, **(told | {"distill_tokens": 0.0})), out=tmp_path / "without")
    one, other = (list(result.module.parameters()) for result in (with_tokens, without))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_student_learns_from_a_checkpoint_what_its_labels_do_not_say(
    tmp_path: Path, small_spec: ModelSpec, short: Recipe
):
    data, recipe = open_data("digits"), replace(short, epochs=6, drop_path=0.0, crop_padding=0)
    teacher = train(small_spec, data, recipe, out=tmp_path / "teacher")
    lone = replace(recipe, teacher=str(teacher.checkpoint), distill_alpha=1.0)  # the labels have no weight
    student = train(replace(small_spec, name="student"), data, lone, out=tmp_path / "student")
    assert next(row.value for row in student.rows if row.indicator == "top1") > 0.5  # chance is 0.1


def test_a_teacher_of_other_classes_or_without_weights_is_refused(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    save_model(tmp_path / "other", replace(small_spec, num_classes=7), build(replace(small_spec, num_classes=7)))
    with pytest.raises(UserError, match="knows 7 classes of 1-channel images, the data have 10 of 1"):
        teacher_of(replace(short, teacher=str(tmp_path / "other")), in_chans=1, num_classes=10, device=CPU)
    with pytest.raises(UserError, match="no pretrained weights are known"):
        teacher_of(replace(short, teacher="vit_pico_patch2_8"), in_chans=3, num_classes=1000, device=CPU)
    with pytest.raises(UserError, match="distill_tokens must be 0 or more, and 0 without a teacher"):
        replace(short, distill_tokens=1.0)
