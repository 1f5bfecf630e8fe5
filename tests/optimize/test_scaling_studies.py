"""The studies of `benchmarks/` on learning curves and latencies that are made up."""

from __future__ import annotations

import importlib
import json
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest

from paretovit.analysis.scaled import SEARCH, scaled_of
from paretovit.cost.count import count
from paretovit.devices import origin
from paretovit.measurement import Conditions, Measurement
from paretovit.store import Store

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("scaling_study")


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("curves_study")
    sys.modules.pop("curves_study", None)


def test_the_sample_has_one_configuration_of_each_stratum(study):
    grid, sample = study.grid(), study.sample(30, seed=1)
    assert len(grid) == len({spec.key for spec in grid}) == 2700
    assert all(spec.image_px % spec.patch_px == 0 for spec in grid)
    bounds = np.sort(study.macs_of(grid))[::90]
    assert np.histogram(study.macs_of(sample), [*bounds, math.inf])[0] == pytest.approx(1, abs=1)
    strata = np.searchsorted(bounds, np.sort(study.macs_of(sample)), side="right")
    assert list(strata) == list(range(1, 31))
    assert sample == study.sample(30, seed=1) != study.sample(30, seed=2)


def test_macs_of_configurations_are_those_of_the_counter(study):
    specs = [study.START, *study.sample(3, seed=0)]
    counted = [row.value for row in count(specs) if row.indicator == "macs"]
    assert study.macs_of(specs) == counted


def rows_of(study, runtime: str, power: float, noise: float, share: float, machine: str = "abacus"):
    """A device whose latency is a power of macs, with noise; half of the second machine's rows drift and say so."""
    specs = [study.START, *study.sample(60, seed=0)]
    chance = Random(runtime)
    for at, (spec, macs) in enumerate(zip(specs, study.macs_of(specs), strict=True)):
        drift = 1.5 if at % 2 else 1.0
        value = (1e-4 + 1e-9 * macs**power) * math.exp(noise * chance.gauss(0, 1))
        timing = {"anchor_rounds": [drift * 0.01] * 3, "anchor_reference": 0.01, "contended": at == 5}
        yield Measurement(
            model=spec.name, indicator="latency_s", unit="s", value=drift * value,
            conditions=Conditions(spec=spec.key, device=machine, runtime=runtime, dtype="float32", threads=1),
            origin=replace(origin("measured"), timing=timing),
        )  # fmt: skip
    for part, value in (("group linear", share), ("group norm", 1 - share)):
        conditions = Conditions(spec=study.START.key, device=machine, runtime=runtime, threads=1, part=part)
        yield Measurement(
            model="vit", indicator="time_share", unit="1", value=value, conditions=conditions, origin=origin("measured")
        )


def test_findings_of_the_scaling_study(study, monkeypatch):
    monkeypatch.setattr(study, "SIZES", (40,))
    monkeypatch.setattr(study, "DRAWS", 2)
    specs = [study.START, *study.sample(60, seed=0)]
    with Store("sqlite://") as store:
        for runtime, power, noise, share in (("a", 1.0, 0.005, 0.9), ("b", 1.0, 0.005, 0.8), ("c", 0.8, 0.6, 0.1)):
            store.append(rows_of(study, runtime, power, noise, share), specs)
        costs = study.costs_of(store)
        rows = study.findings(store)
    assert set(costs) == {"macs", "a x 1", "b x 1", "c x 1"}
    assert len(costs["a x 1"]) == 60  # one of 61 was disturbed
    found = {(row.model, row.indicator): row.value for row in rows}
    assert found["a x 1", "predictor_kendall"] > 0.97
    assert found["a x 1", "predictor_error"] < 0.03
    assert found["c x 1", "predictor_error"] > 0.2
    assert found["a x 1 and b x 1", "kendall"] > 0.95 > found["a x 1 and c x 1", "kendall"]
    assert found["macs and a x 1", "kendall"] > 0.95
    turned = math.atan2(0.2, 0.8) - math.atan2(0.1, 0.9)
    assert found["a x 1 and b x 1", "breakdown_distance"] == pytest.approx(1 - math.cos(turned))
    assert found["a x 1 and b x 1", "kendall_predicted"] > 0.95 > found["a x 1 and c x 1", "kendall_predicted"]
    assert (
        found["chosen by a x 1, on b x 1", "transfer_loss"] < 0.03 < found["chosen by c x 1, on a x 1", "transfer_loss"]
    )
    assert not any("macs" in model for model, indicator in found if indicator == "transfer_loss")
    assert found["breakdown_distance, kendall", "foretells"] < 0
    # farther apart, and lost more; ranked more alike, and lost less
    assert found["breakdown_distance, transfer_loss", "foretells"] > 0 > found["kendall, transfer_loss", "foretells"]
    pairs = {row.model: dict(row.conditions.assumptions)["pairs"] for row in rows if row.indicator == "foretells"}
    assert pairs == {
        "breakdown_distance, kendall": 3,
        "breakdown_distance, transfer_loss": 3,
        "kendall, transfer_loss": 3,
    }


def test_one_runtime_on_two_machines_is_two_devices(study):
    specs = [study.START, *study.sample(60, seed=0)]
    with Store("sqlite://") as store:
        for machine, share in (("abacus", 0.9), ("slide rule", 0.5)):
            store.append(rows_of(study, "a", 1.0, 0.005, share, machine), specs)
        costs, rows = study.costs_of(store), study.findings(store)
    first, second = "a x 1 on abacus", "a x 1 on slide rule"
    assert set(costs) == {"macs", first, second}
    found = {(row.model, row.indicator): row.value for row in rows}
    assert found[f"{first} and {second}", "breakdown_distance"] > 0.1
    assert (f"chosen by {first}, on {second}", "transfer_loss") in found


def test_transfer_losses_by_hand(study, monkeypatch):
    monkeypatch.setattr(study, "ALIKE", 2)
    # in the order of macs: A prefers the first and the second of two, B the second both times
    a, b, macs = [2.0, 1.0, 3.0], [4.0, 6.0, 3.0], [20.0, 10.0, 30.0]
    assert study.transfer_losses(a, b, macs) == [6 / 4 - 1, 4 / 3 - 1]
    assert study.transfer_losses(a, a, macs) == [0, 0]
    assert study.transfer_losses([1.0], [1.0], [1.0]) == []


def test_on_a_device_that_is_not_done_nothing_is_said_of_transfer_yet(study):
    specs = [study.START, *study.sample(60, seed=0)]
    few = {spec.key for spec in specs[:40]}
    with Store("sqlite://") as store:
        store.append(rows_of(study, "a", 1.0, 0.005, 0.9), specs)
        store.append([row for row in rows_of(study, "b", 1.1, 0.005, 0.9) if row.conditions.spec in few], specs)
        found = {row.indicator: row for row in study.findings(store) if row.model == "a x 1 and b x 1"}
        every = {row.indicator for row in study.findings(store)}
    assert dict(found["kendall"].conditions.assumptions) == {"configurations": 39}  # one of 40 was disturbed
    assert "transfer_loss" not in every


def test_with_one_device_nothing_is_said_of_transfer(study):
    specs = [study.START, *study.sample(60, seed=0)]
    with Store("sqlite://") as store:
        store.append(rows_of(study, "a", 1.0, 0.005, 0.9), specs)
        found = {row.indicator for row in study.findings(store)}
    assert {"kendall", "kendall_predicted"} <= found
    assert not found & {"transfer_loss", "foretells"}


class Bench:
    """In place of `measure`: every call takes a minute of a made-up clock."""

    def __init__(self) -> None:
        self.now, self.calls, self.machine = 0.0, [], "abacus"

    def __call__(self, specs, *, store, runtimes, threads, **others):
        self.calls.append([spec.key for spec in specs])
        self.now += 60
        for spec in specs:
            conditions = Conditions(spec=spec.key, runtime=runtimes[0], threads=threads, device=self.machine)
            row = Measurement(
                model=spec.name, indicator="latency_s", unit="s", value=1.0, conditions=conditions,
                origin=origin("measured"),
            )  # fmt: skip
            if not store.has(row.conditions, row.indicator):
                store.append([row], [spec])


def test_measuring_ends_in_time_and_goes_on_from_the_file(study, monkeypatch, tmp_path, capsys):
    bench, out = Bench(), tmp_path / "rows.jsonl"
    monkeypatch.setattr(study, "measure", bench)
    monkeypatch.setattr(study, "profile", lambda specs, **keys: None)
    monkeypatch.setattr(study, "device_name", lambda device: bench.machine)
    options = Namespace(runtime="r", threads=1, device="cpu", configs=40, seed=0, out=out, minutes=2.5, artifacts=None)
    for done in (16, 32, 40):
        with Store("sqlite://") as store:
            if out.exists():
                store.import_lines(out)
            study.measured(options, store, clock=lambda: bench.now)
        with Store("sqlite://") as store:
            store.import_lines(out)
            assert len(store.rows("latency_s")) == done + 1
        said = capsys.readouterr().err
        assert f"r x 1: {done} of 40 configurations" in said
        assert (f"{40 - done} are left; the same command goes on" in said) == (done < 40)
    assert [len(keys) for keys in bench.calls] == [9] * 5
    assert len({key for keys in bench.calls for key in keys}) == 41  # none twice, but for the start beside them
    bench.machine = "slide rule"
    with Store("sqlite://") as store:
        store.import_lines(out)
        study.measured(options, store, clock=lambda: bench.now)
    assert "r x 1: 16 of 40 configurations" in capsys.readouterr().err  # another machine begins anew


def made_up(runs: int, epochs: int = 40) -> list[tuple[str, list[float]]]:
    """Power laws towards different ends, the better ones not always ahead."""
    chance = Random(0)
    made = []
    for run in range(runs):
        end, slow = chance.uniform(0.6, 0.8), chance.uniform(0.5, 1.0)
        made.append((f"model {run}, 224 px", [end - 0.5 * slow / t for t in range(1, epochs + 1)]))
    return made


def test_each_rule_foretells_the_curve_that_it_is_made_for(curves):
    power = [0.8 - 0.5 / t for t in range(1, 41)]
    assert curves.power(power[:10], 40) == pytest.approx(power[-1])
    assert curves.last(power[:10], 40) == power[9]
    flat = [0.2, 0.9, *[0.5] * 8]
    assert curves.line(flat, 40) == 0.5
    assert curves.best(flat, 40) == 0.9
    straight = [0.01 * t for t in range(1, 11)]
    # 0.1 seen, then half of the slope again for each ten epochs: 0.1 x (1 - 1/8) / ln 2 in thirty
    assert curves.line(straight, 40) == pytest.approx(0.1 + 0.1 * (1 - 1 / 8) / math.log(2))
    learnt = curves.ridge([(name, curve[:20]) for name, curve in made_up(40)], 20)
    assert len(learnt) == 40


def test_halving_by_hand(curves):
    """Four curves over four epochs: after one the best two stay, after two one of them is all that is left."""
    four = [[0.1, 0.2, 0.3, 0.9], [0.2, 0.3, 0.3, 0.4], [0.3, 0.3, 0.4, 0.5], [0.4, 0.4, 0.5, 0.6]]
    kept, spent = curves.halved(four, (0.25,))
    assert (kept, spent) == (3, (4 * 1 + 2 * 3) / 16)
    assert curves.halved(four, ()) == (0, 1.0)
    assert curves.halved(four, (0.25, 0.5)) == (3, (4 + 2 * 3) / 16)  # two are not halved any more


def test_rows_of_the_curves_study(curves, monkeypatch, tmp_path):
    monkeypatch.setattr(curves, "DRAWS", 20)
    monkeypatch.setattr(curves, "POOLS", (6,))
    lines = ["model,img_size,pretrain_img_size,phase,epoch,val_top1"]
    for name, curve in made_up(30):
        lines += [f"{name.split(',')[0]},224,224,finetune,{at},{top1}" for at, top1 in enumerate(curve, start=1)]
    lines += ["model 0,224,224,finetune,1,0.5"]  # a run that was given up
    path = tmp_path / "curves.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    read = curves.read(path)
    assert len(read) == 30
    rows = curves.study(read)
    taus = {
        (row.model, dict(row.conditions.assumptions)["share_of_epochs"]): row.value
        for row in rows
        if row.indicator == "kendall"
    }
    assert taus["rule last", 1.0] == 1
    assert taus["rule power", 0.25] > 0.99 > taus["rule last", 0.25]
    spent = {row.value for row in rows if row.indicator == "halving_spent"}
    assert min(spent) < 0.5 < max(spent) <= 0.75


@pytest.mark.slow
def test_digits_scaled_for_two_targets_and_gone_on_with(monkeypatch, tmp_path, capsys):
    """The whole of `scale_cifar10.py`, then again, which trains and measures nothing."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script, out, targets = importlib.import_module("scale_cifar10"), tmp_path / "rows.jsonl", ["macs", "onnxruntime"]
    words = ["--quick", "--data", "digits", "--targets", *targets, "--runs", str(tmp_path / "runs"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["scale_cifar10.py", *words])
    script.main()
    with Store("sqlite://") as store:
        store.import_lines(out)
        made = [store.rows(indicator) for indicator in ("top1", "latency_s")]
        scaled = [one for row in store.rows("scaled_ratio") if (one := scaled_of(row)) is not None]
        trained = {row.conditions.spec for row in store.rows("top1") if row.value is not None}
        timed = {row.conditions.spec for row in store.rows("latency_s") if row.value is not None}
    assert {(one.target, one.step) for one in scaled if one.by == SEARCH} == {
        (target, step) for target in ("macs", "latency_s on onnxruntime") for step in (0, 1)
    }
    assert {one.key for one in scaled} <= trained & timed
    for target in targets:
        path = json.loads(out.with_name(f"rows_{target}.json").read_text())
        assert [step["step"] for step in path["steps"]] == ["start", "step1"]
        assert out.with_name(f"rows_{target}.svg").read_text().startswith("<svg")
    capsys.readouterr()
    script.main()
    with Store("sqlite://") as store:
        store.import_lines(out)
        assert [store.rows(indicator) for indicator in ("top1", "latency_s")] == made
    assert "top-1" in capsys.readouterr().out
