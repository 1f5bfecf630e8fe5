"""Who is beaten by nobody in accuracy and several costs."""

from __future__ import annotations

import math

import pytest

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.dominance import dominance, dominance_section
from paretovit.report.headings import sheet_of
from paretovit.store import arrange

COLUMNS = {
    # indicator: unit, values of a, b, c, d
    "top1": ("1", [0.90, 0.80, 0.80, 0.799]),
    "peak_bytes_train": ("B", [8e8, 2e8, 4e8, 2e8]),
    "params": ("1", [4e6, 4e6, 1e6, 4e6]),
}


def sheet(columns=COLUMNS, noise=0.002, **timing):
    """`noise` is half the interval of an accuracy; a `timing` is of the memory of `a`."""
    rows = []
    for name, (unit, values) in columns.items():
        for model, value in zip("abcd", values, strict=True):
            facts: dict = {"interval_95": [value - noise, value + noise]} if name == "top1" else {}
            facts |= timing if (name, model) == ("peak_bytes_train", "a") else {}
            rows.append(
                Measurement(
                    model=model,
                    indicator=name,
                    unit=unit,
                    value=value,
                    conditions=Conditions(spec=model),
                    origin=Origin(how="counted", timing=facts),
                    why="" if value else "out of memory",
                )
            )
    return sheet_of(arrange(rows))


def test_the_front_is_over_all_dimensions_and_noise_keeps_what_is_near_it():
    found = dominance(sheet())
    assert [h.column.indicator for h in found.headings] == ["top1", "peak_bytes_train", "params"]
    assert found.front == (0, 1, 2)
    assert found.near == (3,)  # dominated by b, by less than the noise of the accuracy
    assert found.epsilon == pytest.approx((0.002 / 0.8, 0.0, 0.0))
    assert dominance(sheet(noise=0.0005)).near == ()


def test_the_share_of_a_model_is_the_volume_that_it_alone_dominates():
    # By hand, in the accuracy's range of 0.101 and in doublings of cost: memory reaches over 2, parameters over 2, and
    # the reference lies a tenth of each beyond the worst. Boxes from it, as (accuracy, memory, parameters):
    ranges = 0.101, 2, 2
    a, b, c = ((g + 0.1 * r for g, r in zip(gains, ranges, strict=True))
               for gains in ((0.101, 0, 0), (0.001, 2, 0), (0.001, 1, 2)))  # fmt: skip
    a, b, c = tuple(a), tuple(b), tuple(c)
    volume = math.prod
    meet = lambda *boxes: volume(min(sides) for sides in zip(*boxes, strict=True))  # noqa: E731
    whole = volume(a) + volume(b) + volume(c) - meet(a, b) - meet(a, c) - meet(b, c) + meet(a, b, c)
    own = [
        volume(a) - meet(a, b) - meet(a, c) + meet(a, b, c),
        volume(b) - meet(a, b) - meet(b, c) + meet(a, b, c),
        volume(c) - meet(a, c) - meet(b, c) + meet(a, b, c),
    ]
    assert dominance(sheet()).share == pytest.approx([one / whole for one in own])


def test_what_was_taken_on_a_busy_machine_is_not_compared():
    found = dominance(sheet(contended=True))
    assert found.compared == (1, 2, 3)
    assert found.front == (1, 2)


def test_without_two_costs_there_is_no_section():
    few = {name: COLUMNS[name] for name in ("top1", "params")}
    assert dominance(sheet(few)) is None
    assert dominance_section(sheet(few)) == ""


def test_a_cost_that_few_models_have_is_left_out():
    lone = COLUMNS | {"macs": ("1", [1e6, None, None, None])}
    assert "macs" not in [h.column.indicator for h in dominance(sheet(lone)).headings]


def test_the_section_names_who_is_beaten_by_nobody_and_how_near_others_are():
    text = dominance_section(sheet(noise=0.0024))
    assert "3 of 4 models are beaten by no other in top-1 accuracy" in text
    assert "±0.3%" in text
    assert text.count("<tr><th scope") == 3
