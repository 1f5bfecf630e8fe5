"""The search with a scripted trainer: what is trained is foretold by a formula, and costs are counted for real."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from scripted_measure import ScriptedMeasure

from paretovit.cost.formulas import vit_counts
from paretovit.devices import origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.optimize.bracket import crossing
from paretovit.optimize.judge import Judge
from paretovit.optimize.scale import PATH, Plan, scale, search
from paretovit.optimize.scale_cost import Cost, ratio_to
from paretovit.optimize.scale_factors import Grown, grown, larger, permuted, scattered
from paretovit.optimize.scale_sheet import scale_sheet
from paretovit.optimize.search_folder import check_same, keep_path
from paretovit.report.figures.scaling_path import draw_path
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.store import Store
from paretovit.training.recipe import DEMO
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.factors import TITLES, Factors, factors_of, with_factors

# the paper's start (table 1) without the second token, so that the closed formula counts it
START = ModelSpec(name="start", stages=(Stage(depth=6, dim=128, heads=2),), image_px=160, patch_px=16, num_classes=10)
IMAGES = 100_000


def formula(spec: ModelSpec, count: str = "macs") -> float:
    d, h, e, r, image, patch = factors_of(spec)
    counts = vit_counts(
        depth=d, heads=h, head_dim=e, mlp_ratio=r, image_px=image, patch_px=patch, num_classes=spec.num_classes
    )
    return float(counts[count])


def times_the_start(spec: ModelSpec) -> float:
    """Multiply-accumulates over those of the start."""
    return formula(spec) / formula(START)


def accuracy(spec: ModelSpec) -> float:
    """Rises with every factor; heads and layers serve best, unless one of them is far ahead of the other."""
    d, h, e, r, image, patch = factors_of(spec)
    return 1 - 0.5 * (d * 2.0) ** -0.3 * (h * 4.0) ** -0.3 * (e * r * image / patch / 2560) ** -0.1


class Scripted:
    """Trains by formula; `dies_at` is the training that is killed, before its rows are written."""

    def __init__(self, diverging: tuple[str, ...] = (), dies_at: int | None = None) -> None:
        self.diverging, self.dies_at, self.trained = diverging, dies_at, []

    def __call__(self, spec: ModelSpec) -> list[Measurement]:
        if len(self.trained) == self.dies_at:
            raise KeyboardInterrupt
        self.trained.append(spec.key)
        if str(factors_of(spec)) in self.diverging or "all" in self.diverging:
            raise Unmeasurable("loss nan at step 7")
        made = replace(origin("trained"), timing={"images": IMAGES})
        conditions = Conditions(spec=spec.key, data="toy", split="val", recipe=DEMO.label, seed=DEMO.seed)
        value = accuracy(spec)
        return [
            Measurement(
                model=spec.name, indicator="top1", unit="1", value=value, samples=(value,), conditions=conditions,
                origin=made,
            )
        ]  # fmt: skip


def grown_specs(number: int) -> list[ModelSpec]:
    """The start with one layer more, and two, ..."""
    return [with_factors(START, own) for own in islice(larger(factors_of(START), "layers"), number)]


def found(store: Store, train: Scripted, plan: Plan | None = None, start: ModelSpec = START, cost: str = "macs"):
    return search(start, plan or Plan(steps=2), Cost(cost, start, store), Judge(store, DEMO, "toy", "val", train))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "rows.sqlite") as made:
        yield made


@pytest.mark.parametrize("factor", TITLES)
@pytest.mark.parametrize("times", [2.0, 4.0])
def test_each_factor_alone_meets_the_target_by_the_closed_formula(factor, times):
    macs = ratio_to(START, "macs")
    made = grown(Grown("start", START, 1.0), factor, times, macs, macs)
    assert made.ratio == pytest.approx(formula(made.spec) / formula(START))
    assert made.ratio == pytest.approx(times, rel=0.1)
    changed = [n for n in TITLES if getattr(factors_of(made.spec), n) != getattr(factors_of(START), n)]
    assert factor in changed
    assert set(changed) <= {factor, "image_px"}  # an image follows its patch
    # nothing is nearer: neither one value less nor one more
    sizes = [with_factors(START, one) for one in larger(factors_of(START), factor)]
    best = min(abs(formula(one) / formula(START) / times - 1) for one in sizes)
    assert abs(made.ratio / times - 1) == pytest.approx(best)


def test_images_are_rounded_up_to_what_the_patch_divides():
    patches = list(larger(Factors(6, 2, 64, 4, 160, 16), "patch_px"))
    assert [(f.patch_px, f.image_px) for f in patches[:4]] == [(15, 165), (14, 168), (13, 169), (12, 168)]
    assert all(f.image_px % f.patch_px == 0 and f.image_px >= 160 for f in patches)
    assert [f.image_px for f in larger(Factors(6, 2, 64, 4, 160, 16), "image_px")][:3] == [176, 192, 208]


def test_factors_are_read_and_put_back():
    spec = resolve("deit_scaled_tiny_rp")
    assert factors_of(spec) == (17, 4, 60, 5, 171, 19)
    again = with_factors(with_factors(spec, Factors(2, 2, 8, 3, 32, 4)), factors_of(spec))
    assert again.key == spec.key
    assert again.name == "deit_scaled_tiny_rp d17 h4 e60 r5 I171 p19"
    with pytest.raises(UserError, match="one stage"):
        factors_of(resolve("vit_tiny_patch16_224.augreg_in21k_ft_in1k"))
    with pytest.raises(UserError, match="no whole ratio"):
        factors_of(replace(START, stages=(replace(START.stages[0], mlp=Part.of("mlp", ratio=2.5)),)))


def test_the_search_takes_the_most_accurate_of_equal_cost(store):
    path = found(store, Scripted(), Plan(steps=3))
    assert [step.name for step in path.steps] == ["start", "step1", "step2", "step3"]
    for number, step in enumerate(path.steps[1:], start=1):
        assert step.target == 2**number
        trained = [one for one in step.candidates if one.top1 is not None]
        assert all(abs(formula(one.spec) / formula(START) / step.target - 1) <= 0.1 for one in trained)
        best = max(accuracy(one.spec) for one in trained)
        assert accuracy(step.kept.spec) >= best - math.sqrt(best * (1 - best) / IMAGES)
        before = factors_of(path.steps[number - 1].kept.spec)
        assert sum(a != b for a, b in zip(before, factors_of(step.kept.spec), strict=True)) <= 2
    assert factors_of(path.steps[1].kept.spec) == (12, 2, 64, 4, 160, 16)  # the most accurate by that formula
    assert build(path.steps[-1].kept.spec, device="meta").num_classes == 10


def test_the_most_accurate_is_kept_also_where_noise_does_not_tell_it_from_cheaper_ones(store, monkeypatch):
    monkeypatch.setattr("test_scale.IMAGES", 20)
    path = found(store, Scripted(diverging=("d12 h2 e64 r4 I160 p16",)), Plan(steps=1))
    tied = [one for one in path.steps[1].candidates if one.tied]
    kept = path.steps[1].kept
    assert kept.grown.factor == "heads"
    assert kept.top1 == max(one.top1 for one in tied)
    assert kept.grown.ratio > min(one.grown.ratio for one in tied)


def test_of_equally_accurate_ones_the_cheapest_is_kept(store, monkeypatch):
    monkeypatch.setattr("test_scale.accuracy", lambda spec: 0.5)
    path = found(store, Scripted(), Plan(steps=1))
    ratios = [one.grown.ratio for one in path.steps[1].candidates if one.top1 is not None]
    assert len(set(ratios)) > 1
    assert path.steps[1].kept.grown.ratio == min(ratios)


def test_a_search_killed_at_any_training_goes_on_to_the_same_path(tmp_path):
    plan = Plan(steps=2, refine=3)
    with Store(tmp_path / "whole.sqlite") as store:
        once = Scripted()
        whole = found(store, once, plan).to_json()
    assert len(set(once.trained)) == len(once.trained) > 8
    with Store(tmp_path / "killed.sqlite") as store:
        trained: list[str] = []
        for _ in range(len(once.trained)):
            one = Scripted(dies_at=1)
            try:
                result = found(store, one, plan)
            except KeyboardInterrupt:
                result = None
            trained += one.trained
        assert result is not None
        assert trained == once.trained  # each once, in the same order
        assert result.to_json() == whole
        idle = Scripted()
        assert found(store, idle, plan).to_json() == whole
        assert idle.trained == []


def test_a_path_that_is_gone_on_with_keeps_the_steps_that_were_there(store, tmp_path):
    path = found(store, Scripted(), Plan(steps=2)).to_json()
    file = tmp_path / "out" / PATH

    def first(number: int, path: dict) -> dict:
        return path | {"steps": path["steps"][:number]}

    for number in (1, 2, 3):
        keep_path(file, first(number, path))
        assert json.loads(file.read_text()) == first(number, path)
    whole = file.read_bytes()
    for number in (1, 2, 3):
        keep_path(file, first(number, path))
        assert file.read_bytes() == whole
    other = found(store, Scripted(), Plan(steps=1, factor=3.0)).to_json()
    keep_path(file, first(1, other))  # its start is the same
    assert file.read_bytes() == whole
    keep_path(file, other)
    assert json.loads(file.read_text()) == other


def test_a_path_of_an_older_version_or_of_another_search_is_refused(tmp_path):
    file, wanted = tmp_path / PATH, {"factor": 2.0, "halving": False}
    check_same(file, wanted)
    for found_there, why in (
        ({"search": {"factor": 2.0}, "steps": []}, "older version, for it does not say the search's halving; give ano"),
        ({"search": {"factor": 3.0, "halving": False}, "steps": []}, "a search with another factor; give another --ou"),
        ({"steps": []}, "is not the path of a search; give another --out"),
        ([1], "is not the path of a search; give another --out"),
    ):
        file.write_text(json.dumps(found_there), encoding="utf-8")
        with pytest.raises(UserError, match=why):
            check_same(file, wanted)
    file.write_text('{"search"', encoding="utf-8")
    with pytest.raises(UserError, match="is not the path of a search"):
        check_same(file, wanted)


def test_the_seed_decides_what_is_drawn():
    base = Grown("start", START, 1.0)

    def draw(seed: str) -> list[Grown]:
        return permuted(
            base, 6, cost=times_the_start, foretold=times_the_start, tolerance=0.05, least_px=160, random=Random(seed)
        )

    drawn = draw("0")
    assert drawn == draw("0") != draw("1")
    assert len({one.spec.key for one in drawn} | {START.key}) == 7
    for one in drawn:
        factors = factors_of(one.spec)
        assert formula(one.spec) == pytest.approx(formula(START), rel=0.05)
        assert factors.image_px % factors.patch_px == 0
        assert factors.image_px >= 160
        assert factors.head_dim % 2 == 0


def test_what_diverges_is_a_row_and_is_passed_over(store):
    best = found(Store(Path(store.place).with_name("other.sqlite")), Scripted(), Plan(steps=1)).steps[1].kept.spec
    broken = Scripted(diverging=(str(factors_of(best)),))
    path = found(store, broken, Plan(steps=1))
    assert path.steps[1].kept.spec.key != best.key
    (row,) = store.rows("top1", spec=best.key)
    assert row.value is None
    assert "loss nan at step 7" in row.why
    before = len(broken.trained)
    assert found(store, broken, Plan(steps=1)).to_json() == path.to_json()
    assert len(broken.trained) == before  # nor tried again
    assert "step1, layers: the training diverged" in scale_sheet(path).notes.replace("\n", " ")


def test_where_everything_diverges_the_search_ends_and_says_why(store):
    with pytest.raises(UserError, match=r"start: no candidate could be trained .*loss nan at step 7.*smaller lr"):
        found(store, Scripted(diverging=("all",)))


def test_a_target_out_of_reach_names_the_nearest(store):
    small = replace(START, image_px=4, patch_px=2, stages=(replace(START.stages[0], depth=1, dim=2, heads=1),))
    costs = {f"{f}": formula(with_factors(small, f)) for name in TITLES for f in larger(factors_of(small), name)}
    nearest = min((value / formula(small) for value in costs.values()), key=lambda r: abs(math.log(r / 1.05)))
    with pytest.raises(UserError, match=rf"to 1\.05 times .* within 1%; the nearest is {nearest:.3g} times, by the "):
        found(store, Scripted(), Plan(factor=1.05, tolerance=0.01, steps=1), start=small)
    with pytest.raises(UserError, match="params to 1e\\+06 times"):
        found(store, Scripted(), Plan(factor=1e6, steps=1), cost="params")


@pytest.mark.parametrize("cost", ["params", "peak_bytes_infer"])
def test_other_costs_are_met_too(store, cost):
    path = found(store, Scripted(), Plan(steps=1, tolerance=0.15), cost=cost)
    kept = path.steps[1].kept
    assert kept.grown.ratio == pytest.approx(2, rel=0.15)
    if cost == "params":
        assert kept.cost == formula(kept.spec, "params")
        images = next(one for one in path.steps[1].candidates if one.grown.factor == "image_px")
        assert images.top1 is None  # parameters hardly grow with images
        assert "out of reach" in images.why


class Stopwatch(ScriptedMeasure):
    """A latency of macs to some power and what an image costs besides."""

    def __init__(self, **how) -> None:
        super().__init__(self.latency, **how)

    @staticmethod
    def latency(spec: ModelSpec) -> float:
        return 1e-3 + 1e-9 * formula(spec) ** 0.9


def test_a_measured_cost_is_met_by_few_measurements_and_freed_of_drift(store, monkeypatch):
    watch = Stopwatch()
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    path = found(store, Scripted(), Plan(steps=2, tolerance=0.12), cost="latency_s")
    for step in path.steps[1:]:
        for one in step.candidates:
            if one.top1 is not None:
                true = watch.latency(one.spec) / watch.latency(START)
                assert one.grown.ratio == pytest.approx(true)
                assert true == pytest.approx(step.target, rel=0.12)
    assert len(watch.measured) == len(set(watch.measured)) <= 1 + 12 * 3
    again = Stopwatch()
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", again)
    assert found(store, Scripted(), Plan(steps=2, tolerance=0.12), cost="latency_s").to_json() == path.to_json()
    assert again.measured == []


def test_a_model_that_cannot_be_measured_is_passed_over(store, monkeypatch):
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", Stopwatch(broken="h3"))
    path = found(store, Scripted(), Plan(steps=1, tolerance=0.15), cost="latency_s")
    heads = next(one for one in path.steps[1].candidates if one.grown.factor == "heads")
    assert (heads.top1, heads.why) == (None, "the process ended")
    assert heads.to_json()["ratio"] is None
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", Stopwatch(broken="start"))
    with pytest.raises(UserError, match="cannot be had: the process ended"):
        found(Store(Path(store.place).with_name("new.sqlite")), Scripted(), cost="latency_s")


def test_what_others_disturbed_is_measured_again_and_then_gone_by(store, monkeypatch):
    watch = Stopwatch(busy=2)
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    path = found(store, Scripted(), Plan(steps=1, tolerance=0.15), cost="latency_s")
    assert set(map(watch.measured.count, watch.measured)) == {3}
    for one in path.steps[1].candidates:
        if one.top1 is not None:
            assert one.grown.ratio == pytest.approx(watch.latency(one.spec) / watch.latency(START))


def test_what_stays_unsound_is_refused_and_the_search_goes_on_with_others(store, monkeypatch):
    wide = Stopwatch(wide="h3")
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", wide)
    path = found(store, Scripted(), Plan(steps=1, tolerance=0.15), cost="latency_s")
    heads = next(one for one in path.steps[1].candidates if one.grown.factor == "heads")
    assert (heads.top1, heads.why) == (
        None,
        "3 measurements spread by more than 10% to either side; search on a quieter machine",
    )
    assert path.steps[1].kept.top1 is not None
    quiet = Stopwatch()
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", quiet)
    again = found(store, Scripted(), Plan(steps=1, tolerance=0.15), cost="latency_s")
    assert again.to_json() == path.to_json()  # what was refused stays so, or the path would be another
    assert quiet.measured == []


def test_what_was_measured_while_the_machine_was_slow_is_measured_again(store, monkeypatch):
    watch = Stopwatch(slow=range(1, 3))
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    path = found(store, Scripted(), Plan(steps=1, tolerance=0.15), cost="latency_s")
    assert watch.runs[0] == [START.key]
    assert watch.runs[1] == watch.runs[2] == watch.runs[3][: len(watch.runs[1])]
    for one in path.steps[1].candidates:
        if one.top1 is not None:
            assert one.grown.ratio == pytest.approx(watch.latency(one.spec) / watch.latency(START))


def test_a_machine_that_stays_slow_is_named(store, monkeypatch):
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", Stopwatch(slow=range(1, 99)))
    with pytest.raises(UserError, match="the machine slowed down in 3 of 3 measurements; search on a quieter one"):
        found(store, Scripted(), Plan(steps=1, tolerance=0.15), cost="latency_s")


@pytest.mark.parametrize("indicator", ["latency_s", "images_per_s"])
def test_a_start_that_turns_out_to_be_faster_is_measured_anew(store, monkeypatch, indicator):
    watch = Stopwatch(slow=(0, 3))
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    cost, (one, other) = Cost(indicator, START, store), grown_specs(2)
    assert cost.ratio(one) == pytest.approx(watch.latency(one) / watch.latency(START))
    assert watch.runs[:3] == [[START.key], [one.key], [START.key]]
    assert len(store.rows(indicator, spec=START.key, every=True)) == 2
    assert cost.ratio(other) == pytest.approx(watch.latency(other) / watch.latency(START))
    assert watch.runs[3:] == [[other.key], [other.key]]  # slow at first, by what the start takes now
    assert Cost(indicator, START, store).ratio(one) == cost.ratio(one)


def test_a_start_that_is_never_quiet_ends_the_search_and_is_tried_anew_by_the_next(store, monkeypatch):
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", Stopwatch(busy=99))
    with pytest.raises(UserError, match=r"start cannot be had: others kept the machine busy in 3 of 3 measurements"):
        found(store, Scripted(), Plan(steps=1), cost="latency_s")
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", Stopwatch())
    assert found(store, Scripted(), Plan(steps=1, tolerance=0.15), cost="latency_s").steps[1].kept.cost


def test_a_start_that_is_slow_again_stays_what_it_was(store, monkeypatch):
    watch = Stopwatch(slow=(0, 2))
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    cost, (one,) = Cost("latency_s", START, store), grown_specs(1)
    cost.ratio(one)
    assert watch.runs == [[START.key], [one.key], [START.key]]
    assert len(store.rows("latency_s", spec=START.key, every=True)) == 1


def test_a_device_that_is_gone_ends_the_search_and_leaves_no_row(store, monkeypatch):
    """Named "cpu" in the conditions of its rows, for there is no other device here."""
    cost = Cost("latency_s", START, store)
    cost.setting = replace(cost.setting, device="cuda:0")
    monkeypatch.setattr("paretovit.cost.measure.device_name", lambda device: "a card")
    watch = Stopwatch(gone_after=1)
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", lambda *a, **k: watch(*a, **(k | {"device": "cpu"})))
    with pytest.raises(UserError, match=r"cuda:0 is gone \(the process ended\); .* the same command goes on"):
        search(START, Plan(steps=1), cost, Judge(store, DEMO, "toy", "val", Scripted()))
    assert [row.conditions.spec for row in store.rows("latency_s", every=True)] == [START.key]

    def refuses(*args, **keys):
        raise UserError("cuda:0 is not here")

    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", refuses)
    with pytest.raises(UserError, match=r"cuda:0 is not here; what was measured .* the same command goes on"):
        search(START, Plan(steps=1), cost, Judge(store, DEMO, "toy", "val", Scripted()))


def test_the_next_guess_lies_on_the_line_through_what_is_known():
    assert crossing([(0.0, 0.0)], 1.0) == 1.0
    assert crossing([(0.0, 0.0), (2.0, 1.0)], 0.25) == 0.5
    assert crossing([(0.0, 0.0), (2.0, 1.0)], 2.0) == 4.0
    assert crossing([(1.0, 1.0), (2.0, 2.0)], 0.0) == 0.0


@pytest.mark.parametrize("bad", [{"factor": 1.0}, {"steps": 0}, {"refine": -1}, {"tolerance": 0.0}])
def test_a_plan_out_of_range_is_refused(bad):
    with pytest.raises(UserError, match=f"{next(iter(bad))} must be"):
        Plan(**bad)


def test_a_runtime_is_for_what_is_timed(store):
    with pytest.raises(UserError, match="same on every runtime"):
        Cost("macs", START, store, runtime="onnxruntime")
    with pytest.raises(UserError, match="unknown"):
        Cost("mac", START, store)


def test_the_path_is_drawn_with_what_changed(store):
    content = json.loads(json.dumps(found(store, Scripted(), Plan(steps=2)).to_json()))
    chart = draw_path(content).to_dict()
    labels = [record["label"] for rows in chart["datasets"].values() for record in rows if "label" in record]
    assert labels[0] == "d6 h2 e64 r4 I160 p16"
    assert labels[1] == "d 6 → 12"
    assert len(labels) == 3
    lower = json.loads(json.dumps(content))
    kept = next(one for one in lower["steps"][2]["candidates"] if one["key"] == lower["steps"][2]["kept"])
    kept["top1"] = 0.01
    for path, sides in ((content, [True, True]), (lower, [True, False])):  # that names stand on: left of a rising line
        data = draw_path(path).to_dict()["datasets"].values()
        assert [record["rises"] for rows in data for record in rows if "rises" in record] == sides
    content["steps"] = []
    with pytest.raises(UserError, match="without trained models"):
        draw_path(content)


@pytest.mark.slow
def test_digits_for_real_and_gone_on_with(tmp_path):
    """A step with training, then the same again, which trains nothing, then another search into the same folder."""
    recipe = replace(DEMO, epochs=1, warmup_epochs=0, train_images=100)
    plan, told = Plan(steps=1, tolerance=0.05), []
    with Store(tmp_path / "rows.sqlite") as store:
        keys = {"cost": "macs", "out": tmp_path / "out", "store": store}
        path = scale("vit_pico_patch4_8", "digits", recipe, plan, tell=told.append, **keys)
        rows = store.rows("train_time_s")
        trained = [one for step in path.steps for one in step.candidates if one.top1 is not None]
        assert len(rows) == len(trained) >= 2
        again = scale("vit_pico_patch4_8", "digits", recipe, plan, **keys)
        assert again.to_json() == path.to_json() == json.loads((tmp_path / "out" / PATH).read_text())
        assert store.rows("train_time_s", every=True) == rows
        kept = path.steps[1].kept.spec
        assert resolve(str(tmp_path / "out" / "step1")).key == kept.key
        assert factors_of(kept) != factors_of(path.steps[0].kept.spec)
        assert build(str(tmp_path / "out" / "step1")).num_classes == 10
        with pytest.raises(UserError, match="another factor"):
            scale("vit_pico_patch4_8", "digits", recipe, Plan(factor=3.0), **keys)
        with pytest.raises(UserError, match="made-up images"):
            scale("vit_pico_patch4_8", "fake", recipe, plan, **keys)
    assert told[0].startswith("start, 1 of 1: vit_pico_patch4_8")


@pytest.mark.parametrize("readout", ["class_token", "mean", "distilled"])
def test_formula_and_counter_foretell_the_same(store, readout):
    start = replace(START, readout=Part(readout))
    cost = Cost("params", start, store)
    for spec in (start, with_factors(start, Factors(3, 3, 10, 3, 30, 6))):
        assert cost.foretold(spec) == pytest.approx(ratio_to(start, "macs")(spec), rel=1e-12)
        assert cost.ratio(spec) == pytest.approx(ratio_to(start, "params")(spec), rel=1e-12)


def test_a_predictor_tells_where_to_measure(store, monkeypatch, tmp_path):
    """A cost that multiply-accumulates foretell badly, but the predictor well, takes fewer measurements to meet."""
    monkeypatch.setattr(
        Stopwatch, "latency", staticmethod(lambda s: 1e-4 * s.stages[0].depth + 1e-12 * formula(s) + 1e-3)
    )
    plan = Plan(steps=2, tolerance=0.15)
    blind, told = Stopwatch(), Stopwatch()
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", blind)
    with Store(tmp_path / "blind.sqlite") as other:
        found(other, Scripted(), plan, cost="latency_s")
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", told)
    path = found(store, Scripted(), replace(plan, predict=30), cost="latency_s")
    assert len(told.measured) - 30 < len(blind.measured)
    assert path.steps[0].kept.predicted is None
    for one in path.steps[2].candidates:
        if one.top1 is not None:
            value, low, high = one.predicted
            assert low < value < high
            assert value == pytest.approx(one.grown.ratio, rel=0.1)
    rows = len(store.rows("latency_s", every=True))
    assert found(store, Scripted(), replace(plan, predict=30), cost="latency_s").to_json() == path.to_json()
    assert len(store.rows("latency_s", every=True)) == rows


def test_models_of_a_predictor_are_of_all_sizes_and_drawn_by_the_seed():
    base = Grown("start", START, 1.0)
    drawn = scattered(base, 24, 16.0, times_the_start, Random("a"))
    assert (
        drawn
        == scattered(base, 24, 16.0, times_the_start, Random("a"))
        != scattered(base, 24, 16.0, times_the_start, Random("b"))
    )
    sizes = [one.ratio for one in drawn]
    assert len(drawn) == 24
    assert sum(ratio < 4 for ratio in sizes) in range(9, 16)
    assert 0.7 < min(sizes) < 1.6 < 10 < max(sizes) < 21
    for column in zip(*(factors_of(one.spec) for one in drawn), strict=True):
        assert len(set(column)) > 2
