"""What every file in cost/indicators promises."""

from __future__ import annotations

import math

import pytest

from paretovit.cost.assumptions import ASSUMPTIONS
from paretovit.cost.folders import INDICATORS
from paretovit.cost.indicators import Derived, Indicator
from paretovit.cost.measure import conditions_of
from paretovit.cost.runtimes import Runtime, Session
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import Unmeasurable
from paretovit.folder import class_name
from paretovit.zoo.catalog import resolve

UNITS = {"1", "B", "MAC/B", "s", "1/s", "J", "g", "USD"}


class ScriptedSession(Session):
    """Every call takes a tenth of a second of the scripted clock."""

    def __init__(self, clock: ScriptedClock) -> None:
        self.clock = clock

    def __call__(self) -> None:
        self.clock.now += 0.1

    def synchronize(self) -> None: ...

    def peak_bytes(self) -> int:
        return 4096


class ScriptedRuntime(Runtime):
    def __init__(self, clock: ScriptedClock) -> None:
        self.clock = clock

    @classmethod
    def missing(cls) -> str:
        return ""

    def prepare(self, model, batch) -> ScriptedSession:
        self.clock.now += 5.0
        return ScriptedSession(self.clock)

    def export(self, model, batch, path) -> None:
        path.write_bytes(b"weights")

    def load(self, path, batch) -> ScriptedSession:
        return self.prepare(None, batch)


class ScriptedClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


STATED = tuple((name, 50.0) for name in ASSUMPTIONS)


@pytest.fixture(params=[(), STATED], ids=["nothing stated", "all stated"])
def subject(monkeypatch, request) -> Subject:
    clock = ScriptedClock()
    subject = Subject(
        resolve("vit_pico_patch2_8"), Setting(max_batch=4, visit_s=0.3, assumed=request.param), clock=clock
    )
    subject.runtime = ScriptedRuntime(clock)
    monkeypatch.setattr(subject, "session", lambda batch_size, training=False: ScriptedSession(clock))
    return subject


@pytest.fixture(params=INDICATORS.names())
def indicator(request) -> Indicator:
    return INDICATORS[request.param]()


def test_states_title_unit_and_direction(indicator):
    assert indicator.title
    assert indicator.unit in UNITS
    assert isinstance(indicator.lower_is_better, bool)


def test_its_unit_and_direction_can_be_read_without_importing_it(indicator):
    (name,) = (name for name in INDICATORS.names() if class_name(name) == type(indicator).__name__)
    assert INDICATORS.fact(name, "unit") == indicator.unit
    assert INDICATORS.fact(name, "title") == indicator.title
    assert INDICATORS.fact(name, "lower_is_better", True) == indicator.lower_is_better
    assert INDICATORS.fact(name, "only_if_named", False) == indicator.only_if_named


def test_gives_a_value_or_a_reason(indicator, subject):
    try:
        if isinstance(indicator, Derived):
            conditions = conditions_of(subject.spec, indicator, subject.setting)
            samples = [indicator.of_sample(0.1, conditions) for _ in range(4)]
        else:
            indicator.settle(subject)
            samples = indicator(subject)
        value = indicator.value(samples)
    except Unmeasurable as error:
        value, why = None, str(error)
    if value is None:
        assert "\n" not in why
        assert why
    else:
        assert math.isfinite(value)
        assert value > 0


def test_what_it_is_derived_from_exists(indicator):
    if isinstance(indicator, Derived):
        assert INDICATORS[indicator.source].batch == indicator.batch
    else:
        assert indicator.source == ""


def test_what_it_assumes_is_known_and_in_its_conditions(indicator, subject):
    assert set(indicator.assumes) <= set(ASSUMPTIONS)
    conditions = dict(conditions_of(subject.spec, indicator, subject.setting).assumptions)
    assert {name for name, _ in subject.setting.assumed if name in indicator.assumes} <= set(conditions)
    assert not (set(conditions) & set(ASSUMPTIONS)) - set(indicator.assumes) or isinstance(indicator, Derived)
