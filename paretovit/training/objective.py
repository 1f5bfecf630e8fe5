"""What a training step makes smaller: the loss on the labels, the model's auxiliary losses, a teacher's answers.

An objective is called with a `Step` and gives two numbers: the one to minimise, and the one that is shown as the
training loss. Whoever needs another one (features to be matched, say) writes a function of this kind and gives it to
`train`; what the model left on its way is reached from `step.module`.

Shapes   B images, K classes, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paretovit.errors import UserError
from paretovit.training.augment import resized
from paretovit.training.recipe import Recipe
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import SPEC
from paretovit.zoo.timm_vit import on_skeleton
from paretovit.zoo.tokens import Tokens


@dataclass(frozen=True)
class Step:
    """One batch, or the part of it that is worked on at once.

    module    the model itself, to look into
    forward   the model to call: compiled, spread over processes and in mixed precision where the run is
    pixels    (B, C, H, W), normalised
    targets   labels (B,), or shares of the classes (B, K)
    done      share of the run's steps that were done before this one
    """

    module: nn.Module
    forward: Callable[[Tensor], Any]
    pixels: Tensor
    targets: Tensor
    done: float = 0.0


Objective = Callable[[Step], tuple[Tensor, Tensor]]


class Teacher:
    """A trained model that is asked and never changed. Images are brought to the size that it takes."""

    def __init__(self, module: nn.Module, image_px: int) -> None:
        self.module, self.image_px = module.eval().requires_grad_(False), image_px

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.module(resized(pixels, self.image_px)).float()


def teacher_of(recipe: Recipe, *, in_chans: int, num_classes: int, device: torch.device) -> Teacher | None:
    """The teacher that a recipe names: a checkpoint folder, or a model with timm's weights; None if it names none.

    Raises `UserError` for a teacher of other classes or channels, for one without weights, and with `distill_tokens`
    for one whose tokens cannot be told on the skeleton.
    """
    if not recipe.teacher:
        return None
    spec = resolve(recipe.teacher)
    if (spec.in_chans, spec.num_classes) != (in_chans, num_classes):
        raise UserError(
            f"the teacher {recipe.teacher} knows {spec.num_classes} classes of {spec.in_chans}-channel images, the "
            f"data have {num_classes} of {in_chans}; train one on these data first"
        )
    module = build(recipe.teacher, pretrained=not Path(recipe.teacher, SPEC).is_file())
    if recipe.distill_tokens and not isinstance(module, Backbone):
        told, weights = on_skeleton(module, spec)
        module = Backbone(told)
        module.load_state_dict(weights)
    return Teacher(module.to(device), spec.square_px)


class Classification:
    """The recipe's loss on the labels, what it weighs of the model's auxiliary losses, and its teacher.

    A model with a distillation token (timm's `deit_*_distilled_*`) has that token learn from the teacher and its class
    token from the labels; of others the same logits do both (Touvron et al. 2020, eqs. 2 and 3).
    """

    def __init__(self, recipe: Recipe, teacher: Teacher | None = None) -> None:
        self.recipe, self.teacher = recipe, teacher

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        with _last_tokens(step.module, wanted=bool(recipe.distill_tokens)) as students:
            answer = step.forward(step.pixels)
        logits, distilled = answer if isinstance(answer, tuple) else (answer, answer)
        loss = label_loss(logits.float(), step.targets, recipe)
        total = loss
        if self.teacher is not None:
            with _last_tokens(self.teacher.module, wanted=bool(recipe.distill_tokens)) as teachers:
                wanted = self.teacher(step.pixels)
            told = teacher_loss(distilled.float(), wanted, recipe)
            total = (1 - recipe.distill_alpha) * loss + recipe.distill_alpha * told
            if recipe.distill_tokens:
                total = total + recipe.distill_tokens * token_loss(students[-1], teachers[-1])
        return total + auxiliary(step.module, recipe), loss


def label_loss(logits_BK: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy, or with `loss=bce` a binary one per class, where every class in the image counts in full, as in
    DeiT III; its labels are smoothed as timm smooths them."""
    smoothing = recipe.label_smoothing
    if recipe.loss == "ce":
        return F.cross_entropy(logits_BK, targets, label_smoothing=smoothing)
    num_classes = logits_BK.shape[1]
    shares = targets if targets.ndim == 2 else F.one_hot(targets, num_classes)
    there = (shares > 0).to(logits_BK.dtype)
    return F.binary_cross_entropy_with_logits(logits_BK, there * (1 - smoothing) + smoothing / num_classes)


def teacher_loss(logits_BK: Tensor, wanted_BK: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy with the teacher's first choice, or the divergence between softened probabilities, times the
    temperature squared (Hinton et al. 2015; Touvron et al. 2020, eqs. 2 and 3)."""
    if recipe.distill == "hard":
        return F.cross_entropy(logits_BK, wanted_BK.argmax(1))
    tau = recipe.distill_tau
    student, teacher = (logits / tau for logits in (logits_BK, wanted_BK))
    return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True) * tau**2


def token_loss(student: Tokens, teacher: Tokens) -> Tensor:
    """Mean squared difference of the tokens after the last block, over the patches that the student kept (Rao et al.
    2021, "DynamicViT", "Training and Inference"; the authors' code norms both first). Raises `UserError` where the two
    have other tokens."""
    theirs, ours = (tokens.x[:, tokens.prefix :].float() for tokens in (teacher, student))
    if theirs.shape != ours.shape:
        raise UserError(
            f"distill_tokens matches tokens one by one, and the teacher's are {tuple(theirs.shape[1:])}, the student's "
            f"{tuple(ours.shape[1:])}; take a teacher with the same patches and width"
        )
    difference_BN = (ours - theirs).square().mean(-1)
    if student.alive is None:
        return difference_BN.mean()
    # given, as in the authors' code: else the loss would fall by dropping what is hard to match
    alive_BN = student.alive[:, student.prefix :].detach()
    return (difference_BN * alive_BN).sum() / alive_BN.sum().clamp(min=1)


def auxiliary(module: nn.Module, recipe: Recipe) -> Tensor | float:
    """The auxiliary losses of the last forward that the recipe weighs; a model without them has none to add."""
    aux: dict[str, Tensor] = getattr(module, "aux", {})
    return sum((weight * aux[name] for name, weight in recipe.aux_weights if name in aux), start=0.0)


@contextmanager
def _last_tokens(module: nn.Module, *, wanted: bool) -> Iterator[list[Tokens]]:
    """The tokens that reach the read-out of a model on the skeleton during the calls inside."""
    seen: list[Tokens] = []
    if not wanted:
        yield seen
        return
    readout = getattr(module, "readout", None)
    if not isinstance(readout, nn.Module):
        raise UserError("distill_tokens needs a student and a teacher on the skeleton, whose tokens can be read")
    handle = readout.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        yield seen
    finally:
        handle.remove()
