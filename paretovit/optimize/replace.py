"""Layers of a trained model replaced by cheaper ones, which are trained to do what the old ones did.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", secs. 3.1 and 3.4. Which
         layers follow, and what of them is trained, see `replacement`; what they are trained on, `distil`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from paretovit.cost.count import count
from paretovit.errors import UserError
from paretovit.measurement import Measurement
from paretovit.optimize.distil import Distil, Objective, distance
from paretovit.optimize.replace_curves import curves as curves_of
from paretovit.optimize.replacement import Plan, Replacement, layers_of, replaced
from paretovit.spec import ModelSpec
from paretovit.training.data import Data, open_data
from paretovit.training.evaluate import check_fit, evaluate
from paretovit.training.loop import Begin, Execution, TrainResult, how_trained, train
from paretovit.training.progress import Watch, silent
from paretovit.training.recipe import Recipe
from paretovit.training.replacing import told
from paretovit.training.start import at_its_size, trained
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import SPEC
from paretovit.zoo.timm_vit import on_skeleton
from paretovit.zoo.timm_weights import checkpoint_filter_fn


@dataclass(frozen=True)
class Parent:
    """A trained model on the skeleton, or of timm's, and how its weights came to be, for rows."""

    spec: ModelSpec
    state: dict[str, Tensor]
    label: str
    seed: int | None = None

    @property
    def digest(self) -> str:
        """The beginning of the hash of its weights."""
        found = hashlib.sha256()
        for name in sorted(self.state):
            found.update(self.state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()[:8]


@dataclass(frozen=True)
class Replaced:
    """A replaced model that was trained, beside its parent.

    rows          what its training gave; `parent_rows` the parent's accuracy on the same images
    counts        static indicators of both
    distance      the distillation loss on the images that the accuracy is of; rows of the accuracy have it, too, as
                  `origin.timing["distillation_loss"]`
    """

    replacement: Replacement
    folder: Path
    rows: tuple[Measurement, ...]
    parent_rows: tuple[Measurement, ...]
    counts: tuple[Measurement, ...]
    distance: float

    def to_json(self) -> dict[str, Any]:
        """One document of plain JSON values."""
        rows = (*self.parent_rows, *self.rows, *self.counts)
        return {
            "model": self.replacement.spec.name,
            "parent": self.replacement.whole.name,
            "folder": str(self.folder),
            "distillation_loss": self.distance,
            "rows": [row.to_json() for row in rows],
        }


def opened(
    name: str, data: str, *, weights: str | None = None, pretrained: bool = False, img_size: int | None = None
) -> tuple[Parent, Data]:
    """The parent of a name, and data as it takes them: a checkpoint folder, a model with timm's weights (`pretrained`),
    or with those of a file in timm's format (`weights`), at its own image size or at `img_size`.

    A model of timm's is told on the skeleton where that has all that it is made of, and else stays timm's own. Raises
    `UserError` for a model without a sequence of tokens, for one without weights, and for data of other classes.
    """
    if weights is None:
        spec, module, found = trained(name, data, img_size=img_size, pretrained=pretrained)
        label, seed = how_trained(Path(name))
        label = label or "pretrained"
    else:
        if pretrained or Path(name, SPEC).is_file():
            raise UserError(f"{name} has weights of its own; leave --weights or the other out")
        found = open_data(data, img_size=resolve(name, img_size=img_size).square_px)
        val = found.val
        spec = resolve(name, img_size=img_size, in_chans=val.in_chans, num_classes=val.num_classes)
        module, label, seed = loaded(spec, Path(weights)), Path(weights).name, None
    check_fit(spec, found.val)
    if isinstance(module, Backbone):
        return Parent(spec, module.state_dict(), label, seed), found
    try:
        told, state = on_skeleton(module, spec)
    except UserError as refused:
        told, state = spec, module.state_dict()
        try:
            layers_of(told)
        except UserError:
            raise refused from None
    return Parent(told, state, label, seed), found


def loaded(spec: ModelSpec, path: Path) -> nn.Module:
    """A model with the weights of a file, .pth or .safetensors, in timm's names or ours, perhaps of another image size.

    Raises `UserError` for a file that is not there, cannot be read or does not fit.
    """
    if not path.is_file():
        raise UserError(f"no weights in {path}: there is no such file")
    module = build(spec)
    try:
        state = dict(load_state_dict(str(path), weights_only=True))
    except Exception as error:  # whatever the readers of two formats raise
        raise UserError(f"cannot read weights from {path}: {str(error).splitlines()[0]}") from error
    try:
        ours = checkpoint_filter_fn(state) if isinstance(module, Backbone) else state
        module.load_state_dict(at_its_size(ours, module))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path} does not fit {spec.name} for {spec.num_classes} classes: {reason}") from error
    return module


def in_folders(out: Path, parent: Parent, plans: Sequence[Plan]) -> dict[Path, Plan]:
    """Where the model of each plan is kept: in `out`, or of several in folders in it, named after their mixers.

    Raises `UserError` for a plan that the parent does not allow, before any of them is trained.
    """
    for plan in plans:
        build(replaced(parent.spec, plan).spec, device="meta")
    if len(plans) == 1:
        return {out: plans[0]}
    return {out / "_".join(dict.fromkeys(mixer.name for _, mixer in plan.each)): plan for plan in plans}


def replace_layers(
    parent: Parent,
    plan: Plan,
    data: Data,
    recipe: Recipe,
    *,
    out: Path,
    distil: Distil | None = None,
    resume: bool = True,
    curves: bool = False,
    device: str = "cpu",
    progress: Watch = silent,
) -> Replaced:
    """Replace layers of the parent and train what is new; the result is a checkpoint like any other in `out`.

    An interrupted call goes on where it was. With `curves` the models after each epoch are kept in `out`, too, and the
    first row of the accuracy has their losses and accuracies as `origin.timing["curves"]`; see `replace_curves`.

    Raises `UserError` as `replaced` and `train` do, and under torchrun: a model that is gone through stage by stage is
    trained by one process.
    """
    distil = distil or Distil()
    counts = count([parent.spec, replaced(parent.spec, plan).spec])  # first, for it tells what does not go together
    result, objective = train_new(
        parent,
        plan,
        data,
        recipe,
        out=out,
        distil=distil,
        resume=resume,
        keep=recipe.epochs if curves else 0,
        device=device,
        progress=progress,
    )
    whole = build(parent.spec)
    whole.load_state_dict(parent.state)
    parent_rows = evaluate(
        parent.spec, whole.to(device), data.val, recipe=parent.label, seed=parent.seed, device=device
    )
    apart = distance(result.module, objective, data.val, device=device)
    rows = [_with(row, distillation_loss=apart) if row.indicator == "top1" else row for row in result.rows]
    if curves and rows[0].indicator == "top1":
        rows[0] = _with(rows[0], curves=curves_of(out, objective, data, recipe, device=device))
    return Replaced(
        replacement=objective.replacement,
        folder=out,
        rows=tuple(rows),
        parent_rows=tuple(parent_rows),
        counts=tuple(counts),
        distance=apart,
    )


def train_new(
    parent: Parent,
    plan: Plan,
    data: Data,
    recipe: Recipe,
    *,
    out: Path,
    distil: Distil,
    resume: bool = True,
    keep: int = 0,
    device: str = "cpu",
    progress: Watch = silent,
) -> tuple[TrainResult, Objective]:
    """The training of `replace_layers` and nothing else, and what it made smaller. The models after the last `keep`
    epochs stay in folders of their own."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("layers are replaced by one process; leave torchrun out")
    if recipe.teacher:
        raise UserError("the teacher of a replaced model is its parent; leave teacher out of the recipe")
    replacement = replaced(parent.spec, plan)
    if distil.start:
        replacement.check_copies()
    objective = Objective(replacement, replacement.teacher(parent.state).to(device), distil, recipe)
    begin = Begin(
        name=told_of(parent, plan, distil),
        prepare=lambda module: replacement.prepare(module, parent.state, start=distil.start),
    )
    result = train(
        replacement.spec,
        data,
        recipe,
        out=out,
        resume=resume,
        device=device,
        begin=begin,
        objective=objective,
        execution=Execution(keep=keep),
        progress=progress,
    )
    return result, objective


def told_of(parent: Parent, plan: Plan, distil: Distil) -> str:
    """How a replaced model came to be, for rows: behind "from", in the name of its recipe."""
    return told(parent.spec.name, parent.label, parent.digest, str(plan), str(distil))


def _with(row: Measurement, **facts: Any) -> Measurement:
    return replace(row, origin=replace(row.origin, timing=row.origin.timing | facts))
