"""A plain vision transformer scaled step by step: each factor alone to the same cost, the most accurate model kept.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", sec. 3.3 and algorithm 1, and
         the random permutation of sec. 4.1.
Differs  The targets of the steps are powers of the factor times the cost of the start, as in algorithm 1 (the text has
         twice the cost of the model selected before; then what one step misses adds up). Of the candidates that noise
         does not tell from the most accurate one, the cheapest is kept: those within one standard error of it (Breiman
         et al. 1984, "Classification and Regression Trees", sec. 3.4.3), the error of a share of so many images.

Everything that takes time is a row of the store, and the path follows from rows, the recipe and its seed alone: what
was measured or trained is not done again, so a search that was stopped at any moment goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from paretovit.devices import origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.optimize.scale_cost import Cost
from paretovit.optimize.scale_factors import Grown, grown, permuted
from paretovit.spec import ModelSpec, to_json
from paretovit.store import Store
from paretovit.training.data import Data, open_data
from paretovit.training.loop import STATE, train
from paretovit.training.progress import Watch, silent
from paretovit.training.recipe import Recipe
from paretovit.training.rows import HELD_OUT
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import SPEC, WEIGHTS, write_whole
from paretovit.zoo.factors import TITLES, factors_of

PATH = "path.json"
_RUNS = "runs"

Trainer = Callable[[ModelSpec], list[Measurement]]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """factor      that the cost grows by in each of the `steps`
    refine      models of the last one's cost that are drawn at random and trained, too; the paper has 24
    tolerance   share by which the cost of a candidate may miss the target; past it, a factor is out of reach
    """

    factor: float = 2.0
    steps: int = 4
    refine: int = 0
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        for name, fine, bounds in (
            ("factor", 1 < self.factor < math.inf, "above 1"),
            ("steps", self.steps >= 1, "at least 1"),
            ("refine", self.refine >= 0, "0 or more"),
            ("tolerance", 0 < self.tolerance < 1, "between 0 and 1"),
        ):
            if not fine:
                raise UserError(f"{name} must be {bounds}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Candidate:
    """A model that was grown, and its `cost` in the indicator's unit. `top1` is None where it was not trained or
    diverged, and `why` says so. `error` is the standard error of its accuracy, `tied` whether it may be as good as the
    best of its step."""

    grown: Grown
    cost: float | None = None
    top1: float | None = None
    error: float = 0.0
    why: str = ""
    tied: bool = False

    @property
    def spec(self) -> ModelSpec:
        return self.grown.spec

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the spec in full."""
        known = not math.isnan(self.grown.ratio)
        return {
            "factor": self.grown.factor,
            "model": self.spec.name,
            "key": self.spec.key,
            "factors": factors_of(self.spec)._asdict(),
            "cost": self.cost,
            "ratio": self.grown.ratio if known else None,
            "top1": self.top1,
            "standard_error": self.error,
            "tied": self.tied,
            "why": self.why,
            "spec": to_json(self.spec),
        }


@dataclass(frozen=True)
class Step:
    """The candidates for a cost of `target` times that of the start, and which of them was kept."""

    name: str
    target: float
    candidates: tuple[Candidate, ...]
    kept: Candidate

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        candidates = [candidate.to_json() for candidate in self.candidates]
        return {"step": self.name, "target": self.target, "kept": self.kept.spec.key, "candidates": candidates}


@dataclass
class SearchPath:
    """What a search has come to; the first step is the start itself. `about` is what the path follows from."""

    about: dict[str, Any]
    steps: list[Step] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"search": self.about, "steps": [step.to_json() for step in self.steps]}


@dataclass
class Judge:
    """Accuracies of models, from the store or by training. The split that a recipe holds out is what is judged by."""

    store: Store
    recipe: Recipe
    data: str
    split: str
    train: Trainer

    def __call__(self, spec: ModelSpec) -> Measurement:
        """The top-1 row; one that says why if the training diverged. Raises `UserError` as `train` does."""
        if (known := self.known(spec)) is not None:
            return known
        try:
            rows = self.train(spec)
        except Unmeasurable as error:
            why = f"the training diverged: {error}"
            rows = [
                Measurement(
                    model=spec.name,
                    indicator="top1",
                    unit="1",
                    value=None,
                    conditions=self._conditions(spec),
                    origin=origin("trained"),
                    why=why,
                )
            ]
        self.store.append([row for row in rows if not self.store.has(row.conditions, row.indicator)], [spec])
        judged = self.known(spec)
        if judged is None:
            raise UserError(f"training on {self.data} gives no accuracy on {self.split}; choose other --data")
        return judged

    def known(self, spec: ModelSpec) -> Measurement | None:
        """What the store has, if anything."""
        wanted = self._conditions(spec)
        rows = [row for row in self.store.rows("top1", spec=spec.key) if row.conditions == wanted]
        return rows[-1] if rows else None

    def _conditions(self, spec: ModelSpec) -> Conditions:
        recipe = self.recipe
        return Conditions(spec=spec.key, data=self.data, split=self.split, recipe=recipe.label, seed=recipe.seed)


def search(
    start: ModelSpec,
    plan: Plan,
    cost: Cost,
    judge: Judge,
    *,
    tell: Tell = lambda text: None,
    after_step: Callable[[SearchPath], None] = lambda path: None,
) -> SearchPath:
    """The path from `start`: the start itself, a step for each of the plan's, and one more if it refines.

    `after_step` is called with the path so far. Raises `UserError` for a model without the six factors, where the
    start itself diverges or cannot be measured, and for a step that no factor reaches or of which all candidates
    diverged: it names the nearest.
    """
    factors_of(start)
    path = SearchPath(about(start, plan, cost, judge))
    try:
        first = Grown("start", start, cost.ratio(start))
    except Unmeasurable as error:
        raise UserError(f"{cost.where} of {start.name} cannot be had: {error}") from error
    path.steps.append(_decided("start", 1.0, [first], judge, cost, tell))
    after_step(path)
    for number in range(1, plan.steps + 1):
        target = plan.factor**number
        base = path.steps[-1].kept.grown
        made = [grown(base, factor, target, cost.ratio, cost.foretold) for factor in TITLES]
        reached = [_checked(one, target, plan.tolerance) for one in made]
        if all(one.why for one in reached):
            raise UserError(_unreached(number, target, made, cost, plan))
        path.steps.append(_decided(f"step{number}", target, reached, judge, cost, tell))
        after_step(path)
    if plan.refine:
        base = path.steps[-1].kept.grown
        others = permuted(
            base,
            plan.refine,
            cost=cost.ratio,
            foretold=cost.foretold,
            tolerance=plan.tolerance,
            least_px=start.image_px,
            random=Random(f"{judge.recipe.seed} {base.spec.key}"),
        )
        if len(others) < plan.refine:
            tell(f"only {len(others)} models of equal cost were found, not {plan.refine}")
        kept = replace(base, factor="none")
        path.steps.append(_decided("refined", base.ratio, [kept, *others], judge, cost, tell))
        after_step(path)
    return path


def about(start: ModelSpec, plan: Plan, cost: Cost, judge: Judge) -> dict[str, Any]:
    """What a path follows from, as plain JSON values; how many steps it has is not among it."""
    return {
        "start": to_json(start),
        "cost": cost.where,
        "unit": cost.unit,
        "factor": plan.factor,
        "tolerance": plan.tolerance,
        "data": judge.data,
        "judged on": judge.split,
        "recipe": judge.recipe.to_json(),
    }


def _checked(made: Grown, target: float, tolerance: float) -> Grown:
    if made.why or abs(made.ratio / target - 1) <= tolerance:
        return made
    return replace(made, why=f"out of reach: the nearest is {made.ratio:.3g} times the start's cost")


def _unreached(number: int, target: float, made: list[Grown], cost: Cost, plan: Plan) -> str:
    where = f"step {number}: no factor alone brings {cost.where} to {target:.3g} times that of {cost.start.name}"
    known = [one for one in made if not math.isnan(one.ratio)]
    if not known:
        return f"{where}, for none of them makes a model that can be measured: {made[0].why}"
    best = min(known, key=lambda one: abs(math.log(one.ratio / target)))
    miss = abs(best.ratio / target - 1)
    return (
        f"{where} within {plan.tolerance:.0%}; the nearest is {best.ratio:.3g} times, by the {TITLES[best.factor][0]} "
        f"({best.spec.name}): give --tolerance {math.ceil(100 * miss) / 100:g} or another --factor"
    )


def _decided(name: str, target: float, made: list[Grown], judge: Judge, cost: Cost, tell: Tell) -> Step:
    """The candidates trained, and the best one kept."""
    candidates = []
    for at, one in enumerate(made, start=1):
        candidates.append(_judged(one, judge, cost))
        tell(f"{name}, {at} of {len(made)}: {_said(candidates[-1])}")
    trained = [candidate for candidate in candidates if candidate.top1 is not None]
    if not trained:
        reasons = "; ".join(f"{one.spec.name}: {one.why}" for one in candidates if one.why)
        raise UserError(f"{name}: no candidate could be trained ({reasons}); try --set with a smaller lr")
    best = max(trained, key=lambda one: one.top1 or 0.0)
    floor = (best.top1 or 0.0) - best.error
    candidates = [replace(one, tied=one.top1 is not None and one.top1 >= floor) for one in candidates]
    kept = min((one for one in candidates if one.tied), key=lambda one: one.grown.ratio)
    if len(made) > 1:
        tell(f"{name}: {kept.spec.name} is kept")
    return Step(name, target, tuple(candidates), kept)


def _judged(made: Grown, judge: Judge, cost: Cost) -> Candidate:
    if made.why:
        return Candidate(made, why=made.why)
    value, row = cost.row(made.spec).value, judge(made.spec)
    if row.value is None:
        return Candidate(made, value, why=row.why)
    images = row.origin.timing.get("images")
    error = math.sqrt(row.value * (1 - row.value) / images) if images else 0.0
    return Candidate(made, value, row.value, error)


def _said(one: Candidate) -> str:
    if one.why:
        return f"{TITLES[one.grown.factor][0] if one.grown.why else one.spec.name}: {one.why}"
    return f"{one.spec.name}: {one.grown.ratio:.3g} times the cost, top-1 {one.top1:.1%}"


def scale(
    start: str,
    data: str,
    recipe: Recipe,
    plan: Plan,
    *,
    cost: str,
    out: Path,
    store: Store,
    runtime: str = "torch_eager",
    device: str = "cpu",
    batch_size: int = 8,
    tell: Tell = lambda text: None,
    watching: Callable[[str], AbstractContextManager[Watch]] = lambda title: nullcontext(silent),
    measuring: Callable[..., AbstractContextManager[Any]] = nullcontext,
) -> SearchPath:
    """Search from the model of that name, made for the channels and classes of the data, with new weights.

    Under `out`: PATH, the path so far; `runs/KEY`, the training of each candidate; and for each step, `start`, `step1`,
    ... and `refined`, the model that was kept, a checkpoint like any other. Raises `UserError` as `search` does, and
    for a folder that holds another search.
    """
    own = resolve(start)
    images = open_data(data, img_size=own.image_px).val
    if not images.real:
        raise UserError(f"{images.name} are made-up images, on which there is no accuracy; choose other --data")
    spec = resolve(start, in_chans=images.in_chans, num_classes=images.num_classes)
    factors_of(spec)
    judge = Judge(
        store,
        recipe,
        images.name,
        HELD_OUT if recipe.held_out else images.split,
        _trainer(data, recipe, out / _RUNS, device, watching),
    )
    costs = Cost(cost, spec, store, runtime=runtime, device=device, batch_size=batch_size, progress=measuring)
    _check_same(out, about(spec, plan, costs, judge))

    def after_step(path: SearchPath) -> None:
        step = path.steps[-1]
        if not _keep_model(out, step):
            tell(f"{step.name}: {step.kept.spec.name} was trained elsewhere, so {out / step.name} has its spec alone")
        write_whole(out / PATH, (json.dumps(path.to_json(), indent=1) + "\n").encode())

    return search(spec, plan, costs, judge, tell=tell, after_step=after_step)


def _trainer(
    data: str, recipe: Recipe, runs: Path, device: str, watching: Callable[[str], AbstractContextManager[Watch]]
) -> Trainer:
    """Trains in a folder of the model's own, so that a training that was stopped is gone on with."""

    @lru_cache(maxsize=1)  # most candidates of a step take images of one size
    def opened(image_px: int, in_chans: int) -> Data:
        return open_data(data, img_size=image_px, in_chans=in_chans)

    def trained(spec: ModelSpec) -> list[Measurement]:
        try:
            with watching(spec.name) as watch:
                images = opened(spec.image_px, spec.in_chans)
                return train(spec, images, recipe, out=runs / spec.key, device=device, progress=watch).rows
        except UserError as error:
            if isinstance(error.__cause__, Unmeasurable):  # how `train` says that a loss is not finite, or grows
                raise error.__cause__ from None
            raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "stopped; what was measured and trained is kept, the same command goes on"
            ) from None

    return trained


def _check_same(out: Path, wanted: dict[str, Any]) -> None:
    """Raises `UserError` if the folder holds the path of a search that follows from something else."""
    try:
        before = json.loads((out / PATH).read_text(encoding="utf-8"))["search"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{out / PATH} is not the path of a search ({error}); give another --out") from error
    now = json.loads(json.dumps(wanted))
    other = next((name for name in now if before.get(name) != now[name]), None)
    if other is not None:
        raise UserError(f"{out} holds a search with another {other}; give another --out")


def _keep_model(out: Path, step: Step) -> bool:
    """The model that a step has kept as a checkpoint folder, the spec last; False where its weights are not here."""
    folder, run = out / step.name, out / _RUNS / step.kept.spec.key
    for name in (WEIGHTS, STATE):
        if (run / name).is_file():
            write_whole(folder / name, (run / name).read_bytes())
    write_whole(folder / SPEC, (json.dumps(to_json(step.kept.spec), indent=2) + "\n").encode())
    return (folder / WEIGHTS).is_file()
