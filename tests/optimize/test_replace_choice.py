"""The choice of layers and mixers for a budget, on digits of 8 px and on accuracies that are planted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from few_digits import few_digits

from paretovit.analysis.pareto import front
from paretovit.cost.count import count
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.optimize import replace_choice
from paretovit.optimize.replace import Parent
from paretovit.optimize.replace_candidates import Bench, Budget, Mixers, Search, Tried, by_hand
from paretovit.optimize.replace_choice import CHOICE, MODEL, Chosen, choose_layers
from paretovit.optimize.replace_choice_sheet import choice_sheet
from paretovit.optimize.replacement import Plan
from paretovit.report.quantities import quantity
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.store import Store
from paretovit.training.recipe import Recipe
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.checkpoint import load_model

SPEC = ModelSpec(
    name="parent", stages=(Stage(depth=4, dim=16, heads=2),), image_px=8, patch_px=4, in_chans=1, num_classes=10
)
RECIPE = Recipe(name="short", epochs=2, batch_size=32, lr=3e-3, held_out=0.25)
SEARCH = Search(mixers=("pooling", "identity"), pieces=3, beam=1, finalists=1)
BUDGET = Budget("macs", 0.85, True)


DATA = few_digits(128, 128)
pytestmark = pytest.mark.usefixtures("one_thread")


def parent(spec: ModelSpec = SPEC) -> Parent:
    torch.manual_seed(0)
    return Parent(spec, Backbone(spec).state_dict(), "noise")


def chosen(folder: Path, store: Store, search: Search = SEARCH, **changes: Any) -> Chosen:
    values: dict[str, Any] = {"budget": BUDGET, "recipe": RECIPE} | changes
    return choose_layers(
        parent(), DATA, values.pop("recipe"), values.pop("budget"), search=search, out=folder, store=store, **values
    )


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / CHOICE).read_text())


def test_the_choice_keeps_the_budget_is_a_checkpoint_and_is_not_below_what_is_made_by_hand(tmp_path: Path) -> None:
    with Store("sqlite://") as store:
        found = chosen(tmp_path, store)
    spec, state = load_model(tmp_path / MODEL)
    Backbone(spec).load_state_dict(state)
    macs = {row.model: row.value for row in count([SPEC, spec]) if row.indicator == "macs"}
    assert spec.key == found.chosen.spec.key
    assert macs[spec.name] <= 0.85 * macs["parent"]
    by_hand = [one for one in found.tried if one.made != "found"]
    assert {one.made for one in by_hand} == {"early", "late"}  # of 2 of 3 layers, the middle one is the early one
    assert all(one.top1 is not None for one in by_hand)
    trained = [one for one in found.tried if one.top1 is not None]
    assert len(trained) == len(by_hand) + 1
    mine = trained.index(found.chosen)
    assert front([one.ratio for one in trained], [one.top1 for one in trained])[mine]
    sheet = choice_sheet(found)
    verdicts = [line[-1] for line in sheet.lines]
    assert verdicts.count("chosen") == 1
    assert "over budget" in verdicts
    assert len(sheet.lines) == sum(one.score is not None for one in found.tried)
    assert max(map(len, sheet.notes.splitlines())) <= 100
    assert found.to_json()["chosen"] == spec.key


def test_a_search_that_was_stopped_anywhere_chooses_as_one_that_was_not_and_trains_nothing_twice(
    tmp_path: Path,
) -> None:
    left = 0

    @contextmanager
    def stopping(title: str) -> Iterator[Any]:
        """Stops in the middle of the training that comes when none is left."""
        nonlocal left
        left -= 1

        def watch(tick: Any) -> None:
            if left < 0:
                raise KeyboardInterrupt

        yield watch

    with Store("sqlite://") as store:
        for left_now in (0, 3, 5):
            left = left_now
            with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
                chosen(tmp_path / "a", store, watching=stopping)
        left = 1000
        stopped = chosen(tmp_path / "a", store, watching=stopping)
        trainings = 1000 - left
        left = 1
        chosen(tmp_path / "a", store, watching=stopping)  # one only, which is gone on with to judge what is chosen
    with Store("sqlite://") as store:
        left = 1000
        whole = chosen(tmp_path / "b", store, watching=stopping)
    assert 1000 - left > trainings
    assert told(tmp_path / "a") == told(tmp_path / "b")
    assert stopped.chosen == whole.chosen
    ours, theirs = (load_model(tmp_path / name / MODEL)[1] for name in "ab")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("macs=0.7x", Budget("macs", 0.7, True)),
        ("latency_s=20ms", Budget("latency_s", 0.02, False)),
        ("peak_bytes_infer = 4MB", Budget("peak_bytes_infer", 4e6, False)),
    ],
)
def test_a_budget_is_a_share_of_the_parent_or_a_number(words: str, found: Budget) -> None:
    assert Budget.of(words, quantity) == found


def test_of_a_rate_the_budget_is_the_least() -> None:
    row = Measurement(
        model="p", indicator="images_per_s", unit="1/s", value=100.0, conditions=Conditions(), origin=Origin(how="")
    )
    assert Budget("images_per_s", 2.0, True).most(row) == 0.5
    assert Budget("images_per_s", 400.0, False).most(row) == 0.25
    with pytest.raises(UserError, match="keeps the budget"):
        Budget("images_per_s", 0.7, True).most(row)


@pytest.mark.parametrize(
    ("words", "message"),
    [("macs", "no budget"), ("mac=0.7x", "did you mean macs"), ("macs=-1x", "above 0"), ("macs=0.7y", "'y'")],
)
def test_words_that_are_no_budget_are_refused(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Budget.of(words, quantity)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": Budget("macs", 1.2, True)}, "keeps the budget macs=1.2x as it is"),
        ({"budget": Budget("macs", 0.01, True)}, "nothing reaches macs=0.01x"),
        ({"runtime": "onnxruntime"}, "the same on every runtime"),
    ],
)
def test_budgets_that_bind_nothing_or_nothing_reaches_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with Store("sqlite://") as store, pytest.raises(UserError, match=message):
        chosen(tmp_path, store, **changes)


def test_a_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHOICE).write_text(json.dumps({"search": {"budget": "macs=0.5x"}}))
    with Store("sqlite://") as store, pytest.raises(UserError, match="another"):
        chosen(tmp_path, store)


@pytest.mark.parametrize("changes", [{"mixers": ("fokal",)}, {"mixers": ()}, {"beam": 0}, {"pieces": 0}])
def test_searches_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Search(**changes)


def test_neighbours_with_one_mixer_are_one_stretch_within_a_stage() -> None:
    two = replace(SPEC, stages=(Stage(depth=2, dim=16, heads=2), Stage(depth=2, dim=16, heads=2)))
    mixers: Mixers = ("", "focal", "focal", "pooling")
    assert SEARCH.plan(SPEC, mixers) == Plan(layers=((1, 2), (3, 3)), mixer=(Part("focal"), Part("pooling")))
    assert SEARCH.plan(two, ("", "focal", "focal", "")) == Plan(layers=((1, 1), (2, 2)), mixer=Part("focal"))


DEEP = replace(SPEC, name="deep", stages=(Stage(depth=7, dim=16, heads=2),))
# points lost by a layer's replacement: little where the planted plan has it
HARMLESS = {(1, "pooling"), (4, "identity"), (5, "pooling")}


def planted(mixers: Mixers) -> float:
    """Each layer by itself, as no stretch made by hand has it."""
    return 0.9 - sum(0.001 if (at, m) in HARMLESS else 0.05 for at, m in enumerate(mixers) if m)


def bench(beam: int, told: list[Mixers], diverges: str = "") -> Bench:
    """A bench on which each layer replaced saves a tenth, and accuracies are the planted ones."""
    search = replace(SEARCH, pieces=6, beam=beam)
    plans: dict[str, Plan] = {}

    def mixers_of(spec: ModelSpec) -> Mixers:
        each = ["" for _ in range(7)]
        for (first, last), mixer in plans[spec.key].each:
            each[first : last + 1] = [mixer.name] * (last - first + 1)
        return tuple(each)

    def judge(spec: ModelSpec) -> Any:
        mixers = mixers_of(spec)
        told.append(mixers)
        gone = bool(diverges) and diverges in mixers
        timing = {"images": 10**9}
        return SimpleNamespace(
            value=None if gone else planted(mixers),
            why="diverged" if gone else "",
            origin=Origin(how="", timing=timing),
        )

    def ratio(spec: ModelSpec) -> float:
        return 1 - 0.1 * sum(bool(m) for m in mixers_of(spec))

    cost: Any = SimpleNamespace(ratio=ratio, row=lambda spec: SimpleNamespace(value=ratio(spec)))
    judges: Any = judge
    return Bench(parent(DEEP), search, cost, 0.75, judges, judges, plans, lambda text: None)


def searched(made: Bench) -> Tried:
    by_hand(made, BUDGET)
    for one in list(made.tried.values()):
        if one.made != "found":
            made.scored(one.mixers, one.made)
    list(replace_choice._steps(made))
    replace_choice._train_best(made)
    return replace_choice._chosen(made, lambda spec: "holds")


@pytest.mark.parametrize("beam", [1, 2])
def test_a_plan_that_nobody_makes_by_hand_is_found_where_it_is_better(beam: int) -> None:
    told: list[Mixers] = []
    best = searched(bench(beam, told))
    assert best.made == "found"
    assert best.mixers == ("", "pooling", "", "", "identity", "pooling", "")


def test_by_hand_are_the_shortest_stretches_that_keep_the_budget() -> None:
    made = bench(1, [])
    stretches = {(one.made, one.mixers) for one in by_hand(made, BUDGET)}
    assert ("late", ("", "", "", "identity", "identity", "identity", "")) in stretches
    assert ("early", ("pooling", "pooling", "pooling", "", "", "", "")) in stretches
    assert ("middle", ("", "identity", "identity", "identity", "", "", "")) in stretches
    assert len(stretches) == 6


def test_a_mixer_whose_training_diverges_is_told_and_not_chosen() -> None:
    made = bench(1, [], diverges="pooling")
    best = searched(made)
    assert set(best.mixers) == {"", "identity"}
    assert any(one.why == "diverged" for one in made.tried.values())


def test_what_breaks_the_budget_when_measured_again_is_passed_over() -> None:
    made = bench(2, [])
    first = searched(made)
    asked: list[str] = []

    def holding(spec: ModelSpec) -> Any:
        asked.append(spec.key)
        return "fails" if spec.key == first.spec.key else "holds"

    second = replace_choice._chosen(made, holding)
    assert second.mixers != first.mixers
    assert asked[0] == first.spec.key
    with pytest.raises(UserError, match="measured again, no plan keeps the budget"):
        replace_choice._chosen(made, lambda spec: "fails")


def test_a_plan_that_cannot_be_measured_has_a_reason() -> None:
    made = bench(1, [])

    def fails(spec: ModelSpec) -> float:
        raise Unmeasurable("out of memory")

    made.cost.ratio = fails  # type: ignore[method-assign]
    assert made.scored(("identity", *[""] * 6), "found").why == "out of memory"
