"""Successive halving: of models that are trained side by side, the worse half rests after some of the epochs.

Paper    Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", alg. 1.
Differs  Who will be in the better half whatever the others come to is trained on at once, not when all of them have
         come to the end of the round: the same models are left, and two workers wait less for each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from paretovit.spec import ModelSpec

# Shares of the epochs after which the worse half goes: what that risks and saves on the survey's 90 learning curves is
# in `results/curves_study.jsonl`, which `benchmarks/curves_study.py` makes.
HALVED_AT = (0.25, 0.5)
_FEWEST_HALVED = 3  # models; the better one of two is not told before the end


class Asked(NamedTuple):
    """A training: to the end of its recipe, or until so many epochs of it are over."""

    spec: ModelSpec
    until: int | None = None


class Round(NamedTuple):
    """How many models are trained until an epoch, and how many of them further."""

    until: int
    models: int
    further: int


class Halving:
    """Who of these models is trained how far, by a recipe of so many epochs; all to the end where nothing is `halved`.

    `asked` are the trainings to begin with; of what each one came to, `take` is told. `dropped` says of those that were
    left behind why they were, by the spec's key.
    """

    def __init__(self, specs: Sequence[ModelSpec], epochs: int, *, halved: bool) -> None:
        self.epochs = epochs
        self.rounds = _rounds(len(specs), epochs) if halved else []
        self.finalists = self.rounds[-1].further if self.rounds else len(specs)
        self.dropped: dict[str, str] = {}
        self._specs = {spec.key: spec for spec in specs}
        self._top1: dict[int, dict[str, float]] = {one.until: {} for one in self.rounds}
        self._further: dict[int, set[str]] = {one.until: set() for one in self.rounds}
        self.asked = [self._next(spec, 0) for spec in specs]

    def take(self, spec: ModelSpec, until: int, top1: float) -> tuple[list[Asked], list[ModelSpec]]:
        """One has come to this accuracy after so many epochs: the trainings that may begin now, and who is dropped."""
        number = next(number for number, one in enumerate(self.rounds) if one.until == until)
        _, models, further = self.rounds[number]
        known = self._top1[until]
        known[spec.key] = top1
        ranked = sorted(known, key=lambda key: (-known[key], key))
        unknown = models - len(known)
        sure = ranked[: max(0, further - unknown)]  # even if all others turn out to be better
        late = ranked[further:] if unknown == 0 else []
        for key in late:
            self.dropped[key] = f"in the worse half after {until} of {self.epochs} epochs, top-1 {known[key]:.1%}"
        new = [key for key in sure if key not in self._further[until]]
        self._further[until].update(new)
        return [self._next(self._specs[key], number + 1) for key in new], [self._specs[key] for key in late]

    def _next(self, spec: ModelSpec, number: int) -> Asked:
        return Asked(spec, self.rounds[number].until if number < len(self.rounds) else None)


def _rounds(models: int, epochs: int) -> list[Round]:
    rounds: list[Round] = []
    for until in sorted({max(1, round(share * epochs)) for share in HALVED_AT} - {epochs}):
        if models < _FEWEST_HALVED:
            break
        rounds.append(Round(until, models, math.ceil(models / 2)))
        models = rounds[-1].further
    return rounds
