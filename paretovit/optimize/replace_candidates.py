"""Ways to replace layers of a model that a search chooses from: what each costs, and how accurate it is.

A plan is judged twice: by the accuracy after a short training on the labels alone, which ranks plans, and by that after
a full training. Beside what a search finds stand the plans made by hand: of each mixer the shortest early, middle and
late stretch of layers that keeps the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from paretovit.analysis.bounds import Holding
from paretovit.cost.folders import INDICATORS
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement
from paretovit.optimize.judge import Judge
from paretovit.optimize.replace import Parent
from paretovit.optimize.replacement import Plan, layers_of, replaced
from paretovit.optimize.scale_cost import Cost
from paretovit.spec import ModelSpec, Part, to_json
from paretovit.training.recipe import Recipe
from paretovit.zoo.build import build
from paretovit.zoo.folders import MIXERS, READOUTS

PLACES = ("early", "middle", "late")
FOUND = "found"

Mixers = tuple[str, ...]  # of each layer the mixer that takes its place; "" where it stays
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Budget:
    """What the new model may cost: `limit` times the parent, or a number in the indicator's unit. Of a rate it is the
    least."""

    indicator: str
    limit: float
    of_parent: bool

    @classmethod
    def of(cls, words: str, read: Callable[[str, str], float]) -> Budget:
        """From "macs=0.7x" or "latency_s=20ms"; `read` makes a number of its second half and the indicator's unit.

        Raises `UserError` for other words and unknown indicators.
        """
        name, equals, text = (part.strip() for part in words.partition("="))
        if not equals:
            raise UserError(f"{words!r} is no budget; write it like macs=0.7x or latency_s=20ms")
        unit, of_parent = INDICATORS[name].unit, text.endswith("x")
        limit = read(text[:-1], "1") if of_parent else read(text, unit)
        if limit <= 0:
            raise UserError(f"the budget {words} must be above 0")
        return cls(name, limit, of_parent)

    def most(self, parent: Measurement) -> float:
        """The cost that a new model may have at most, as a share of the parent's; for a rate, of its inverse.

        Raises `UserError` for a budget that the parent keeps.
        """
        if parent.value is None:
            raise UserError(f"{self.indicator} of {parent.model} cannot be had: {parent.why}")
        share = self.limit if self.of_parent else self.limit / parent.value
        share = share if INDICATORS[self.indicator].lower_is_better else 1 / share
        if share >= 1:
            raise UserError(f"{parent.model} keeps the budget {self} as it is; give a tighter one")
        return share

    def __str__(self) -> str:
        return f"{self.indicator}={self.limit:g}{'x' if self.of_parent else ''}"


@dataclass(frozen=True, kw_only=True)
class Search:
    """mixers        that may take a layer's place
    pieces        that the layers are cut into; a step of the search replaces one
    beam          plans that go on from a step; 1 is greedy
    epochs        of the short training that ranks a plan
    images        that it trains on; None for those of the recipe
    finalists     of the plans that were found, trained in full; those made by hand all are
    embed, class_mixer   as in `Plan`, for every new stage
    """

    mixers: tuple[str, ...] = ("focal", "pooling", "identity")
    pieces: int = 6
    beam: int = 2
    epochs: int = 1
    images: int | None = None
    finalists: int = 3
    embed: bool = False
    class_mixer: bool = False

    def __post_init__(self) -> None:
        for name in self.mixers:
            MIXERS.fact(name, "family")
        if not self.mixers or len(set(self.mixers)) < len(self.mixers):
            raise UserError("name the mixers to choose from, each once")
        for name in ("pieces", "beam", "epochs", "finalists"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")

    def short(self, recipe: Recipe) -> Recipe:
        """The recipe of the short training."""
        images = recipe.train_images if self.images is None else self.images
        warmup = min(recipe.warmup_epochs, self.epochs / 2)
        return replace(recipe, epochs=self.epochs, warmup_epochs=warmup, train_images=images)

    def plan(self, spec: ModelSpec, mixers: Mixers) -> Plan:
        """What takes the place of which layers: neighbours in one stage of the parent that have one mixer are one
        stretch."""
        first = {sum(stage.depth for stage in spec.stages[:at]) for at in range(len(spec.stages))}
        found: list[tuple[tuple[int, int], str]] = []
        for layer, mixer in enumerate(mixers):
            if mixer and found and found[-1][1] == mixer and found[-1][0][1] == layer - 1 and layer not in first:
                found[-1] = ((found[-1][0][0], layer), mixer)
            elif mixer:
                found.append(((layer, layer), mixer))
        names = [mixer for _, mixer in found]
        return Plan(
            layers=tuple(pair for pair, _ in found),
            mixer=Part(names[0]) if len(set(names)) == 1 else tuple(map(Part, names)),
            embed=self.embed,
            class_tokens="mixed" if self.class_mixer else None,
        )


@dataclass(frozen=True)
class Tried:
    """A plan, and what became of it.

    made      "early", "middle" or "late" for one made by hand, else "found"
    ratio     its cost over the parent's, for a rate its inverse; `cost` in the indicator's unit
    score     accuracy after the short training; `top1` after the full one, with its standard `error`
    tied      whether noise does not tell it from the most accurate
    holding   of the one chosen, and of those it was chosen in place of: whether it keeps the budget measured again
    why       it could not be made, measured or trained
    """

    mixers: Mixers
    made: str
    plan: Plan
    spec: ModelSpec | None = None
    ratio: float = math.nan
    cost: float | None = None
    score: float | None = None
    top1: float | None = None
    error: float = 0.0
    tied: bool = False
    holding: Holding | None = None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the spec in full."""
        return {
            "plan": str(self.plan),
            "made": self.made,
            "mixers": list(self.mixers),
            "key": None if self.spec is None else self.spec.key,
            "ratio": None if math.isnan(self.ratio) else self.ratio,
            "cost": self.cost,
            "score": self.score,
            "top1": self.top1,
            "standard_error": self.error,
            "tied": self.tied,
            "holding": self.holding,
            "why": self.why,
            "spec": None if self.spec is None else to_json(self.spec),
        }


@dataclass
class Bench:
    """What plans are judged by: their cost, and two trainings."""

    parent: Parent
    settings: Search
    cost: Cost
    most: float
    short: Judge
    full: Judge
    plans: dict[str, Plan]
    tell: Tell
    tried: dict[Mixers, Tried] = field(default_factory=dict)

    @cached_property
    def layers(self) -> ModelSpec:
        """The parent's spec with its layers in stages."""
        return layers_of(self.parent.spec)

    @cached_property
    def depth(self) -> int:
        """Of the parent, in layers."""
        return sum(stage.depth for stage in self.layers.stages)

    @cached_property
    def free(self) -> int:
        """How many layers, from the first on, may be replaced: the last one has to stay where only it would tell a
        class token of the new stage. Raises `UserError` if there is none."""
        tells = READOUTS[self.layers.readout.name].prefix and not self.settings.class_mixer
        free = self.depth - (1 if tells else 0)
        if free < 1:
            raise UserError(
                f"{self.layers.name} has {self.depth} layers, of which none can be replaced; give a deeper ViT"
            )
        return free

    @property
    def pieces(self) -> list[range]:
        """The layers that may be replaced, cut into pieces that differ by one layer at most and lie in one stage
        each."""
        cuts = np.linspace(0, self.free, min(self.settings.pieces, self.free) + 1).round().astype(int).tolist()
        depths = np.cumsum([stage.depth for stage in self.layers.stages]).tolist()
        ends = sorted({*cuts, *(depth for depth in depths if depth < self.free)})
        return [range(a, b) for a, b in pairwise(ends)]

    def stretch(self, mixer: str, place: str, count: int) -> Mixers:
        """So many neighbouring layers replaced: "early", "middle" or "late" among those that may be."""
        first = {"early": 0, "middle": (self.free - count) // 2, "late": self.free - count}[place]
        return tuple(mixer if first <= layer < first + count else "" for layer in range(self.depth))

    def costed(self, mixers: Mixers, made: str) -> Tried:
        """A plan with its cost, or with the reason why it has none."""
        known = self.tried.get(mixers)
        if known is not None:
            if known.made == FOUND and made != FOUND:
                self.tried[mixers] = known = replace(known, made=made)
            return known
        tried = Tried(mixers, made, self.settings.plan(self.layers, mixers))
        self.tried[mixers] = tried = self._costed(tried)
        return tried

    def _costed(self, tried: Tried) -> Tried:
        try:
            spec = replaced(self.parent.spec, tried.plan).spec
            build(spec, device="meta")
        except UserError as error:
            return replace(tried, why=str(error))
        self.plans[spec.key] = tried.plan
        try:
            return replace(tried, spec=spec, ratio=self.cost.ratio(spec), cost=self.cost.row(spec).value)
        except Unmeasurable as error:
            return replace(tried, spec=spec, why=str(error))

    def scored(self, mixers: Mixers, made: str) -> Tried:
        """A plan with its accuracy after the short training, too."""
        tried = self.costed(mixers, made)
        if tried.why or tried.score is not None or tried.spec is None:
            return tried
        row = self.short(tried.spec)
        tried = replace(tried, score=row.value, why=row.why)
        self.tried[mixers] = tried
        said = tried.why or f"top-1 {tried.score:.1%} after the short training"
        self.tell(f"{tried.plan}: {tried.ratio:.3g} times the cost, {said}")
        return tried

    def trained(self, tried: Tried) -> Tried:
        """A plan with its accuracy after the full training."""
        assert tried.spec is not None
        row = self.full(tried.spec)
        tried = replace(tried, top1=row.value, error=_error(row), why=row.why)
        self.tried[tried.mixers] = tried
        self.tell(f"{tried.plan}: {tried.why or f'top-1 {tried.top1:.1%} after the full training'}")
        return tried

    def keeps(self, tried: Tried) -> bool:
        return not tried.why and tried.ratio <= self.most


def by_hand(bench: Bench, budget: Budget) -> list[Tried]:
    """Of each mixer the shortest early, middle and late stretch that keeps the budget.

    A stretch costs less the longer it is, as all mixers are there for. Raises `UserError` if no stretch keeps it.
    """
    found: list[Tried] = []
    longest: list[Tried] = []
    for mixer in bench.settings.mixers:
        whole = bench.costed(bench.stretch(mixer, "late", bench.free), FOUND)
        longest.append(whole)
        if not bench.keeps(whole):
            continue
        for place in PLACES:
            few, many = 0, bench.free  # does not keep the budget, does
            while many - few > 1:
                middle = (few + many) // 2
                keeps = bench.keeps(bench.costed(bench.stretch(mixer, place, middle), FOUND))
                few, many = (few, middle) if keeps else (middle, many)
            found.append(bench.costed(bench.stretch(mixer, place, many), place))
    if not found:
        known = [one for one in longest if not one.why]
        if not known:
            raise UserError(f"no mixer can take the place of the layers of {bench.parent.spec.name}: {longest[0].why}")
        best = min(known, key=lambda one: one.ratio)
        raise UserError(
            f"nothing reaches {budget}: {best.plan} is the nearest, at {best.ratio:.3g} times the cost of "
            f"{bench.parent.spec.name}; give a wider budget or other --mixers"
        )
    return list({one.mixers: one for one in found}.values())


def _error(row: Measurement) -> float:
    """The standard error of a share of so many images."""
    images, share = row.origin.timing.get("images"), row.value or 0.0
    return math.sqrt(share * (1 - share) / images) if images else 0.0
