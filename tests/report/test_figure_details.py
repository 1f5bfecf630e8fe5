"""What is peculiar to single figures; what all promise is in tests/contracts/test_figures.py."""

from __future__ import annotations

import itertools
import math
import random
import re
from dataclasses import replace

import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from paretovit.analysis.pareto import non_dominated
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.figures import FAMILIES, span, spread
from paretovit.report.figures.accuracy_memory import AccuracyMemory
from paretovit.report.figures.crossovers import Crossovers
from paretovit.report.figures.pairs import Pairs
from paretovit.report.figures.pareto import Pareto, on_front
from paretovit.report.figures.tokens import Tokens
from paretovit.report.figures.training_step import TrainingStep
from paretovit.report.headings import sheet_of
from paretovit.store import arrange
from paretovit.zoo.catalog import resolve
from paretovit.zoo.taxonomy import FAMILIES as TAXONOMY


def rows(indicator, unit, values, **timing) -> list[Measurement]:
    return [
        Measurement(
            model=f"m{at}",
            indicator=indicator,
            unit=unit,
            value=value,
            conditions=Conditions(spec=f"m{at}"),
            origin=Origin(how="counted", timing=timing),
        )
        for at, value in enumerate(values)
    ]


def drawn(cost, unit, costs, qualities) -> dict:
    return Pareto().draw(arrange([*rows(cost, unit, costs), *rows("top1", "1", qualities)])).to_dict()


def drawn_memory(memories, qualities, sizes) -> dict:
    table = arrange(
        [*rows("peak_bytes_train", "B", memories), *rows("top1", "1", qualities), *rows("params", "1", sizes)]
    )
    return AccuracyMemory().draw(table).to_dict()


def test_models_of_nearly_equal_memory_and_accuracy_have_names_that_do_not_overlap():
    chart = drawn_memory([1e8, 1.01e8, 1.02e8, 2e8], [0.500, 0.501, 0.502, 0.9], [1e6, 2e6, 3e6, 4e6])
    names = {r["label"]: r for data in chart["datasets"].values() for r in data if "label" in r}
    low, high = next(layer["encoding"]["y"]["scale"]["domain"] for layer in chart["layer"]
                     if "scale" in layer["encoding"]["y"])  # fmt: skip
    px = sorted((names[f"m{at}"]["label_y"] - low) / (high - low) * 480 for at in range(3))
    assert min(b - a for a, b in itertools.pairwise(px)) >= 14.9
    assert names["m3"]["label_y"] == pytest.approx(90.0)  # nothing beside it


def test_of_many_models_only_those_on_the_front_are_named():
    memories, qualities = [1e8 + 1e6 * at for at in range(40)], [0.5 + 0.01 * (at % 7) for at in range(40)]
    chart = drawn_memory(memories, qualities, [1e6 + at for at in range(40)])
    names = {r["label"] for data in chart["datasets"].values() for r in data if "label" in r}
    assert names == {f"m{at}" for at in range(7)}  # each of these is better than all that need less
    assert "Named: the 7 of 40 models" in chart["title"]["subtitle"][-1]


@pytest.mark.parametrize(("x", "y"), [("params", "macs"), ("params", "images_per_s"), ("top1", "images_per_s")])
def test_any_two_indicators_are_drawn_with_the_front_of_the_analysis(x, y):
    # few distinct values, so that models tie in one indicator or in both; every fifth was taken on a busy machine
    chance = random.Random(f"{x} {y}")
    units = {"params": "1", "macs": "1", "images_per_s": "1/s", "top1": "1"}
    columns = {name: [chance.randint(1, 6) / 10 for _ in range(24)] for name in units}
    taken = [row for name, unit in units.items() for row in rows(name, unit, columns[name])]
    taken = [replace(row, origin=replace(row.origin, timing={"contended": True}))
             if row.indicator == y and row.model in ("m0", "m5", "m10") else row for row in taken]  # fmt: skip
    table = arrange(taken)
    by_name = {h.column.indicator: h.column for h in sheet_of(table).headings}
    svg = vl_convert.vegalite_to_svg(Pairs(by_name[x], by_name[y]).draw(table).to_dict(), vl_version="6.1")
    better = [1 if name in ("top1", "images_per_s") else -1 for name in (x, y)]
    points = [[math.nan if at in (0, 5, 10) else columns[x][at], columns[y][at]] for at in range(24)]
    expected = {f"m{at}" for at, best in enumerate(non_dominated(points, better)) if best}
    assert set(re.findall(r">(m\d+)</text>", svg)) == expected
    assert 0 < len(expected) < 24


def test_accuracy_over_memory_needs_all_three_of_one_model():
    table = arrange([*rows("peak_bytes_train", "B", [1.0])[:1], *rows("top1", "1", [0.5]), *rows("macs", "1", [3.0])])
    assert not AccuracyMemory().can_draw(table)
    assert drawn_memory([1e8, 2e8], [0.5, 0.6], [1.0, 1.0])["layer"]  # equal sizes have no span


def test_every_architecture_is_a_line_that_ends_with_its_name_and_power():
    specs = {side: resolve(f"vix_fnet_patch1_{side}", num_classes=10) for side in (8, 16)}
    made = [replace(row, model=specs[side].name, conditions=Conditions(spec=specs[side].key))
            for side, row in zip(specs, rows("peak_bytes_train", "B", [1e6, 4e6]), strict=True)]  # fmt: skip
    table = arrange(made, specs={spec.key: spec for spec in specs.values()})
    chart = Tokens().draw(table).to_dict()
    records = [r for data in chart["datasets"].values() for r in data]
    assert {r["tokens"] for r in records} == {64, 256}
    assert {r["label"] for r in records} == {"vix_fnet ∝ N^1.00"}
    scales = [layer["encoding"][axis].get("scale", {}).get("type") for layer in chart["layer"] for axis in "xy"]
    assert set(scales) <= {"log", None}
    assert scales.count("log") == 2


def test_lines_end_in_names_without_the_size_they_share_and_softmax_attention_is_thick():
    specs = [resolve(f"{name}_pico_patch4_{side}") for name in ("vit", "fnet") for side in (32, 64)]
    made = [replace(row, model=spec.name, conditions=Conditions(spec=spec.key))
            for spec, row in zip(specs, rows("peak_bytes_train", "B", [1e6, 4e6, 1e6, 2e6]), strict=True)]  # fmt: skip
    chart = Tokens().draw(arrange(made, specs={spec.key: spec for spec in specs})).to_dict()
    found = {r["label"]: r.get("softmax") for data in chart["datasets"].values() for r in data if "softmax" in r}
    assert found == {"vit ∝ N^1.00": True, "fnet ∝ N^0.50": False}
    assert {p["name"] for p in chart["params"]} == {"picked", "under"}
    assert "softmax attention" in chart["title"]["subtitle"][-1]


def test_crossovers_have_a_mark_for_every_cost_of_an_architecture():
    """In inference both need less than softmax attention, from a number of tokens on; in training one of them."""
    laws = {
        "peak_bytes_infer": {"vit": lambda n: n**2, "hydra": lambda n: 128 * n, "fnet": lambda n: 1.0},
        "peak_bytes_train": {"vit": lambda n: n, "hydra": lambda n: 2 * n, "fnet": lambda n: n / 2},
    }
    specs = {
        (name, side): resolve(f"{name}_pico_patch4_{side}") for name in laws["peak_bytes_infer"] for side in (32, 64)
    }
    made = [
        Measurement(
            model=spec.name, indicator=indicator, unit="B", value=float(laws[indicator][name]((side // 4) ** 2)),
            conditions=Conditions(spec=spec.key), origin=Origin(how="measured"),
        )
        for indicator in laws
        for (name, side), spec in specs.items()
    ]  # fmt: skip
    table = arrange(made, specs={spec.key: spec for spec in specs.values()})
    chart = Crossovers().draw(table).to_dict()
    found = {(r["series"], r["cost"]): (r["kind"], r["tokens"]) for r in next(iter(chart["datasets"].values()))}
    beyond = found["hydra", "peak memory, training"][1]
    assert found == {
        ("hydra", "peak memory, inference"): ("from", pytest.approx(128, rel=1e-3)),
        ("hydra", "peak memory, training"): ("never", beyond),
        ("fnet", "peak memory, inference"): ("always", 64),
        ("fnet", "peak memory, training"): ("always", 64),
    }
    assert 256 < beyond < 1024
    assert chart["layer"][0]["encoding"]["y"]["sort"] == ["fnet", "hydra"]  # who pays soonest first
    without = arrange(
        [row for row in made if not row.model.startswith("vit")], specs={s.key: s for s in specs.values()}
    )
    assert not Crossovers().can_draw(without)


def test_every_family_of_the_taxonomy_has_a_colour_and_shape_of_its_own():
    assert set(TAXONOMY) < set(FAMILIES)
    assert len(set(FAMILIES.values())) == len(FAMILIES)
    assert len({colour for colour, _ in FAMILIES.values()}) == len(FAMILIES)


def test_a_cost_that_covers_a_decade_has_a_logarithmic_axis():
    wide = drawn("params", "1", [1e6, 2e7], [0.5, 0.6])
    near = drawn("params", "1", [1e6, 5e6], [0.5, 0.6])
    scales = [{layer["encoding"]["x"].get("scale", {}).get("type") for layer in c["layer"]} for c in (wide, near)]
    assert "log" in scales[0]
    assert "log" not in scales[1]


@pytest.mark.parametrize(
    ("cost", "unit", "step"), [("params", "1", "step-after"), ("images_per_s", "1/s", "step-before")]
)
def test_the_front_bounds_what_can_be_had(cost, unit, step):
    # what a cost buys is the quality of the cheapest step before it; for a rate, of the next step after it
    marks = [layer["mark"] for layer in drawn(cost, unit, [1.0, 2.0], [0.5, 0.6])["layer"]]
    assert [mark["interpolate"] for mark in marks if mark["type"] == "line"] == [step]


def test_the_front_is_named_and_the_others_are_not():
    chart = drawn("params", "1", [1.0, 2.0, 3.0], [0.5, 0.7, 0.6])
    assert {r["label"] for data in chart["datasets"].values() for r in data if "label" in r} == {"m0", "m1"}


def test_charts_of_one_table_share_their_data(sample_store):
    table = sample_store.table(sample_store.columns())
    sheet = sheet_of(table)
    charts = [Pareto(x.column, sheet.qualities[0].column).draw(table).to_dict() for x in sheet.costs[:2]]
    shared = set(charts[0]["datasets"]) & set(charts[1]["datasets"])
    assert [len(charts[0]["datasets"][name]) for name in shared] == [12]


def test_a_contended_value_neither_makes_nor_breaks_the_front():
    table = arrange(
        [*rows("latency_s", "s", [1.0], contended=True), *rows("latency_s", "s", [9.0, 2.0])[1:],
         *rows("top1", "1", [0.9, 0.8])]
    )  # fmt: skip
    sheet = sheet_of(table)
    assert on_front(sheet, sheet.costs[0], sheet.qualities[0]) == [False, True]


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=8), st.floats(0, 0.3), st.floats(0, 0.3))
def test_an_axis_holds_its_values_and_leaves_the_room_asked_for(values, before, after):
    axis = span(values, before=before, after=after)
    assert axis.position(min(values)) >= before - 1e-6
    assert axis.position(max(values)) <= 1 - after + 1e-6
    assert axis.value(axis.position(values[0])) == pytest.approx(values[0])


@given(st.lists(st.floats(0, 1), max_size=9))
def test_names_are_moved_apart_in_their_order(positions):
    placed = spread(positions, 0.1)
    order = sorted(range(len(positions)), key=positions.__getitem__)
    gaps = [placed[b] - placed[a] for a, b in itertools.pairwise(order)]
    assert all(gap >= 0.1 - 1e-9 for gap in gaps)


def test_names_that_are_apart_stay_and_two_that_meet_move_alike():
    assert spread([0.9, 0.1], 0.2) == [0.9, 0.1]
    assert spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    assert math.isclose(sum(spread([0.5, 0.52, 0.9], 0.2)[:2]), 1.02)


def test_the_bars_of_a_training_step_are_as_long_as_its_phases_and_add_to_the_whole(sample_store):
    chart = TrainingStep().draw(arrange(sample_store.rows(), specs=sample_store.specs())).to_dict()
    mine = [one for data in chart["datasets"].values() for one in data if one["bar"].startswith("vit_mini\n")]
    lengths: dict[str, float] = {}
    for one in mine:
        lengths[one["bar"]] = lengths.get(one["bar"], 0) + one["percent"]
    assert lengths == {
        "vit_mini\nforward (%)": pytest.approx(30),
        "vit_mini\nbackward (%)": pytest.approx(50),
        "vit_mini\noptimizer (%)": pytest.approx(10),
        "vit_mini\nother (%)": pytest.approx(10),
    }


def test_training_steps_under_other_conditions_have_bars_of_their_own(sample_store):
    rows = [row for row in sample_store.rows("train_time_share") if row.model == "vit_mini"]
    more = [replace(row, conditions=replace(row.conditions, batch_size=64)) for row in rows]
    chart = TrainingStep().draw(arrange([*rows, *more], specs=sample_store.specs())).to_dict()
    records = [one for data in chart["datasets"].values() for one in data]
    assert {"vit_mini, batch 32\nforward (%)", "vit_mini, batch 64\nforward (%)"} <= {one["bar"] for one in records}
    assert {one["said"] for one in records if "said" in one} == {"vit_mini, batch 32", "vit_mini, batch 64"}
