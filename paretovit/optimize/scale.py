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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from paretovit.errors import UserError
from paretovit.measurement import Measurement
from paretovit.optimize.halving import Asked, Halving
from paretovit.optimize.judge import Judge
from paretovit.optimize.predict import FEWEST, Prediction
from paretovit.optimize.propose import first, grown_alone
from paretovit.optimize.scale_cost import Cost
from paretovit.optimize.scale_factors import Grown, permuted, scattered
from paretovit.optimize.scale_train import Trainings, Watching
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
_DOUBLINGS = 4  # steps that the models measured for a predictor reach over

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """factor      that the cost grows by in each of the `steps`
    refine      models of the last one's cost that are drawn at random and trained, too; the paper has 24
    tolerance   share by which the cost of a candidate may miss the target; past it, a factor is out of reach
    predict     models of all sizes that are measured first, so that a predictor fitted on them (`predict.py`) tells
                where to look for a cost that is measured; 0 to look by multiply-accumulates
    halving     True to end the training of the worse half of a step's candidates after a quarter of the epochs, and of
                the rest after half of them (`halving.py`)
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

    def go(*contests: _Contest) -> None:
        for step in _decided(contests, judge, tell):
            path.steps.append(step)
            after_step(path)

    def contest(name: str, target: float, made: list[Grown]) -> _Contest:
        return _Contest(name, target, made, cost, Halving(_able(made), judge.recipe.epochs, halved=plan.halving))

    if plan.predict and cost.is_measured:
        drawn = scattered(begin, plan.predict, plan.factor**_DOUBLINGS, cost.foretold, Random(start.key))
        tell(f"{len(drawn)} models of all sizes are measured, to foretell {cost.where} of any other")
        tell(f"nine in ten are foretold within a factor of {cost.learn([one.spec for one in drawn]):.2f}")
    ahead = [contest("start", 1.0, [begin])]  # which the first step's candidates do not wait for
    for number in range(1, plan.steps + 1):
        target = plan.factor**number
        base = path.steps[-1].kept.grown if path.steps else begin
        made = grown_alone(base, target, cost, plan.tolerance)
        if not _able(made):
            raise UserError(_unreached(number, target, made, cost, plan))
        go(*ahead, contest(f"step{number}", target, made))
        ahead = []
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
        go(contest("refined", base.ratio, [kept, *others]))
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


def _able(made: Sequence[Grown]) -> list[ModelSpec]:
    return [one.spec for one in made if not one.why]


@dataclass
class _Contest:
    """A step that is to be decided: what its candidates have come to so far."""

    name: str
    target: float
    made: list[Grown]
    cost: Cost
    halving: Halving
    rows: dict[str, Measurement] = field(default_factory=dict)

    def take(self, one: Asked, result: Measurement | float, tell: Tell) -> list[Asked]:
        """The trainings that may begin now."""
        if isinstance(result, Measurement):
            self.rows[one.spec.key] = result
            said = f"top-1 {result.value:.1%}" if result.value is not None else result.why
            tell(f"{self.name}, {len(self.rows)} of {self.halving.finalists}: {one.spec.name}: {said}")
            return []
        assert one.until is not None, "what came to its end has a row"
        further, dropped = self.halving.take(one.spec, one.until, result)
        for spec in dropped:
            tell(f"{self.name}: {spec.name}: {self.halving.dropped[spec.key]}")
        return further

    @property
    def is_over(self) -> bool:
        return len(self.rows) == self.halving.finalists

    def step(self, tell: Tell) -> Step:
        """The most accurate candidate is kept. Raises `UserError` if all have diverged."""
        candidates = [self._judged(one) for one in self.made]
        for one in candidates:
            if one.grown.why:
                tell(f"{self.name}: {TITLES[one.grown.factor][0]}: {one.why}")
        trained = [candidate for candidate in candidates if candidate.top1 is not None]
        if not trained:
            reasons = "; ".join(f"{one.spec.name}: {one.why}" for one in candidates if one.why)
            raise UserError(f"{self.name}: no candidate could be trained ({reasons}); try --set with a smaller lr")
        best = max(trained, key=lambda one: (one.top1 or 0.0, -one.grown.ratio))
        floor = (best.top1 or 0.0) - best.error
        candidates = [replace(one, tied=one.top1 is not None and one.top1 >= floor) for one in candidates]
        kept = replace(best, tied=True)
        if len(self.made) > 1:
            tell(f"{self.name}: {kept.spec.name} is kept")
        return Step(self.name, self.target, tuple(candidates), kept)

    def _judged(self, made: Grown) -> Candidate:
        if why := made.why or self.halving.dropped.get(made.spec.key, ""):
            return Candidate(made, why=why)
        row = self.rows[made.spec.key]
        value, predicted = self.cost.row(made.spec).value, self.cost.predicted(made.spec)
        if row.value is None:
            return Candidate(made, value, why=row.why, predicted=predicted)
        images = row.origin.timing.get("images")
        error = math.sqrt(row.value * (1 - row.value) / images) if images else 0.0
        return Candidate(made, value, row.value, error, predicted=predicted)


def _decided(contests: Sequence[_Contest], judge: Judge, tell: Tell) -> Iterator[Step]:
    """The steps in this order, each when it is decided; the candidates of all of them are trained side by side."""
    left = deque(contests)
    owner = {spec.key: contest for contest in contests for spec in _able(contest.made)}
    asked = deque(one for contest in contests for one in contest.halving.asked)
    for one, result in judge.results(asked):
        asked.extend(owner[one.spec.key].take(one, result, tell))
        while left and left[0].is_over:
            yield left.popleft().step(tell)
    assert not left, "every training comes to an end"


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
