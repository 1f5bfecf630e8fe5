from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretovit.measurement import Conditions, Measurement, Origin, median

# a busy machine is the normal case
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.text(min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
facts = st.dictionaries(words, st.integers() | words | st.lists(numbers, max_size=3), max_size=3)
conditions = st.builds(
    Conditions,
    spec=words,
    device=st.none() | words,
    runtime=st.none() | words,
    dtype=st.none() | words,
    batch_size=st.none() | st.integers(1, 4096) | st.just("best"),
    threads=st.none() | st.integers(0, 64),
    data=st.none() | words,
    split=st.none() | words,
    recipe=st.none() | words,
    seed=st.none() | st.integers(0, 9),
    source=st.none() | words,
    assumptions=st.dictionaries(words, numbers, max_size=3).map(lambda d: tuple(sorted(d.items()))),
)
origins = st.builds(
    Origin,
    how=words,
    time=words,
    commit=words,
    versions=st.dictionaries(words, words, max_size=2),
    machine=facts,
    timing=facts,
)
rows = st.builds(
    Measurement,
    model=words,
    indicator=words,
    unit=words,
    value=st.none() | numbers,
    samples=st.lists(numbers, max_size=3).map(tuple),
    conditions=conditions,
    origin=origins,
    why=words,
)


def row(value: float | None, why: str = "") -> Measurement:
    return Measurement(
        model="vit",
        indicator="latency_s",
        unit="s",
        value=value,
        conditions=Conditions(),
        origin=Origin(how="x"),
        why=why,
    )


@unhurried
@given(rows)
def test_a_row_survives_json(measurement: Measurement) -> None:
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


@unhurried
@given(conditions, conditions)
def test_equal_conditions_and_only_they_have_equal_texts(one: Conditions, other: Conditions) -> None:
    assert (one.text == other.text) == (one == other)
    assert Conditions.from_json(json.loads(one.text)) == one


def test_conditions_say_only_what_is_stated_and_a_zero_is_stated() -> None:
    assert Conditions(device="cpu", seed=0, threads=0).to_json() == {"device": "cpu", "seed": 0, "threads": 0}


def test_the_order_of_assumptions_does_not_matter() -> None:
    one = Conditions(assumptions=(("price_usd", 2.5), ("grid", "FR")))
    other = Conditions(assumptions=(("grid", "FR"), ("price_usd", 2.5)))
    assert one.text == other.text
    assert one == other


def test_a_column_is_its_conditions_for_any_model() -> None:
    one, other = (Conditions(spec=spec, device="cpu", batch_size=8, seed=0) for spec in ("a", "b"))
    assert one.column() == other.column() == Conditions(device="cpu", batch_size=8, seed=0)
    assert one.column() != Conditions(spec="a", device="cpu", batch_size=9, seed=0).column()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="a value that cannot be had is None"):
        row(value)


def test_a_missing_value_has_a_reason() -> None:
    with pytest.raises(ValueError, match="neither a value nor a reason"):
        row(None)
    assert row(None, why="out of memory").to_json()["value"] is None


def test_a_row_is_json_of_the_documented_keys() -> None:
    keys = ["model", "indicator", "unit", "value", "samples", "conditions", "origin", "why"]
    assert list(row(1.0).to_json()) == keys


@pytest.mark.parametrize(("samples", "middle"), [((3.0, 1.0, 2.0), 2.0), ([4.0, 1.0], 2.5), ((7.0,), 7.0)])
def test_the_median_is_the_middle(samples: tuple[float, ...], middle: float) -> None:
    assert median(samples) == middle
