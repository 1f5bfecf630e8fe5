"""The sum that DynamicViT is trained with (Rao et al. 2021), worked out image by image and token by token."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.training import objective
from paretovit.training.objective import Classification, Step, Teacher, teacher_of, token_loss
from paretovit.training.recipe import Recipe
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.tokens import Tokens

KEEP, BLOCKS, CLASSES = 0.7, (1, 2), 5
LABELS = torch.tensor([0, 3, 1])


def models() -> tuple[Backbone, Backbone]:
    """A student that drops some of 16 patches in two of its three blocks, and a teacher that keeps all."""
    torch.manual_seed(0)
    plain = Stage(depth=3, dim=16, heads=2)
    dropping = replace(plain, sequence=Part.of("dynamic_vit", keep=KEEP, blocks=BLOCKS))
    sizes: dict[str, Any] = {"image_px": 8, "patch_px": 2, "in_chans": 1, "num_classes": CLASSES}
    student, teacher = (
        Backbone(ModelSpec(name=name, stages=(stage,), **sizes))
        for name, stage in (("student", dropping), ("teacher", plain))
    )
    for module in (student, teacher):
        for value in module.parameters():
            value.data += 0.2 * torch.randn_like(value)
    return student.train(), teacher.eval()


def watched(module: nn.Module) -> list[Tokens]:
    """What the module gives from now on."""
    seen: list[Tokens] = []
    module.register_forward_hook(lambda _, inputs, output: seen.append(output))
    return seen


def softmax(logits: Tensor) -> list[float]:
    weights = [math.exp(value) for value in logits.tolist()]
    return [weight / sum(weights) for weight in weights]


def test_up_to_a_factor_the_recipe_can_be_the_sum_of_the_paper():
    student, teacher = models()
    recipe = Recipe(
        name="dynamic",
        epochs=1,
        batch_size=3,
        lr=1e-3,
        teacher="teacher",
        distill_alpha=1 / 3,
        distill_tokens=1 / 3,
        aux_weights=(("dynamic_vit_ratio", 4 / 3),),
    )
    ours, theirs, logits = watched(student.stages[0][-1]), watched(teacher.stages[0][-1]), watched(student)
    decided = [watched(student.stages[0][block].sequence) for block in BLOCKS]
    pixels = torch.randn(3, 1, 8, 8)
    total, shown = Classification(recipe, Teacher(teacher, 8))(Step(student, student, pixels, LABELS))

    answers, wanted = [softmax(row) for row in logits[0]], [softmax(row) for row in teacher(pixels)]
    labels = sum(-math.log(row[label]) for row, label in zip(answers, LABELS.tolist(), strict=True)) / 3
    divergence = sum(
        p * math.log(p / q) for row, goal in zip(answers, wanted, strict=True) for q, p in zip(row, goal, strict=True)
    )
    alive = ours[0].alive[:, 1:]
    assert 0 < alive.sum() < alive.numel()
    kept = [(image, patch) for image in range(3) for patch in range(16) if alive[image, patch] == 1]
    squares = [(ours[0].x[i, 1 + p] - theirs[0].x[i, 1 + p]).square().mean().item() for i, p in kept]
    ratio = 0.0
    for step, tokens in enumerate(decided):
        shares = [sum(row[1:].tolist()) / 16 for row in tokens[0].alive]
        ratio += sum((KEEP ** (step + 1) - share) ** 2 for share in shares) / 3 / len(BLOCKS)
    paper = labels + 0.5 * divergence / 3 + 0.5 * sum(squares) / len(squares) + 2 * ratio
    assert shown.item() == pytest.approx(labels, rel=1e-5)
    assert total.item() == pytest.approx(paper * 2 / 3, rel=1e-5)
    # each of the four is heard in that
    assert min(labels, divergence, sum(squares), ratio) > 1e-3 * paper


def test_the_loss_on_tokens_has_no_say_in_which_are_dropped():
    alive = torch.tensor([[1.0, 1.0, 0.0]], requires_grad=True)
    mine = torch.randn(1, 3, 4, requires_grad=True)
    token_loss(Tokens(mine, prefix=1, alive=alive), Tokens(torch.randn(1, 3, 4), prefix=1)).backward()
    assert alive.grad is None
    assert (mine.grad.abs().sum(-1) > 0).tolist() == [[False, True, False]]


def test_the_tokens_of_a_timm_model_can_teach(monkeypatch: pytest.MonkeyPatch, short: Recipe):
    name = "deit_tiny_patch16_224"
    timms = timm.create_model(name, depth=2).eval()
    monkeypatch.setattr(objective, "build", lambda *_, **__: timms)  # no weights are fetched
    recipe = replace(short, teacher=name, distill_tokens=0.5)
    teacher = teacher_of(recipe, in_chans=3, num_classes=1000, device=torch.device("cpu"))
    seen, pixels = watched(teacher.module.stages[0][-1]), torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(teacher(pixels), timms(pixels).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(teacher.module.norm(seen[0].x), timms.forward_features(pixels), rtol=1e-4, atol=1e-5)
    resnet = timm.create_model("resnet10t")
    monkeypatch.setattr(objective, "build", lambda *_, **__: resnet)
    with pytest.raises(UserError, match="no sequence of tokens"):
        teacher_of(replace(recipe, teacher="resnet10t"), in_chans=3, num_classes=1000, device=torch.device("cpu"))
    assert (
        teacher_of(
            replace(recipe, teacher="resnet10t", distill_tokens=0.0),
            in_chans=3,
            num_classes=1000,
            device=torch.device("cpu"),
        ).module
        is resnet
    )
