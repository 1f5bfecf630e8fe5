"""Layers of a trained model replaced by cheaper ones, which are trained to do what the old ones did.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", secs. 3.1 and 3.4.
Differs  Which layers follow, and what of them is trained, see `replacement`. All that is frozen is in evaluation mode
         in front of the first new stage: dropout there would only blur what the new stage is given.
Shapes   B images, N tokens, D width, K classes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from paretovit.cost.count import count
from paretovit.errors import UserError
from paretovit.measurement import Measurement
from paretovit.optimize.replacement import Plan, Replacement, Staged, layers_of, replaced
from paretovit.spec import ModelSpec
from paretovit.training.augment import changes_images
from paretovit.training.data import Data, Images, open_data
from paretovit.training.distillation_losses import Loss, kl, named_loss
from paretovit.training.evaluate import check_fit, evaluate
from paretovit.training.loop import Begin, TrainResult, how_trained, train
from paretovit.training.objective import Step, auxiliary, label_loss
from paretovit.training.progress import Watch, silent
from paretovit.training.recipe import Recipe
from paretovit.training.start import trained
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import SPEC
from paretovit.zoo.timm_vit import on_skeleton
from paretovit.zoo.timm_weights import checkpoint_filter_fn
from paretovit.zoo.tokens import Grid, Tokens

SCHEDULES = ("constant", "linear")


@dataclass(frozen=True, kw_only=True)
class Distil:
    """What a new stage is trained on, beside what the recipe says. Raises `UserError` for a value out of range.

    alpha        weight of the distillation; the labels have the rest (0.35 in sec. 3.5.1)
    loss         a name in `training/distillation_losses.py`
    match        "stage": what leaves each new stage; "logits": what the model says, by its divergence at temperature
                 `tau`, and `loss` is not used
    schedule     "constant", or "linear" for an alpha that falls to 0 at the end of the training
    random       share of the images that the distillation sees that are noise, normal in each value; the labels'
                 loss is on the data alone (sec. 3.4.2, "Random Dataset")
    start        how far from new weights to the parent's, 0 to 1, a stage begins that is a copy of the parent's: the
                 self-distillation of sec. 3.5.3
    cache_bytes  memory for what the frozen layers make of images that come again unchanged; 0 for none
    """

    alpha: float = 0.35
    loss: str = "mean_mse"
    match: Literal["stage", "logits"] = "stage"
    tau: float = 1.0
    schedule: str = "constant"
    random: float = 0.0
    start: float = 0.0
    cache_bytes: int = 2**30

    def __post_init__(self) -> None:
        named_loss(self.loss)
        for name, fine, bounds in (
            ("alpha", 0 <= self.alpha <= 1, "from 0 to 1"),
            ("match", self.match in ("stage", "logits"), "stage or logits"),
            ("tau", 0 < self.tau < float("inf"), "above 0"),
            ("schedule", self.schedule in SCHEDULES, " or ".join(SCHEDULES)),
            ("random", 0 <= self.random <= 1, "from 0 to 1"),
            ("start", 0 <= self.start <= 1, "from 0 to 1"),
            ("cache_bytes", self.cache_bytes >= 0, "0 or more"),
        ):
            if not fine:
                raise UserError(f"distillation: {name} must be {bounds}, got {getattr(self, name)}")

    def __str__(self) -> str:
        """In words, for rows; where the memory goes changes no result."""
        what = self.loss if self.match == "stage" else f"logits at temperature {self.tau:g}"
        falls = ", falling to 0" if self.schedule == "linear" else ""
        noise = f", {self.random:.0%} noise" if self.random else ""
        start = f", begun {self.start:g} of the way to the parent" if self.start else ""
        return f"alpha {self.alpha:g}{falls} of {what}{noise}{start}"


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


def opened(name: str, data: str, *, weights: str | None = None, pretrained: bool = False) -> tuple[Parent, Data]:
    """The parent of a name, and data as it takes them: a checkpoint folder, a model with timm's weights (`pretrained`),
    or with those of a file in timm's format (`weights`).

    A model of timm's is told on the skeleton where that has all that it is made of, and else stays timm's own. Raises
    `UserError` for a model without a sequence of tokens, for one without weights, and for data of other classes.
    """
    if weights is None:
        spec, module, found = trained(name, data, pretrained=pretrained)
        label, seed = how_trained(Path(name))
        label = label or "pretrained"
    else:
        if pretrained or Path(name, SPEC).is_file():
            raise UserError(f"{name} has weights of its own; leave --weights or the other out")
        own = resolve(name)
        found = open_data(data, img_size=own.square_px)
        spec = resolve(name, in_chans=found.val.in_chans, num_classes=found.val.num_classes)
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
    """A model with the weights of a file, .pth or .safetensors, in timm's names or ours.

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
        module.load_state_dict(checkpoint_filter_fn(state) if isinstance(module, Backbone) else state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path} does not fit {spec.name} for {spec.num_classes} classes: {reason}") from error
    return module


def replace_layers(
    parent: Parent,
    plan: Plan,
    data: Data,
    recipe: Recipe,
    *,
    out: Path,
    distil: Distil | None = None,
    resume: bool = True,
    device: str = "cpu",
    progress: Watch = silent,
) -> Replaced:
    """Replace layers of the parent and train what is new; the result is a checkpoint like any other in `out`.

    An interrupted call goes on where it was. Raises `UserError` as `replaced` and `train` do, and under torchrun: a
    model that is gone through stage by stage is trained by one process.
    """
    distil = distil or Distil()
    counts = count([parent.spec, replaced(parent.spec, plan).spec])  # first, for it tells what does not go together
    result, objective = train_new(
        parent, plan, data, recipe, out=out, distil=distil, resume=resume, device=device, progress=progress
    )
    whole = build(parent.spec)
    whole.load_state_dict(parent.state)
    parent_rows = evaluate(
        parent.spec, whole.to(device), data.val, recipe=parent.label, seed=parent.seed, device=device
    )
    apart = distance(result.module, objective, data.val, device=device)
    return Replaced(
        replacement=objective.replacement,
        folder=out,
        rows=tuple(_with_distance(row, apart) for row in result.rows),
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
    device: str = "cpu",
    progress: Watch = silent,
) -> tuple[TrainResult, Objective]:
    """The training of `replace_layers` and nothing else, and what it made smaller."""
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
        progress=progress,
    )
    return result, objective


def told_of(parent: Parent, plan: Plan, distil: Distil) -> str:
    """How a replaced model came to be, for rows: behind "from", in the name of its recipe."""
    return f"{parent.spec.name} ({parent.label}, {parent.digest}) with {plan}, {distil}"


@torch.no_grad()
def distance(module: nn.Module, objective: Objective, images: Images, *, device: str = "cpu") -> float:
    """The mean distillation loss of a model in evaluation mode on a split, whatever it was trained on."""
    total, was_training = 0.0, module.training
    module.eval()
    for index in torch.arange(len(images)).split(64):
        pixels = images.normalised(images.pixels[index].to(device))
        theirs = objective.told(pixels, keep=False, matched=True)
        ours = objective.said(objective.staged(module), theirs.entering)
        total += float(objective.apart(ours, theirs)) * len(index)
    module.train(was_training)
    return total / len(images)


@dataclass(frozen=True)
class Told:
    """What the teacher makes of a batch: the tokens (B, N, D) in front of the first new stage, and what is matched of
    those behind each new stage and of its logits (B, K); and what a student makes of the same tokens. `logits` is None
    where nobody asked for them."""

    entering: Tokens
    stages: tuple[Tensor, ...] = ()
    logits: Tensor | None = None


@dataclass
class _Cache:
    """What the teacher told of images, by the bytes of the image, until the memory is used up."""

    most: int
    used: int = 0
    known: dict[bytes, list[Tensor]] = field(default_factory=dict)

    def get(self, keys: Sequence[bytes]) -> list[Tensor] | None:
        """The tensors of a batch, if all of its images are known."""
        if not all(key in self.known for key in keys):
            return None
        return [torch.stack(parts) for parts in zip(*(self.known[key] for key in keys), strict=True)]

    def put(self, keys: Sequence[bytes], tensors: Sequence[Tensor]) -> None:
        for at, key in enumerate(keys):
            size = sum(tensor[at].nbytes for tensor in tensors)
            if key not in self.known and self.used + size <= self.most:
                self.known[key] = [tensor[at].clone() for tensor in tensors]
                self.used += size


class Objective:
    """alpha x distillation + (1 - alpha) x the recipe's loss on the labels (sec. 3.4.3 and fig. 3.7).

    In front of the first new stage, student and teacher are the same and frozen: the teacher works that out for both,
    and once per image where images come again unchanged. The other layers are gone through one stage at a time.
    """

    def __init__(self, replacement: Replacement, teacher: nn.Module, distil: Distil, recipe: Recipe) -> None:
        self.replacement, self.distil, self.recipe = replacement, distil, recipe
        self.teacher = replacement.staged(teacher)
        self.student: tuple[nn.Module, Staged] | None = None  # the last one that was asked for
        self.first = replacement.stages[0]
        self.loss: Loss = named_loss(distil.loss)
        self.of_logits = distil.match == "logits"
        self.cache = _Cache(0 if _changes(recipe) else distil.cache_bytes)
        self.lie: tuple[Grid | None, int] | None = None  # how kept tokens lie, the same for all images

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        module, alpha = self.staged(step.module), self.alpha(step.done)
        _settle(step.module)
        with self._autocast(step.pixels):
            theirs = self.told(step.pixels)
            ours = self.said(module, theirs.entering)
        assert ours.logits is not None
        loss = label_loss(ours.logits.float(), step.targets, self.recipe)
        added = auxiliary(step.module, self.recipe)
        if not alpha:
            return loss + added, loss
        noisy = round(self.distil.random * len(step.pixels))
        if noisy:
            with self._autocast(step.pixels):
                told = self.told(torch.randn_like(step.pixels[:noisy]), keep=False)
                said = self.said(module, told.entering)
            theirs, ours = _joined(told, theirs, noisy), _joined(said, ours, noisy)
        apart = self.apart(ours, theirs)
        return alpha * apart + (1 - alpha) * loss + added, loss

    def staged(self, module: nn.Module) -> Staged:
        """A student, to be gone through stage by stage."""
        if self.student is None or self.student[0] is not module:
            self.student = module, self.replacement.staged(module)
        return self.student[1]

    def alpha(self, done: float) -> float:
        """The weight of the distillation when that share of the training is done."""
        return self.distil.alpha * (1 - done if self.distil.schedule == "linear" else 1)

    @torch.no_grad()
    def told(self, pixels: Tensor, *, keep: bool = True, matched: bool | None = None) -> Told:
        """What the teacher makes of images (B, C, H, W), as far as it is `matched`: not at all where the labels alone
        are learnt, and not behind the last new stage where the logits are not asked for."""
        matched = self.distil.alpha > 0 if matched is None else matched
        keys = [_key(image) for image in pixels] if keep and self.cache.most else []
        kept = self.cache.get(keys) if keys else None
        if kept is not None and self.lie is not None:
            tokens, rest = Tokens(kept[0], *self.lie), tuple(kept[1:])
            return Told(tokens, logits=rest[0]) if rest and self.of_logits else Told(tokens, rest)
        tokens = self.teacher.through(self.teacher.enter(pixels), 0, self.first - 1)
        found, self.lie = Told(tokens), (tokens.grid, tokens.prefix)
        if matched and self.of_logits:
            found = Told(tokens, logits=self.said(self.teacher, tokens).logits)
        elif matched:
            found = self.said(self.teacher, tokens, last=self.replacement.stages[-1])
        if keys:
            self.cache.put(keys, [tokens.x, *found.stages, *([] if found.logits is None else [found.logits])])
        return found

    def said(self, module: Staged, entering: Tokens, *, last: int | None = None) -> Told:
        """What a model makes of the tokens in front of the first new stage, up to stage `last`, or to its logits."""
        tokens, stages = entering, []
        for stage in range(self.first, len(module.stages) if last is None else last + 1):
            tokens = module.through(tokens, stage, stage)
            if stage in self.replacement.stages:
                stages.append(tokens.x)
        return Told(entering, tuple(stages), module.read(tokens) if last is None else None)

    def apart(self, ours: Told, theirs: Told) -> Tensor:
        """The distillation loss, averaged over the stages that are matched."""
        if self.of_logits:
            assert ours.logits is not None
            assert theirs.logits is not None
            return kl(ours.logits.float(), theirs.logits.float(), tau=self.distil.tau)
        losses = [self.loss(a.float(), b.float()) for a, b in zip(ours.stages, theirs.stages, strict=True)]
        return torch.stack(losses).mean()

    def _autocast(self, pixels: Tensor) -> AbstractContextManager[Any]:
        dtype = self.recipe.amp_dtype
        return torch.autocast(pixels.device.type, getattr(torch, dtype), enabled=dtype != "float32")


def _with_distance(row: Measurement, apart: float) -> Measurement:
    if row.indicator != "top1":
        return row
    return replace(row, origin=replace(row.origin, timing=row.origin.timing | {"distillation_loss": apart}))


def _changes(recipe: Recipe) -> bool:
    """Whether an image seldom comes again as it was; one that is only mirrored comes in two ways."""
    return changes_images(recipe) or bool(recipe.crop_padding or recipe.erasing or recipe.mixup or recipe.cutmix)


def _settle(module: nn.Module) -> None:
    """Norms with running statistics that are frozen must not follow the batches."""
    for part in module.modules():
        if getattr(part, "running_mean", None) is not None and not any(p.requires_grad for p in part.parameters()):
            part.eval()


def _joined(noise: Told, rest: Told, count: int) -> Told:
    """Features of noise in place of those of the first `count` images."""
    stages = tuple(torch.cat((a, b[count:])) for a, b in zip(noise.stages, rest.stages, strict=True))
    logits = None
    if noise.logits is not None and rest.logits is not None:
        logits = torch.cat((noise.logits, rest.logits[count:]))
    return Told(rest.entering, stages, logits)


def _key(image: Tensor) -> bytes:
    return hashlib.blake2b(image.detach().cpu().contiguous().numpy().tobytes(), digest_size=16).digest()
