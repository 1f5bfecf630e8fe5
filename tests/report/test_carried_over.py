from __future__ import annotations

import pytest

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.carried_over import carried_over, carried_section
from paretovit.zoo.catalog import timm_spec

NAMES = (
    "vit_tiny",
    "vit_small",
    "deit_tiny",
    "swin_tiny",
    "xcit_nano",
    "beit_base",
    "levit_128",
    "mixer_b16",
    "resnet50",
)
SPECS = [timm_spec(name, image_px=224) for name in NAMES]


def rows(indicator: str, values, *, torch: str = "2.9.1", timing=None, **conditions) -> list[Measurement]:
    return [
        Measurement(
            model=spec.name,
            indicator=indicator,
            unit="1",
            value=float(value),
            conditions=Conditions(spec=spec.key, **conditions),
            origin=Origin(how="published", versions={"torch": torch}, timing=timing or {}),
        )
        for spec, value in zip(SPECS, values, strict=True)
    ]


def found(*columns) -> list:
    return carried_over([row for column in columns for row in column], {spec.key: spec for spec in SPECS})


UP = range(1, 10)
ONE_SWAPPED = (2, 1, 3, 4, 5, 6, 7, 8, 9)  # of 36 pairs one is ordered oppositely: tau is 34 / 36


def test_a_time_is_compared_under_two_devices_and_with_every_count():
    made = found(
        rows("latency_s", UP, device="A"), rows("latency_s", ONE_SWAPPED, device="B"), rows("macs", reversed(UP))
    )
    assert [(one.first.conditions.device, one.second.conditions.device) for one in made] == [
        ("A", None),
        ("B", None),
        ("A", "B"),
    ]
    assert made[2].every.tau == pytest.approx(34 / 36)
    assert made[2].every.interval[0] <= 34 / 36 <= made[2].every.interval[1]
    assert made[0].every.tau == pytest.approx(-1)
    # of the nine all but the last are like ViTs
    assert (made[2].every.models, made[2].like_vits.models) == (9, 8)


def test_a_rate_counts_as_a_cost_turned_round():
    (made,) = found(rows("images_per_s", UP, device="A"), rows("macs", reversed(UP)))
    assert made.every.tau == pytest.approx(1)


def test_of_tables_that_differ_in_their_source_alone_the_newest_torch_counts():
    old = rows("latency_s", reversed(UP), torch="2.10.0", device="A", source="old")
    new = rows("latency_s", UP, torch="2.9.1", device="A", source="new")
    (made,) = found(new, old, rows("macs", UP))
    assert made.every.tau == pytest.approx(-1)  # 2.10 is newer than 2.9


def test_what_differs_in_two_things_is_not_compared_nor_what_was_taken_on_a_busy_machine():
    assert not found(
        rows("latency_s", UP, device="A", runtime="torch_eager"), rows("latency_s", UP, device="B", runtime="onnx")
    )
    assert not found(rows("latency_s", UP, device="A", timing={"contended": True}), rows("macs", UP))


def test_the_section_says_the_numbers_and_escapes_names():
    text = carried_section(found(rows("latency_s", UP, device="<A>"), rows("latency_s", ONE_SWAPPED, device="B")))
    assert "<b>0.94</b> (" in text
    assert "&lt;A&gt;" in text
    assert "<A>" not in text
    assert carried_section([]) == ""
