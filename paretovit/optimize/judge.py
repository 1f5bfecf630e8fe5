"""What the models of a search come to: accuracies from the store, or by trainings whose rows it is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from paretovit.devices import origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.optimize.halving import Asked
from paretovit.optimize.scale_train import Outcome
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.training.recipe import Recipe

Trainer = Callable[[ModelSpec], list[Measurement]]
Trainers = Callable[[deque[Asked]], Iterator[tuple[Asked, Outcome]]]


@dataclass
class Judge:
    """Accuracies of models, from the store or by training. The split that a recipe holds out is what is judged by.

    `train` gives the rows of one model, and raises `Unmeasurable` if it diverges. `many` trains several, perhaps at
    once, all of the recipe or so many epochs of it (`scale_train.py`); without it they are trained one by one, to the
    end.
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

    def results(self, asked: deque[Asked]) -> Iterator[tuple[Asked, Measurement | float]]:
        """That row of each that is `asked` for, or the top-1 accuracy after so many epochs, 0 where the training has
        diverged: at once what the store has, the others as they come. More may be asked for between two of them."""
        unknown: deque[Asked] = deque()
        trained = self._one_by_one(unknown) if self.many is None else self.many(unknown)
        while True:
            while asked:
                one = asked.popleft()
                known = self.known(one.spec)
                # the row of one that has diverged does not say what it had come to before: its folder does
                if known is None or (known.value is None and one.until is not None):
                    unknown.append(one)
                else:
                    yield one, _after(known, one.until)
            if (come := next(trained, None)) is None:
                return
            one, outcome = come
            if isinstance(outcome, float):
                yield one, outcome
            else:
                yield one, _after(self._kept(one.spec, outcome), one.until)

    def _one_by_one(self, asked: deque[Asked]) -> Iterator[tuple[Asked, Outcome]]:
        while asked:
            one = asked.popleft()
            yield one, self._outcome(one.spec)

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


def _after(row: Measurement, until: int | None) -> Measurement | float:
    """The row itself, or what its learning curve has after so many epochs."""
    if until is None:
        return row
    curve = {int(epoch): float(top1) for epoch, top1 in row.origin.timing.get("curve", ())}
    return curve.get(until, row.value or 0.0)
