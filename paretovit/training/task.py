"""What is learnt: by which objective, judged how, and which rows come of it.

The loop knows none of this. To recognise classes is the task that it has by default; whoever has another one (to find
objects, say) writes a `Task` and brings `Examples` with targets of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from paretovit.measurement import Measurement, Origin
from paretovit.spec import ModelSpec
from paretovit.training.data import Examples, Images
from paretovit.training.evaluate import Score, check_fit, score
from paretovit.training.objective import Classification, Objective, teacher_of
from paretovit.training.recipe import Recipe
from paretovit.training.rows import Judged, accuracy_rows
from paretovit.training.team import Team

E = TypeVar("E", bound=Examples)
S = TypeVar("S", bound=Judged)


class Task(ABC, Generic[E, S]):
    """Learning on examples `E`, judged by scores `S`, which are dataclasses of plain values.

    quality   the indicator that a score's `quality` is of, and the first of its `rows`
    loss      the indicator of the training loss
    """

    quality: ClassVar[str]
    loss: ClassVar[str]

    def check(self, spec: ModelSpec, images: E, recipe: Recipe) -> None:
        """Raise `UserError` if model, images and recipe do not go together."""
        check_fit(spec, images)

    @abstractmethod
    def objective(self, spec: ModelSpec, recipe: Recipe, device: torch.device) -> Objective:
        """What a step makes smaller."""

    @abstractmethod
    def judged(self, module: nn.Module, images: E, team: Team) -> S:
        """The score of a split; all processes ask for it."""

    @abstractmethod
    def read(self, content: dict[str, Any]) -> S:
        """A score as `dataclasses.asdict` wrote it."""

    @abstractmethod
    def rows(
        self, spec: ModelSpec, images: E, score: S, recipe: str | None, seed: int | None, made: Origin | None = None
    ) -> list[Measurement]:
        """The rows of a score, its quality first; none for made-up images."""


class Recognition(Task[Images, Score]):
    """Of the one class that an image is of."""

    quality, loss = "top1", "train_loss"

    def objective(self, spec: ModelSpec, recipe: Recipe, device: torch.device) -> Objective:
        teacher = teacher_of(recipe, in_chans=spec.in_chans, num_classes=spec.num_classes, device=device)
        return Classification(recipe, teacher)

    def judged(self, module: nn.Module, images: Images, team: Team) -> Score:
        """Every process looks at its share."""
        mine = score(module, images, device=team.device, share=(team.rank, team.size))
        if team.size == 1:
            return mine
        count, hits1, hits5, loss = team.total(mine.images, mine.hits1, mine.hits5, mine.loss * mine.images)
        return Score(images=int(count), hits1=int(hits1), hits5=int(hits5), loss=loss / count, seconds=mine.seconds)

    def read(self, content: dict[str, Any]) -> Score:
        return Score(**content)

    def rows(
        self,
        spec: ModelSpec,
        images: Images,
        score: Score,
        recipe: str | None,
        seed: int | None,
        made: Origin | None = None,
    ) -> list[Measurement]:
        return accuracy_rows(spec, images, score, recipe, seed, made)
