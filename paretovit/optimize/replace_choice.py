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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paretovit.analysis.bounds import Bound, Holding
from paretovit.analysis.intervals import interval
from paretovit.analysis.pareto import front
from paretovit.cost.measure import Care
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement
from paretovit.optimize.distil import Distil
from paretovit.optimize.judge import Judge
from paretovit.optimize.replace import Parent, Replaced, replace_layers, told_of, train_new
from paretovit.optimize.replace_candidates import FOUND, Bench, Budget, Mixers, Search, Tell, Tried, by_hand
from paretovit.optimize.replacement import Plan
from paretovit.optimize.scale_cost import Cost
from paretovit.optimize.search_folder import check_same, diverged_apart, keep_model
from paretovit.spec import ModelSpec, to_json
from paretovit.store import Store
from paretovit.training.data import Data
from paretovit.training.progress import Watch, silent
from paretovit.training.recipe import Recipe
from paretovit.training.rows import HELD_OUT
from paretovit.zoo.checkpoint import write_whole

CHOICE, MODEL = "choice.json", "model"


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
    bench = Bench(parent, settings, cost, most, short, full, plans, tell)

    def keep() -> None:
        content = _document(told, list(bench.tried.values()), None)
        write_whole(out / CHOICE, (json.dumps(content, indent=1) + "\n").encode())

    made = by_hand(bench, budget)
    keep()
    for plan in made:
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


def _steps(bench: Bench) -> Iterator[None]:
    """Replace one more piece of layers at a time, by each of the mixers, until the budget is kept; the plans that go on
    are on the front of cost and accuracy."""
    pieces = bench.pieces
    beam: list[Mixers] = [("",) * bench.depth]
    while beam:
        made = [
            tuple(mixer if layer in piece else old for layer, old in enumerate(plan))
            for plan in beam
            for piece in pieces
            if not any(plan[layer] for layer in piece)
            for mixer in bench.settings.mixers
        ]
        scored = [bench.scored(mixers, FOUND) for mixers in dict.fromkeys(made)]
        yield
        over = [one for one in scored if one.score is not None and not bench.keeps(one)]
        best = front([one.ratio for one in over], [one.score or 0.0 for one in over]) if over else np.zeros(0, bool)
        ranked = sorted((one for one, on in zip(over, best, strict=True) if on), key=lambda one: -(one.score or 0.0))
        beam = [one.mixers for one in ranked[: bench.settings.beam]]


def _train_best(bench: Bench) -> None:
    """Full trainings of all plans made by hand and of the best that were found."""
    kept = [one for one in bench.tried.values() if one.score is not None and bench.keeps(one)]
    found = sorted((one for one in kept if one.made == FOUND), key=lambda one: (-(one.score or 0.0), one.ratio))
    for one in [*(one for one in kept if one.made != FOUND), *found[: bench.settings.finalists]]:
        bench.trained(one)


def _chosen(bench: Bench, holding: Callable[[ModelSpec], Holding]) -> Tried:
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
