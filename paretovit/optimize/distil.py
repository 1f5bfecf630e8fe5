"""What new stages are trained on: what the parent makes of the same images, at a stage or in the logits, and labels.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", sec. 3.4.
Differs  All that is frozen is in evaluation mode in front of the first new stage: dropout there would only blur what
         the new stage is given.
Shapes   B images, N tokens, D width, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.optimize.replacement import Replacement, Staged
from paretovit.training.augment import changes_images
from paretovit.training.data import Images, open_data
from paretovit.training.distillation_losses import Loss, kl, named_loss
from paretovit.training.objective import Step, auxiliary, label_loss
from paretovit.training.recipe import Recipe
from paretovit.zoo.tokens import Grid, Tokens

SCHEDULES = ("constant", "linear")


@dataclass(frozen=True)
class OtherSet:
    """Images for the distillation alone, which are drawn with replacement and not augmented; their labels are not
    looked at. `share` is how many of the images that the distillation sees are theirs."""

    images: Images
    share: float

    def __str__(self) -> str:
        return f"{100 * self.share:.3g}% of {self.images.name} ({len(self.images)} images)"


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
    sets         other sets that the distillation sees, beside noise and the data (sec. 3.4.2, "Ensemble of Multiple
                 Datasets"); what shares they and the noise leave is the data's
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
    sets: tuple[OtherSet, ...] = ()
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
        shares = [one.share for one in self.sets]
        if any(not share > 0 for share in shares) or self.random + sum(shares) > 1 + 1e-9:
            found = " and ".join([*map(str, self.sets), f"{self.random:.0%} noise"])
            raise UserError(
                f"distillation: shares of other sets must be above 0, and with noise at most 1 together, got {found}"
            )

    def with_sets(self, names: Sequence[str], like: Images) -> Distil:
        """The same on other sets, too: the images to train on of each of `names`, such as "hfds/PATH" or, with its
        share, "hfds/PATH=0.3", brought to the size, the channels and the means of `like`.

        Sets without a share have equal ones, and leave as much to the data. Raises `UserError` for a share that cannot
        be read, for shares that leave nothing, and for what `open_data` refuses.
        """
        told = [_with_share(text) for text in names]
        left = 1 - self.random - sum(share for _, share in told if share is not None)
        equal = left / (1 + sum(share is None for _, share in told))
        sets = []
        for name, share in told:
            found = open_data(name, img_size=like.image_px, in_chans=like.in_chans).train
            found = replace(found, mean=like.mean, std=like.std)
            sets.append(OtherSet(found, equal if share is None else share))
        return replace(self, sets=tuple(sets))

    def __str__(self) -> str:
        """In words, for rows; where the memory goes changes no result."""
        what = self.loss if self.match == "stage" else f"logits at temperature {self.tau:g}"
        falls = ", falling to 0" if self.schedule == "linear" else ""
        others = [f"{self.random:.0%} noise"] if self.random else []
        images = "".join(f", {other}" for other in [*others, *map(str, self.sets)])
        start = f", begun {self.start:g} of the way to the parent" if self.start else ""
        return f"alpha {self.alpha:g}{falls} of {what}{images}{start}"


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
        with self._autocast(step.pixels):
            told = [self.told(pixels, keep=again) for pixels, again in self._unlabelled(step.pixels)]
            said = [self.said(module, one.entering) for one in told]
        apart = self.apart(_joined(said, ours), _joined(told, theirs))
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

    def _unlabelled(self, pixels: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Images for the distillation alone, in place of as many of `pixels`, and whether they come again.

        What is drawn comes from torch's global generator, whose state is part of a run's.
        """
        shares = accumulate((self.distil.random, *(one.share for one in self.distil.sets)), initial=0.0)
        counts = [b - a for a, b in pairwise(round(share * len(pixels)) for share in shares)]
        if counts[0]:
            yield torch.randn_like(pixels[: counts[0]]), False
        for one, count in zip(self.distil.sets, counts[1:], strict=True):
            if count:
                drawn = one.images.pixels[torch.randint(len(one.images), (count,))]
                yield one.images.normalised(drawn.to(pixels.device)), True

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


def _changes(recipe: Recipe) -> bool:
    """Whether an image seldom comes again as it was; one that is only mirrored comes in two ways."""
    return changes_images(recipe) or bool(recipe.crop_padding or recipe.erasing or recipe.mixup or recipe.cutmix)


def _settle(module: nn.Module) -> None:
    """Norms with running statistics that are frozen must not follow the batches."""
    for part in module.modules():
        if getattr(part, "running_mean", None) is not None and not any(p.requires_grad for p in part.parameters()):
            part.eval()


def _joined(others: Sequence[Told], rest: Told) -> Told:
    """Features of other images in place of those of as many of the first ones."""
    if not others:
        return rest
    count = sum(len(one.entering.x) for one in others)
    stages = tuple(
        torch.cat((*behind, own[count:]))
        for *behind, own in zip(*(one.stages for one in others), rest.stages, strict=True)
    )
    logits = [one.logits for one in others if one.logits is not None]
    if rest.logits is None or len(logits) < len(others):
        return Told(rest.entering, stages)
    return Told(rest.entering, stages, torch.cat((*logits, rest.logits[count:])))


def _key(image: Tensor) -> bytes:
    return hashlib.blake2b(image.detach().cpu().contiguous().numpy().tobytes(), digest_size=16).digest()


def _with_share(text: str) -> tuple[str, float | None]:
    """The name and the share in "hfds/PATH=0.3"; None where it has none."""
    name, equals, share = text.rpartition("=")
    if not equals:
        return text, None
    try:
        return name, float(share)
    except ValueError:
        raise UserError(f"cannot read the share in {text!r}; write it like hfds/PATH=0.3, or leave it out") from None
