"""A plain vision transformer scaled step by step: each factor alone to the same cost, the most accurate model kept.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", sec. 3.3 and algorithm 1, and
         the random permutation of sec. 4.1.
Differs  The targets of the steps are powers of the factor times the cost of the start, as in algorithm 1 (the text has
         twice the cost of the model selected before; then what one step misses adds up). Those within one standard
         error of the most accurate candidate, the error of a share of so many images, are said to be tied with it.

Everything that takes time is a row of the store, and the path follows from rows, the recipe and its seed alone: what
was measured or trained is not done again, so a search that was stopped at any moment goes on as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from paretovit.devices import origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.optimize.predict import FEWEST, Prediction
from paretovit.optimize.propose import first, grown_alone
from paretovit.optimize.scale_cost import Cost
from paretovit.optimize.scale_factors import Grown, permuted, scattered
from paretovit.optimize.scale_train import Outcome, Trainings, Watching
from paretovit.optimize.search_folder import check_same, keep_model, keep_path
from paretovit.spec import ModelSpec, to_json
from paretovit.store import Store
from paretovit.training.data import open_data
from paretovit.training.progress import silent
from paretovit.training.recipe import Recipe
from paretovit.training.rows import HELD_OUT
from paretovit.zoo.catalog import resolve
from paretovit.zoo.factors import TITLES, factors_of

PATH = "path.json"
_RUNS = "runs"
# Shares of the epochs after which the worse half goes: what that risks and saves on the survey's 90 learning curves is
# in `results/curves_study.jsonl`, which `benchmarks/curves_study.py` makes.
HALVED_AT = (0.25, 0.5)
_FEWEST_HALVED = 3  # candidates; the better one of two is not told before the end
_DOUBLINGS = 4  # steps that the models measured for a predictor reach over

Trainer = Callable[[ModelSpec], list[Measurement]]
Trainers = Callable[[Sequence[ModelSpec], int | None], Iterable[tuple[ModelSpec, Outcome]]]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """factor      that the cost grows by in each of the `steps`
    refine      models of the last one's cost that are drawn at random and trained, too; the paper has 24
    tolerance   share by which the cost of a candidate may miss the target; past it, a factor is out of reach
    predict     models of all sizes that are measured first, so that a predictor fitted on them (`predict.py`) tells
                where to look for a cost that is measured; 0 to look by multiply-accumulates
    halving     True to end the training of the worse half of a step's candidates after a quarter of the epochs, and of
                the rest after half of them: successive halving (Jamieson and Talwalkar 2016)
    """

    factor: float = 2.0
    steps: int = 4
    refine: int = 0
    tolerance: float = 0.1
    predict: int = 0
    halving: bool = False

    def __post_init__(self) -> None:
        for name, fine, bounds in (
            ("factor", 1 < self.factor < math.inf, "above 1"),
            ("steps", self.steps >= 1, "at least 1"),
            ("refine", self.refine >= 0, "0 or more"),
            ("tolerance", 0 < self.tolerance < 1, "between 0 and 1"),
            ("predict", self.predict == 0 or self.predict >= FEWEST, f"0, or at least {FEWEST}"),
        ):
            if not fine:
                raise UserError(f"{name} must be {bounds}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Candidate:
    """A model that was grown, and its `cost` in the indicator's unit. `top1` is None where it was not trained or
    diverged, and `why` says so. `error` is the standard error of its accuracy, `tied` whether it may be as good as the
    best of its step. `predicted` is its cost over the start's, where that was foretold."""

    grown: Grown
    cost: float | None = None
    top1: float | None = None
    error: float = 0.0
    why: str = ""
    tied: bool = False
    predicted: Prediction | None = None

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
            "predicted": None if self.predicted is None else list(self.predicted),
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
    """Accuracies of models, from the store or by training. The split that a recipe holds out is what is judged by.

    `train` gives the rows of one model, and raises `Unmeasurable` if it diverges. `many` trains several, perhaps at
    once, all of the recipe or so many epochs of it (`scale_train.py`); without it they are trained one by one.
    """

    store: Store
    recipe: Recipe
    data: str
    split: str
    train: Trainer
    label: Callable[[ModelSpec], str] | None = None  # how rows name the recipe, if not by its own label
    many: Trainers | None = None

    def __call__(self, spec: ModelSpec) -> Measurement:
        """The top-1 row; one that says why if the training diverged. Raises `UserError` as `train` does."""
        if (known := self.known(spec)) is not None:
            return known
        return self._kept(spec, self._outcome(spec))

    def all(self, specs: Sequence[ModelSpec]) -> Iterator[tuple[ModelSpec, Measurement]]:
        """The same of several, those first that the store has, then each as it comes."""
        unknown = []
        for spec in specs:
            if (known := self.known(spec)) is None:
                unknown.append(spec)
            else:
                yield spec, known
        trained = ((spec, self._outcome(spec)) for spec in unknown) if self.many is None else self.many(unknown, None)
        for spec, outcome in trained:
            assert not isinstance(outcome, float), "the training was not to stop before its end"
            yield spec, self._kept(spec, outcome)

    def after(self, specs: Sequence[ModelSpec], epochs: int) -> dict[str, float]:
        """Top-1 after so many epochs of the recipe, by the spec's key; 0 for a training that has diverged."""
        assert self.many is not None, "one by one, trainings are carried to their end"
        rows = {spec.key: known for spec in specs if (known := self.known(spec)) is not None}
        found: dict[str, float] = {}
        for spec, outcome in self.many([spec for spec in specs if spec.key not in rows], epochs):
            if isinstance(outcome, float):
                found[spec.key] = outcome
            else:
                rows[spec.key] = self._kept(spec, outcome)
        for key, row in rows.items():
            curve = {int(epoch): top1 for epoch, top1 in row.origin.timing.get("curve", ())}
            found[key] = curve.get(epochs, row.value or 0.0)
        return found

    def _outcome(self, spec: ModelSpec) -> list[Measurement] | Unmeasurable:
        try:
            return self.train(spec)
        except Unmeasurable as error:
            return error

    def _kept(self, spec: ModelSpec, outcome: list[Measurement] | Unmeasurable) -> Measurement:
        """The rows of a training into the store; the one that judges it."""
        rows = [self._diverged(spec, outcome)] if isinstance(outcome, Unmeasurable) else outcome
        self.store.append([row for row in rows if not self.store.has(row.conditions, row.indicator)], [spec])
        judged = self.known(spec)
        if judged is None:
            raise UserError(f"training on {self.data} gives no accuracy on {self.split}; choose other --data")
        return judged

    def _diverged(self, spec: ModelSpec, error: Unmeasurable) -> Measurement:
        return Measurement(
            model=spec.name,
            indicator="top1",
            unit="1",
            value=None,
            conditions=self._conditions(spec),
            origin=origin("trained"),
            why=f"the training diverged: {error}",
        )

    def known(self, spec: ModelSpec) -> Measurement | None:
        """What the store has, if anything."""
        wanted = self._conditions(spec)
        rows = [row for row in self.store.rows("top1", spec=spec.key) if row.conditions == wanted]
        return rows[-1] if rows else None

    def _conditions(self, spec: ModelSpec) -> Conditions:
        label = self.recipe.label if self.label is None else self.label(spec)
        return Conditions(spec=spec.key, data=self.data, split=self.split, recipe=label, seed=self.recipe.seed)


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
    begin = first(cost)
    path.steps.append(_decided("start", 1.0, [begin], judge, cost, plan, tell))
    after_step(path)
    if plan.predict and cost.is_measured:
        drawn = scattered(begin, plan.predict, plan.factor**_DOUBLINGS, cost.foretold, Random(start.key))
        tell(f"{len(drawn)} models of all sizes are measured, to foretell {cost.where} of any other")
        tell(f"nine in ten are foretold within a factor of {cost.learn([one.spec for one in drawn]):.2f}")
    for number in range(1, plan.steps + 1):
        target = plan.factor**number
        base = path.steps[-1].kept.grown
        made = grown_alone(base, target, cost, plan.tolerance)
        if all(one.why for one in made):
            raise UserError(_unreached(number, target, made, cost, plan))
        path.steps.append(_decided(f"step{number}", target, made, judge, cost, plan, tell))
        after_step(path)
    if plan.refine:
        base = path.steps[-1].kept.grown
        others = permuted(
            base,
            plan.refine,
            cost=cost.ratio,
            foretold=cost.foretold,
            tolerance=plan.tolerance,
            least_px=start.square_px,
            random=Random(f"{judge.recipe.seed} {base.spec.key}"),
        )
        if len(others) < plan.refine:
            tell(f"only {len(others)} models of equal cost were found, not {plan.refine}")
        kept = replace(base, factor="none")
        path.steps.append(_decided("refined", base.ratio, [kept, *others], judge, cost, plan, tell))
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
        "number of models measured first": plan.predict,
        "halving": plan.halving,
        "data": judge.data,
        "judged on": judge.split,
        "recipe": judge.recipe.to_json(),
    }


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


def _decided(name: str, target: float, made: list[Grown], judge: Judge, cost: Cost, plan: Plan, tell: Tell) -> Step:
    """The candidates trained, and the best one kept."""
    able = [one.spec for one in made if not one.why]
    dropped = _worse_halves(name, able, judge, tell) if plan.halving and len(made) > 1 else {}
    found: dict[str, Measurement] = {}
    for spec, row in judge.all([spec for spec in able if spec.key not in dropped]):
        found[spec.key] = row
        result = f"top-1 {row.value:.1%}" if row.value is not None else row.why
        tell(f"{name}, {len(found)} of {len(able) - len(dropped)}: {spec.name}: {result}")
    candidates = [
        Candidate(one, why=one.why or dropped[one.spec.key])
        if one.why or one.spec.key in dropped
        else _judged(one, found[one.spec.key], cost)
        for one in made
    ]
    for one in candidates:
        if one.grown.why:
            tell(f"{name}: {TITLES[one.grown.factor][0]}: {one.why}")
    trained = [candidate for candidate in candidates if candidate.top1 is not None]
    if not trained:
        reasons = "; ".join(f"{one.spec.name}: {one.why}" for one in candidates if one.why)
        raise UserError(f"{name}: no candidate could be trained ({reasons}); try --set with a smaller lr")
    best = max(trained, key=lambda one: (one.top1 or 0.0, -one.grown.ratio))
    floor = (best.top1 or 0.0) - best.error
    candidates = [replace(one, tied=one.top1 is not None and one.top1 >= floor) for one in candidates]
    kept = replace(best, tied=True)
    if len(made) > 1:
        tell(f"{name}: {kept.spec.name} is kept")
    return Step(name, target, tuple(candidates), kept)


def _worse_halves(name: str, specs: Sequence[ModelSpec], judge: Judge, tell: Tell) -> dict[str, str]:
    """Which of them are not trained to the end, and why, by key."""
    left, epochs = list(specs), judge.recipe.epochs
    dropped: dict[str, str] = {}
    for at in sorted({max(1, round(share * epochs)) for share in HALVED_AT} - {epochs}):
        if len(left) < _FEWEST_HALVED:
            break
        top1 = judge.after(left, at)
        ranked = sorted(left, key=lambda spec: (-top1[spec.key], spec.key))
        half = math.ceil(len(left) / 2)
        for spec in ranked[half:]:
            dropped[spec.key] = f"in the worse half after {at} of {epochs} epochs, top-1 {top1[spec.key]:.1%}"
            tell(f"{name}: {spec.name}: {dropped[spec.key]}")
        left = ranked[:half]
    return dropped


def _judged(made: Grown, row: Measurement, cost: Cost) -> Candidate:
    value, predicted = cost.row(made.spec).value, cost.predicted(made.spec)
    if row.value is None:
        return Candidate(made, value, why=row.why, predicted=predicted)
    images = row.origin.timing.get("images")
    error = math.sqrt(row.value * (1 - row.value) / images) if images else 0.0
    return Candidate(made, value, row.value, error, predicted=predicted)


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
    threads: int | None = None,
    jobs: int = 1,
    ray: str = "",
    tell: Tell = lambda text: None,
    watching: Watching = lambda title: nullcontext(silent),
    measuring: Callable[..., AbstractContextManager[Any]] = nullcontext,
) -> SearchPath:
    """Search from the model of that name, made for the channels and classes of the data, with new weights.

    `threads` are those of a time that is measured; trainings on a CPU have one each, and `jobs` of them run at once, or
    as many as the Ray cluster at the address `ray` has room for ("local": one on this machine).

    Under `out`: PATH, the path so far; `runs/KEY`, the training of each candidate; and for each step, `start`, `step1`,
    ... and `refined`, the model that was kept, a checkpoint like any other. Raises `UserError` as `search` does, and
    for a folder that holds another search.
    """
    own = resolve(start)
    images = open_data(data, img_size=own.square_px).val
    if not images.real:
        raise UserError(f"{images.name} are made-up images, on which there is no accuracy; choose other --data")
    spec = resolve(start, in_chans=images.in_chans, num_classes=images.num_classes)
    factors_of(spec)
    trainings = Trainings(
        data=data, recipe=recipe, runs=out / _RUNS, device=device, jobs=jobs, ray=ray, watching=watching
    )
    judge = Judge(
        store,
        recipe,
        images.name,
        HELD_OUT if recipe.held_out else images.split,
        trainings.one,
        many=trainings,
    )
    costs = Cost(
        cost,
        spec,
        store,
        runtime=runtime,
        device=device,
        batch_size=batch_size,
        threads=threads,
        progress=measuring,
    )
    check_same(out / PATH, about(spec, plan, costs, judge))

    def after_step(path: SearchPath) -> None:
        step = path.steps[-1]
        if not keep_model(out / step.name, out / _RUNS / step.kept.spec.key, step.kept.spec):
            tell(f"{step.name}: {step.kept.spec.name} was trained elsewhere, so {out / step.name} has its spec alone")
        keep_path(out / PATH, path.to_json())

    with trainings:
        return search(spec, plan, costs, judge, tell=tell, after_step=after_step)
