"""Which layers of a trained model to replace by which mixers, so that its cost keeps a budget.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", sec. 3.5, which replaces
         by hand. There the distillation loss misleads (figs. 3.8 to 3.12): so what ranks plans here is the accuracy
         after a short training on the labels alone.

From the parent on, each step replaces one more piece of layers by one of the mixers, and a beam of what the front of
cost and accuracy has goes on until the budget is kept. Beside what that finds stand the plans made by hand: of each
mixer the shortest early, middle and late stretch that keeps the budget. These, and the best that was found, are trained
in full. Of those that noise does not tell from the most accurate the cheapest is chosen, so that no plan made by hand
is both as cheap and more accurate.

Everything that takes time is a row of the store or a folder below `out`, and the choice follows from these, the recipe
and its seed alone: a search that was stopped at any moment goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from paretovit.analysis.bounds import Bound, Holding
from paretovit.analysis.intervals import interval
from paretovit.analysis.pareto import front
from paretovit.cost.folders import INDICATORS
from paretovit.cost.measure import Care
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement
from paretovit.optimize.replace import Distil, Parent, Replaced, replace_layers, told_of, train_new
from paretovit.optimize.replacement import Plan, layers_of, replaced
from paretovit.optimize.scale import Judge
from paretovit.optimize.scale_cost import Cost
from paretovit.optimize.search_folder import check_same, diverged_apart, keep_model
from paretovit.spec import ModelSpec, Part, to_json
from paretovit.store import Store
from paretovit.training.data import Data
from paretovit.training.progress import Watch, silent
from paretovit.training.recipe import Recipe
from paretovit.training.rows import HELD_OUT
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import write_whole
from paretovit.zoo.folders import MIXERS, READOUTS

CHOICE, MODEL = "choice.json", "model"
PLACES = ("early", "middle", "late")
_FOUND = "found"

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


@dataclass(frozen=True)
class Chosen:
    """What a search came to. `about` is what it follows from, `most` the share of the parent's cost that is the budget,
    `done` the model chosen beside its parent; it is also the checkpoint in `folder`."""

    about: dict[str, Any]
    most: float
    tried: tuple[Tried, ...]
    chosen: Tried
    done: Replaced
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """One document of plain JSON values."""
        return _document(self.about, self.tried, self.chosen) | {
            "folder": str(self.folder),
            "result": self.done.to_json(),
        }


@dataclass
class _Bench:
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

    def costed(self, mixers: Mixers, made: str) -> Tried:
        """A plan with its cost, or with the reason why it has none."""
        known = self.tried.get(mixers)
        if known is not None:
            if known.made == _FOUND and made != _FOUND:
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


def choose_layers(
    parent: Parent,
    data: Data,
    recipe: Recipe,
    budget: Budget,
    *,
    search: Search | None = None,
    out: Path,
    store: Store,
    distil: Distil | None = None,
    runtime: str = "torch_eager",
    device: str = "cpu",
    batch_size: int = 8,
    care: Care | None = None,
    tell: Tell = lambda text: None,
    watching: Callable[[str], AbstractContextManager[Watch]] = lambda title: nullcontext(silent),
    measuring: Callable[..., AbstractContextManager[Any]] = nullcontext,
) -> Chosen:
    """Choose layers and mixers, and train what is new; the model chosen is a checkpoint in `out`/MODEL.

    A measured cost is measured again before a plan is chosen, with `care`; what then breaks the budget beyond the noise
    is passed over. Raises `UserError` for a budget that the parent keeps or nothing reaches, for a folder that holds
    another search, for made-up images, and as `replaced` and `train` do.
    """
    settings, distil = search or Search(), distil or Distil()
    if not data.val.real:
        raise UserError(f"{data.val.name} are made-up images, on which there is no accuracy; choose other --data")
    kind: dict[str, Any] = {"runtime": runtime, "device": device, "batch_size": batch_size, "progress": measuring}
    cost = Cost(budget.indicator, parent.spec, store, **kind)
    plans: dict[str, Plan] = {}
    told = _about(parent, data, recipe, budget, settings, distil, cost)
    check_same(out / CHOICE, told)
    most = budget.most(cost.row(parent.spec))

    def judge(by: Recipe, matched: Distil, folder: Path) -> Judge:
        def train(spec: ModelSpec) -> list[Measurement]:
            with diverged_apart(), watching(spec.name) as watch:
                found = train_new(
                    parent, plans[spec.key], data, by, out=folder / spec.key, distil=matched, device=device,
                    progress=watch,
                )  # fmt: skip
                return found[0].rows

        def label(spec: ModelSpec) -> str:
            return f"{by.label}, from {told_of(parent, plans[spec.key], matched)}"

        return Judge(store, by, data.val.name, HELD_OUT if by.held_out else data.val.split, train, label)

    short = judge(settings.short(recipe), replace(distil, alpha=0.0), out / "short")
    full = judge(recipe, distil, out / "full")
    bench = _Bench(parent, settings, cost, most, short, full, plans, tell)

    def keep() -> None:
        content = _document(told, list(bench.tried.values()), None)
        write_whole(out / CHOICE, (json.dumps(content, indent=1) + "\n").encode())

    by_hand = _by_hand(bench, budget)
    keep()
    for plan in by_hand:
        bench.scored(plan.mixers, plan.made)
    keep()
    for _ in _steps(bench):
        keep()
    _train_best(bench)
    keep()
    again = {**kind, "care": care or Care()}
    chosen = _chosen(bench, lambda spec: _measured_again(spec, budget, parent, most, out, again))
    assert chosen.spec is not None
    folder = out / "full" / chosen.spec.key
    with diverged_apart(), watching(parent.spec.name) as watch:
        done = replace_layers(
            parent, chosen.plan, data, recipe, out=folder, distil=distil, device=device, progress=watch
        )
    keep_model(out / MODEL, done.folder, chosen.spec)
    tried = tuple(bench.tried.values())
    write_whole(out / CHOICE, (json.dumps(_document(told, tried, chosen), indent=1) + "\n").encode())
    return Chosen(told, most, tried, chosen, done, out / MODEL)


def _by_hand(bench: _Bench, budget: Budget) -> list[Tried]:
    """Of each mixer the shortest early, middle and late stretch that keeps the budget.

    A stretch costs less the longer it is, as all mixers are there for. Raises `UserError` if no stretch keeps it.
    """
    free = _free(bench)
    found: list[Tried] = []
    longest: list[Tried] = []
    for mixer in bench.settings.mixers:
        whole = bench.costed(_stretch(bench, mixer, "late", free), _FOUND)
        longest.append(whole)
        if not bench.keeps(whole):
            continue
        for place in PLACES:
            few, many = 0, free  # does not keep the budget, does
            while many - few > 1:
                middle = (few + many) // 2
                keeps = bench.keeps(bench.costed(_stretch(bench, mixer, place, middle), _FOUND))
                few, many = (few, middle) if keeps else (middle, many)
            found.append(bench.costed(_stretch(bench, mixer, place, many), place))
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


def _steps(bench: _Bench) -> Iterator[None]:
    """Replace one more piece of layers at a time, by each of the mixers, until the budget is kept; the plans that go on
    are on the front of cost and accuracy."""
    pieces = _pieces(bench)
    beam: list[Mixers] = [("",) * _depth(bench.layers)]
    while beam:
        made = [
            tuple(mixer if layer in piece else old for layer, old in enumerate(plan))
            for plan in beam
            for piece in pieces
            if not any(plan[layer] for layer in piece)
            for mixer in bench.settings.mixers
        ]
        scored = [bench.scored(mixers, _FOUND) for mixers in dict.fromkeys(made)]
        yield
        over = [one for one in scored if one.score is not None and not bench.keeps(one)]
        best = front([one.ratio for one in over], [one.score or 0.0 for one in over]) if over else np.zeros(0, bool)
        ranked = sorted((one for one, on in zip(over, best, strict=True) if on), key=lambda one: -(one.score or 0.0))
        beam = [one.mixers for one in ranked[: bench.settings.beam]]


def _train_best(bench: _Bench) -> None:
    """Full trainings of all plans made by hand and of the best that were found."""
    kept = [one for one in bench.tried.values() if one.score is not None and bench.keeps(one)]
    found = sorted((one for one in kept if one.made == _FOUND), key=lambda one: (-(one.score or 0.0), one.ratio))
    for one in [*(one for one in kept if one.made != _FOUND), *found[: bench.settings.finalists]]:
        bench.trained(one)


def _chosen(bench: _Bench, holding: Callable[[ModelSpec], Holding]) -> Tried:
    """Of what noise does not tell from the most accurate the cheapest that keeps the budget when measured again; if
    none of these does, the next ones. Raises `UserError` if nothing could be trained, or keeps it."""
    left = [one for one in bench.tried.values() if one.top1 is not None]
    if not left:
        reasons = "; ".join(dict.fromkeys(one.why for one in bench.tried.values() if one.why))
        raise UserError(f"no plan could be trained ({reasons}); try --set with a smaller lr")
    best = max(left, key=lambda one: one.top1 or 0.0)
    floor = (best.top1 or 0.0) - best.error
    for one in left:
        bench.tried[one.mixers] = replace(one, tied=(one.top1 or 0.0) >= floor)
    tied = [bench.tried[one.mixers] for one in left]
    order = sorted(tied, key=lambda one: (0, one.ratio, -(one.top1 or 0.0)) if one.tied else (1, -(one.top1 or 0.0), 0))
    for one in order:
        assert one.spec is not None
        verdict = holding(one.spec)
        bench.tried[one.mixers] = one = replace(one, holding=verdict)
        if verdict in ("holds", "within noise"):
            return one
        bench.tell(f"{one.plan}: measured again, the budget {'is broken' if verdict == 'fails' else 'is not known'}")
    raise UserError("measured again, no plan keeps the budget; give a wider one, or measure on a quieter machine")


def _measured_again(
    spec: ModelSpec, budget: Budget, parent: Parent, most: float, out: Path, kind: dict[str, Any]
) -> Holding:
    """Whether the budget is kept by a fresh measurement beside the parent, whose rows are a store of their own in
    `out`; what is counted is exact."""
    with Store(str(out / "verified.sqlite")) as fresh:
        cost = Cost(budget.indicator, parent.spec, fresh, **kind)
        if not cost.is_measured:
            return "holds"
        try:
            ratio, row = cost.ratio(spec), cost.row(spec)
        except Unmeasurable:
            return "unknown"
    low, high = interval(row)
    half = (high - low) / 2 / row.value if row.value else math.inf
    return Bound(0, most, at_most=True).holding(ratio, (ratio * (1 - half), ratio * (1 + half)))


def _depth(spec: ModelSpec) -> int:
    return sum(stage.depth for stage in spec.stages)


def _free(bench: _Bench) -> int:
    """How many layers, from the first on, may be replaced: the last one has to stay where only it would tell a class
    token of the new stage."""
    spec = bench.layers
    tells = READOUTS[spec.readout.name].prefix and not bench.settings.class_mixer
    free = _depth(spec) - (1 if tells else 0)
    if free < 1:
        raise UserError(f"{spec.name} has {_depth(spec)} layers, of which none can be replaced; give a deeper ViT")
    return free


def _pieces(bench: _Bench) -> list[range]:
    """The layers that may be replaced, cut into pieces that differ by one layer at most and lie in one stage each."""
    cuts = np.linspace(0, _free(bench), min(bench.settings.pieces, _free(bench)) + 1).round().astype(int).tolist()
    depths = np.cumsum([stage.depth for stage in bench.layers.stages]).tolist()
    ends = sorted({*cuts, *(depth for depth in depths if depth < _free(bench))})
    return [range(a, b) for a, b in pairwise(ends)]


def _stretch(bench: _Bench, mixer: str, place: str, count: int) -> Mixers:
    free, depth = _free(bench), _depth(bench.layers)
    first = {"early": 0, "middle": (free - count) // 2, "late": free - count}[place]
    return tuple(mixer if first <= layer < first + count else "" for layer in range(depth))


def _error(row: Measurement) -> float:
    """The standard error of a share of so many images."""
    images, share = row.origin.timing.get("images"), row.value or 0.0
    return math.sqrt(share * (1 - share) / images) if images else 0.0


def _about(
    parent: Parent, data: Data, recipe: Recipe, budget: Budget, settings: Search, distil: Distil, cost: Cost
) -> dict[str, Any]:
    """What a choice follows from, as plain JSON values."""
    return {
        "parent": to_json(parent.spec),
        "weights": parent.digest,
        "budget": str(budget),
        "cost": cost.where,
        "unit": cost.unit,
        "mixers": list(settings.mixers),
        "pieces": settings.pieces,
        "beam": settings.beam,
        "finalists": settings.finalists,
        "embed": settings.embed,
        "class mixer": settings.class_mixer,
        "data": data.val.name,
        "judged on": HELD_OUT if recipe.held_out else data.val.split,
        "short recipe": settings.short(recipe).to_json(),
        "recipe": recipe.to_json(),
        "distillation": str(distil),
    }


def _document(about: dict[str, Any], tried: Any, chosen: Tried | None) -> dict[str, Any]:
    key = None if chosen is None or chosen.spec is None else chosen.spec.key
    return {"search": about, "tried": [one.to_json() for one in tried], "chosen": key}
