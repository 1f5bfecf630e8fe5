"""What to train next, against the closed formula and on a made-up machine."""

from __future__ import annotations

import pytest
from scripted_measure import ScriptedMeasure

from paretovit.cost.count import count
from paretovit.errors import UserError
from paretovit.optimize.propose import propose
from paretovit.store import Store
from paretovit.zoo.catalog import resolve
from paretovit.zoo.factors import TITLES, factors_of

MODEL = "vit_nano_patch4_32"


def macs(spec) -> float:
    return next(row.value for row in count([spec]) if row.indicator == "macs")


def changed(spec) -> set[str]:
    return {name for name in TITLES if getattr(factors_of(spec), name) != getattr(factors_of(resolve(MODEL)), name)}


def test_each_proposal_has_one_factor_grown_to_the_cost_that_was_asked_for():
    with Store("sqlite://") as store:
        specs = propose(MODEL, store, times=2.0, tolerance=0.1)
    grown = [changed(spec) - {"image_px"} or {"image_px"} for spec in specs]  # an image follows its patch
    assert len(grown) == len(specs) >= 4
    assert all(len(names) == 1 for names in grown)
    assert all(macs(spec) / macs(resolve(MODEL)) == pytest.approx(2, rel=0.1) for spec in specs)


def test_a_factor_that_comes_no_nearer_is_left_out():
    with Store("sqlite://") as store:
        exact = {frozenset(changed(spec)) for spec in propose(MODEL, store, times=2.0, tolerance=0.01)}
        rough = {frozenset(changed(spec)) for spec in propose(MODEL, store, times=2.0, tolerance=0.5)}
    assert exact < rough


def test_a_time_is_measured_once(monkeypatch):
    watch = ScriptedMeasure(lambda spec: 1e-4 + 1e-10 * macs(spec))
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    with Store("sqlite://") as store:
        first = propose(MODEL, store, cost="latency_s", times=1.5)
        measured = len(watch.measured)
        assert propose(MODEL, store, cost="latency_s", times=1.5) == first
    assert len(watch.measured) == measured > len(first)
    for spec in first:
        assert watch.latency(spec) / watch.latency(resolve(MODEL)) == pytest.approx(1.5, rel=0.1)


def test_what_all_factors_ask_for_next_is_measured_side_by_side(monkeypatch):
    watch = ScriptedMeasure(lambda spec: 1e-4 + 1e-10 * macs(spec))
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    with Store("sqlite://") as store:
        propose(MODEL, store, cost="latency_s", times=1.5)
    start, *runs = watch.runs
    assert start == [resolve(MODEL).key]
    assert len(runs[0]) == len(TITLES)  # one of each
    assert [len(run) for run in runs] == sorted(map(len, runs), reverse=True)  # then those that are not near yet
    assert len(runs) < len(watch.measured) / 2


def test_what_others_disturbed_is_measured_again_side_by_side(monkeypatch):
    watch = ScriptedMeasure(lambda spec: 1e-10 * macs(spec), busy=1)
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    with Store("sqlite://") as store:
        propose(MODEL, store, cost="latency_s", times=1.5, tolerance=0.5)
    start, again, first, second, *_ = watch.runs
    assert start == again == [resolve(MODEL).key]
    assert first == second
    assert len(first) == len(TITLES)


def test_a_time_that_is_near_enough_is_not_asked_for_again(monkeypatch):
    watch = ScriptedMeasure(lambda spec: 1e-10 * macs(spec) * (1.03 if spec.key != resolve(MODEL).key else 1))
    monkeypatch.setattr("paretovit.optimize.scale_cost.measure", watch)
    with Store("sqlite://") as store:
        (wider,) = (spec for spec in propose(MODEL, store, cost="latency_s") if changed(spec) == {"head_dim"})
        known = store.specs()
    assert [key for key in watch.measured if changed(known[key]) == {"head_dim"}] == [wider.key]


def test_what_cannot_be_proposed_is_refused():
    with Store("sqlite://") as store:
        with pytest.raises(UserError, match="times must be above 1"):
            propose(MODEL, store, times=1.0)
        with pytest.raises(UserError, match="one stage"):
            propose("swin_tiny_patch4_window7_224", store)
        with pytest.raises(UserError, match="did you mean macs"):
            propose(MODEL, store, cost="mcs")
