"""The search by successive halving, with a scripted trainer of several models at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from test_scale import START, Scripted, accuracy, found

from paretovit.errors import Unmeasurable
from paretovit.measurement import Measurement
from paretovit.optimize.judge import Judge
from paretovit.optimize.scale import Plan, search
from paretovit.optimize.scale_cost import Cost
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.training.recipe import DEMO


@pytest.fixture
def store():
    with Store("sqlite://") as made:
        yield made


class Halting:
    """Trains several by formula; what rests after so many epochs has come to a share of its last accuracy."""

    def __init__(self, diverging: str = "", late: str = "", after: int = 0) -> None:
        self.diverging, self.late, self.after = diverging, late, after
        self.at_once: list[set[str]] = []  # the keys of those that were there to be trained next
        self.epochs: dict[str, int] = {}  # that each model was trained for, by key

    def __call__(self, waiting):
        while waiting:
            self.at_once.append({one.spec.key for one in waiting})
            asked = waiting.pop()  # in another order than they were asked for
            spec, until = asked
            self.epochs[spec.key] = max(self.epochs.get(spec.key, 0), until or DEMO.epochs)
            if self.diverging and self.diverging in spec.name and (until or DEMO.epochs) > self.after:
                yield asked, Unmeasurable("loss nan at step 7")
            elif until is None:
                yield asked, Scripted()(spec)
            else:
                behind = bool(self.late) and self.late in spec.name and until < DEMO.epochs / 3
                yield asked, accuracy(spec) * (until / DEMO.epochs) ** (0.9 if behind else 0.1)


def halved(store: Store, many: Halting, plan: Plan, tell: Callable[[str], None] = lambda name: None):
    def alone(spec: ModelSpec) -> list[Measurement]:
        raise AssertionError("several are trained by those who can")

    judge = Judge(store, DEMO, "toy", "val", alone, many=many)
    cost = Cost("macs", START, store)
    return search(START, plan, cost, judge, after_step=lambda path: tell(path.steps[-1].name))


def test_halving_comes_to_the_same_model_for_half_of_the_epochs(store, tmp_path):
    many = Halting()
    path = halved(store, many, Plan(steps=2, halving=True))
    with Store(tmp_path / "full.sqlite") as other:
        whole = found(other, Scripted(), Plan(steps=2))
    assert [step.kept.spec for step in path.steps] == [step.kept.spec for step in whole.steps]
    spent = [many.epochs[one.spec.key] for one in path.steps[1].candidates if not one.grown.why]
    assert sorted(spent) == [4, 4, 4, 8, 15, 15]  # a quarter of 15 epochs, a half, and all
    assert [one.top1 is not None for one in path.steps[1].candidates].count(True) == 2
    dropped = next(one for one in path.steps[1].candidates if many.epochs[one.spec.key] == 4)
    assert dropped.why.startswith("in the worse half after 4 of 15 epochs, top-1 ")
    again = Halting()
    assert halved(store, again, Plan(steps=2, halving=True)).to_json() == path.to_json()


@pytest.mark.parametrize("halving", [True, False])
def test_the_first_candidates_do_not_wait_for_the_start(store, halving):
    many, told = Halting(), []
    path = halved(store, many, Plan(steps=2, halving=halving), told.append)
    keys = [{one.spec.key for one in step.candidates if not one.grown.why} for step in path.steps]
    assert many.at_once[0] == keys[0] | keys[1]
    assert not any(waiting & keys[2] for waiting in many.at_once if waiting & keys[1])
    assert [step.name for step in path.steps] == told == ["start", "step1", "step2"]


def test_halving_drops_what_is_late_and_what_diverges_first(store):
    best = "d12 h2 e64 r4 I160 p16"
    path = halved(store, Halting(late=best), Plan(steps=1, halving=True))
    assert path.steps[1].kept.spec.name.removeprefix("start ") != best
    with Store("sqlite://") as other:
        path = halved(other, Halting(diverging=best), Plan(steps=1, halving=True))
        lost = next(one for one in path.steps[1].candidates if best in one.spec.name)
        assert lost.why == "in the worse half after 4 of 15 epochs, top-1 0.0%"
        (row,) = other.rows("top1", spec=lost.spec.key)
        assert row.why == "the training diverged: loss nan at step 7"


def test_what_diverges_later_was_still_in_the_better_half_before(store):
    """Gone through again, a search takes the same path: the row of a training that diverged is no curve."""
    best = "d12 h2 e64 r4 I160 p16"
    path = halved(store, Halting(diverging=best, after=4), Plan(steps=1, halving=True))
    lost = next(one for one in path.steps[1].candidates if best in one.spec.name)
    assert lost.why == "in the worse half after 8 of 15 epochs, top-1 0.0%"
    again = halved(store, Halting(diverging=best, after=4), Plan(steps=1, halving=True))
    assert again.to_json() == path.to_json()
