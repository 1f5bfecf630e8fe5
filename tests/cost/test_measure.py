"""The measuring loop, with scripted workers: no time passes and nothing is random."""

from __future__ import annotations

from typing import Any

import pytest

from paretovit.analysis.intervals import interval
from paretovit.cost import measure as loop
from paretovit.cost.measure import BUSY, Care, measure
from paretovit.cost.worker import Visit
from paretovit.errors import Unmeasurable, UserError
from paretovit.store import Store
from paretovit.zoo.catalog import resolve

CARE = Care(rounds=4, sittings=2, patience_s=0.0)
SECONDS = {"vit_pico_patch2_8": 1.0, "vit_pico_patch4_8": 0.5, "vit_nano_patch2_8": 2.0}
MODELS = list(SECONDS)


class ScriptedWorker:
    def __init__(self, nursery: ScriptedNursery, name: str) -> None:
        self.nursery, self.name = nursery, name
        self.asked: list[tuple[str, str]] = []
        nursery.by_process.append(self.asked)

    def settle(self, indicator: str, before: Any = None, *, timeout_s: float) -> tuple[dict[str, Any], float]:
        self.nursery.asked.append((self.name, indicator, "settle"))
        self.asked.append((indicator, "settle"))
        self.nursery.before.append(before)
        return {"repeats": 2}, 0.0

    def visit(self, indicator: str, *, timeout_s: float) -> Visit:
        self.nursery.asked.append((self.name, indicator, "visit"))
        self.asked.append((indicator, "visit"))
        if self.name in self.nursery.broken:
            raise Unmeasurable(self.nursery.broken[self.name])
        busy = self.nursery.busy.pop(0) if self.nursery.busy else 0.0
        self.nursery.measuring_s += 3.0
        if indicator in ("latency_s", "train_step_s"):
            return Visit((SECONDS[self.name], SECONDS[self.name]), busy)
        return Visit((7.0,), busy)

    def close(self) -> None:
        self.nursery.closed.append(self.name)


class ScriptedNursery:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.by_process: list[list[tuple[str, str]]] = []
        self.before: list[Any] = []
        self.closed: list[str] = []
        self.broken: dict[str, str] = {}
        self.busy: list[float] = []
        self.measuring_s = 0.0

    def folder(self) -> None:
        return None

    def worker(self, spec: Any, setting: Any, folder: None) -> ScriptedWorker:
        return ScriptedWorker(self, spec.name)

    def __enter__(self) -> ScriptedNursery:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def nursery(monkeypatch: pytest.MonkeyPatch) -> ScriptedNursery:
    scripted = ScriptedNursery()
    monkeypatch.setattr(loop, "Nursery", lambda: scripted)
    return scripted


def test_a_value_is_the_median_of_all_visits_samples(nursery):
    rows = measure(MODELS, indicators=["latency_s"], care=CARE)
    assert {row.model: row.value for row in rows} == SECONDS
    assert all(len(row.samples) == 4 * 2 and row.origin.timing["rounds"] == 4 for row in rows)


def test_every_round_visits_every_model_once(nursery):
    measure(MODELS, indicators=["latency_s"], care=CARE)
    visits = [name for name, _, what in nursery.asked if what == "visit"]
    rounds = [visits[at : at + 3] for at in range(0, 12, 3)]
    assert all(sorted(names) == sorted(MODELS) for names in rounds)
    assert len({tuple(names) for names in rounds}) > 1, "the order must change between rounds"


def test_the_first_model_is_the_anchor_of_every_group(nursery):
    rows = measure(MODELS, indicators=["latency_s"], care=Care(rounds=4, patience_s=0.0, group=1))
    assert all(row.origin.timing["anchor"] == MODELS[0] for row in rows)
    assert all(row.origin.timing["anchor_rounds"] == [1.0] * 4 for row in rows)
    assert len(rows) == 3, "the anchor's visits in other groups make no rows"


def test_a_second_run_measures_nothing_and_asks_nobody(nursery, tmp_path):
    store = Store(tmp_path / "rows.sqlite")
    first = measure(MODELS, indicators=["latency_s", "peak_bytes_infer"], care=CARE, store=store)
    nursery.asked.clear()
    assert measure(MODELS, indicators=["latency_s", "peak_bytes_infer"], care=CARE, store=store) == []
    assert nursery.asked == []
    assert len(store.rows(every=True)) == len(first) == 6


def test_a_run_stopped_in_its_midst_goes_on_with_what_is_missing(nursery, tmp_path, monkeypatch):
    store = Store(tmp_path / "rows.sqlite")
    kept = loop._Run._rounds

    def stop(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop._Run, "_rounds", stop)
    with pytest.raises(KeyboardInterrupt):
        measure(MODELS, indicators=["latency_s", "peak_bytes_infer"], care=CARE, store=store)
    assert {row.indicator for row in store.rows()} == {"peak_bytes_infer"}
    monkeypatch.setattr(loop._Run, "_rounds", kept)
    rows = measure(MODELS, indicators=["latency_s", "peak_bytes_infer"], care=CARE, store=store)
    assert {row.indicator for row in rows} == {"latency_s"}
    assert len(store.rows(every=True)) == 6, "nothing twice"


def test_only_again_measures_what_the_store_has(nursery, tmp_path):
    store = Store(tmp_path / "rows.sqlite")
    measure(MODELS, indicators=["peak_bytes_infer"], care=CARE, store=store)
    assert len(measure(MODELS, indicators=["peak_bytes_infer"], care=CARE, store=store, again=True)) == 3


def test_a_model_that_breaks_is_a_row_with_a_reason_and_the_others_are_measured(nursery):
    nursery.broken = {MODELS[1]: "out of memory"}
    rows = {row.model: row for row in measure(MODELS, indicators=["latency_s"], care=CARE)}
    assert (rows[MODELS[1]].value, rows[MODELS[1]].why) == (None, "out of memory")
    assert rows[MODELS[0]].value == 1.0


def test_others_are_measured_without_an_anchor_that_broke(nursery):
    nursery.broken = {MODELS[0]: "killed"}
    rows = {row.model: row for row in measure(MODELS, indicators=["latency_s"], care=CARE)}
    assert rows[MODELS[0]].why == "killed"
    assert rows[MODELS[2]].value == 2.0
    assert "anchor_rounds" not in rows[MODELS[2]].origin.timing


def test_a_busy_machine_flags_the_row(nursery):
    nursery.busy = [10 * BUSY] * 4
    (row,) = measure(MODELS[:1], indicators=["latency_s"], care=CARE)
    assert row.origin.timing["contended"] is True
    (row,) = measure(MODELS[:1], indicators=["latency_s"], care=CARE)
    assert row.origin.timing["contended"] is False


def test_a_busy_visit_is_repeated_while_patience_lasts(nursery, monkeypatch):
    monkeypatch.setattr(loop._Patience, "wait_until_quiet", lambda self: True)
    nursery.busy = [10 * BUSY, 0.0]
    (row,) = measure(MODELS[:1], indicators=["latency_s"], care=CARE)
    assert row.origin.timing["repeated_visits"] == 1
    assert row.origin.timing["busy"] == [0.0] * 4, "the disturbed visit does not count"


def test_a_busy_visit_of_a_fresh_process_is_repeated_in_another(nursery, monkeypatch):
    monkeypatch.setattr(loop._Patience, "wait_until_quiet", lambda self: self.left > 0)
    nursery.busy = [0.0, 10 * BUSY, 0.0]
    (row,) = measure(MODELS[:1], indicators=["cold_start_s"], care=Care(patience_s=5.0))
    assert row.origin.timing["busy"] == [0.0] * 3, "the disturbed visit does not count"
    assert row.origin.timing["repeated_visits"] == 1
    assert len(nursery.closed) == 5, "one laid out the file, and each visit had a process of its own"


def test_what_is_repeated_is_paid_from_patience():
    now = [0.0]
    patience = loop._Patience(3.0, clock=lambda: now[0])
    with patience.spent():
        now[0] += 2.5
    assert patience.left == 0.5


def test_a_run_says_what_share_of_its_time_went_into_measuring(nursery, monkeypatch):
    clock = iter([100.0, 101.0, 111.0, 160.0])  # begun, exports, done with them, ended
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock))
    progress = loop.Progress()
    measure(MODELS[:1], indicators=["latency_s"], care=CARE, progress=progress)
    assert progress.spent == loop.Spent(wall_s=60.0, measuring_s=12.0, laying_out_s=10.0)
    assert str(progress.spent) == "24% of 50 s went into warm-up and measuring; exports and compilers took another 10 s"


def test_patience_ends_when_the_machine_stays_busy(monkeypatch):
    class AlwaysBusy:
        def share(self, wall_s: float) -> float:
            return 1.0

    now = [0.0]
    monkeypatch.setattr(loop, "Busy", AlwaysBusy)
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    patience = loop._Patience(3.0, clock=lambda: now[0])
    assert patience.wait_until_quiet() is False
    assert now[0] == pytest.approx(3.0)


def test_derived_indicators_are_read_off_their_source(nursery):
    rows = {
        row.indicator: row for row in measure(MODELS[1:2], indicators=["train_step_s", "train_images_per_s"], care=CARE)
    }
    assert rows["train_images_per_s"].value == 8 / 0.5
    assert rows["train_images_per_s"].origin.how == "derived"


def test_a_derived_indicator_without_its_source_says_so(nursery):
    (row,) = measure(MODELS[:1], indicators=["train_images_per_s"], care=CARE)
    assert row.value is None
    assert "train_step_s" in row.why


def test_too_few_samples_tell_no_99th_percentile(nursery):
    rows = {row.indicator: row for row in measure(MODELS[:1], indicators=["latency_s", "latency_p99_s"], care=CARE)}
    assert rows["latency_s"].value == 1.0
    assert "8 samples cannot tell a 99th percentile" in rows["latency_p99_s"].why


def test_static_indicators_are_asked_once_for_all_runtimes(nursery):
    rows = measure(MODELS[:1], indicators=["params"], runtimes=["torch_eager", "torch_compile"], care=CARE)
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": []}, "at least one model"),
        ({"models": MODELS, "runtimes": ["torch_egaer"]}, "did you mean torch_eager"),
        ({"models": MODELS, "indicators": ["latency"]}, "did you mean latency_s"),
        ({"models": MODELS, "device": "tpu"}, "use cpu, cuda"),
        ({"models": MODELS, "dtype": "float8"}, "float32"),
        ({"models": MODELS, "batch_size": 0}, "at least 1"),
        ({"models": MODELS, "threads": -2}, "at least 1"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(nursery, arguments, message):
    with pytest.raises(UserError, match=message) as error:
        measure(arguments.pop("models"), **arguments)
    assert "\n" not in str(error.value)
    assert nursery.asked == []


def test_images_of_another_size_make_another_model(nursery, tmp_path):
    store = Store(tmp_path / "rows.sqlite")
    small, large = resolve("vit_pico_patch2_8"), resolve("vit_pico_patch2_8", img_size=16)
    assert len(measure([small], indicators=["peak_bytes_infer"], care=CARE, store=store)) == 1
    assert len(measure([large], indicators=["peak_bytes_infer"], care=CARE, store=store)) == 1


def test_models_measured_later_are_put_on_the_scale_of_the_anchors_first_row(nursery, tmp_path, monkeypatch):
    store = Store(tmp_path / "rows.sqlite")
    measure(MODELS[:2], indicators=["latency_s"], care=CARE, store=store)
    slower = {name: 2 * seconds for name, seconds in SECONDS.items()}
    for name, seconds in slower.items():
        monkeypatch.setitem(SECONDS, name, seconds)
    (row,) = measure(MODELS, indicators=["latency_s"], care=CARE, store=store)
    assert row.origin.timing["anchor_reference"] == 1.0
    assert row.origin.timing["anchor_rounds"] == [2.0] * 4
    low, high = interval(row)
    assert low <= 2.0 <= high, "the machine was half as fast as when the others were measured"


def test_rounds_are_spread_over_fresh_processes_that_keep_what_was_found_out_before(nursery):
    (row,) = measure(MODELS[:1], indicators=["latency_s"], care=Care(rounds=5, sittings=2, patience_s=0.0))
    told = "".join(what[0] for _, _, what in nursery.asked)
    assert told == "ssvvvsvv"
    assert nursery.before == [None, {"repeats": 2}, {"repeats": 2}]
    assert nursery.closed == [MODELS[0]] * 3
    assert (row.origin.timing["rounds"], row.origin.timing["sittings"]) == (5, 2)


def test_what_is_timed_is_timed_in_processes_that_did_nothing_else(nursery):
    measure(MODELS[:2], indicators=["peak_bytes_train", "images_per_s", "latency_s", "train_step_s"], care=CARE)
    for indicator in ("images_per_s", "latency_s", "train_step_s"):
        timed = [asked for asked in nursery.by_process if (indicator, "visit") in asked]
        assert len(timed) == 2 * CARE.sittings
        # the last of them then finds out how the next indicator is measured
        assert all(asked[:3] == [(indicator, "settle"), (indicator, "visit"), (indicator, "visit")] for asked in timed)
        assert all({what for _, what in asked[3:]} <= {"settle"} for asked in timed)


def test_rows_under_another_allocator_are_others(nursery, tmp_path, monkeypatch):
    store = Store(tmp_path / "rows.sqlite")
    usual = measure(MODELS[:1], indicators=["latency_s", "macs"], care=CARE, store=store)
    monkeypatch.setattr(loop, "allocator", lambda: "libjemalloc.so.2")
    (other,) = measure(MODELS[:1], indicators=["latency_s", "macs"], care=CARE, store=store)
    assert other.indicator == "latency_s", "counts do not depend on it"
    assert other.conditions.assumptions == (("allocator", "libjemalloc.so.2"),)
    assert all(row.conditions.assumptions == () for row in usual)
