"""Replaced layers in the report: whose children models are, and the figures of what became of them."""

from __future__ import annotations

from typing import Any

import pytest

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.optimize.distil import Distil
from paretovit.optimize.replacement import Plan
from paretovit.report.figures.layer_shares import LayerShares
from paretovit.report.figures.loss_curves import LossCurves
from paretovit.report.figures.replaced_layers import ReplacedLayers
from paretovit.report.figures.self_distillation import SelfDistillation
from paretovit.report.headings import sheet_of
from paretovit.report.page import _chart
from paretovit.report.replaced import runs, siblings
from paretovit.spec import Part
from paretovit.store import Table, arrange
from paretovit.training.replacing import told
from paretovit.training.rows import HELD_OUT

HOW = "demo, from demo, epochs=10 at 8 px"


def row(model: str, indicator: str, value: float, *, how: str = "trained", timing: dict[str, Any] | None = None,
        **conditions: Any) -> Measurement:  # fmt: skip
    return Measurement(
        model=model,
        indicator=indicator,
        unit="s" if indicator == "latency_s" else "1",
        value=value,
        samples=(value,),
        conditions=Conditions(spec=model, **conditions),
        origin=Origin(how=how, timing=timing or {}),
    )


def top1(model: str, value: float, recipe: str, seed: int, split: str = "test", **facts: Any) -> Measurement:
    return row(model, "top1", value, timing=facts, data="digits", split=split, recipe=recipe, seed=seed)


def parent(seed: int, value: float) -> Measurement:
    return top1("vit", value, f"{HOW} (0000000{seed})", seed)


def words(plan: Plan, seed: int, distil: Distil | None = None) -> str:
    return f"short, from {told('vit', f'{HOW} (0000000{seed})', f'abcdef0{seed}', str(plan), str(distil or Distil()))}"


def stage(mixer: str, layers: tuple[int, int] = (1, 2), **options: Any) -> Plan:
    return Plan(layers=(layers,), mixer=Part(mixer), **options)


def cost(model: str, macs: float, latency_s: float) -> list[Measurement]:
    taken = {"device": "Abacus", "runtime": "torch_eager"}
    return [row(model, "macs", macs, how="counted"), row(model, "latency_s", latency_s, how="measured", **taken)]


@pytest.fixture(scope="module")
def table() -> Table:
    rows = [*cost("vit", 100.0, 0.010), *cost("vit_pooling", 70.0, 0.008), *cost("vit_focal", 90.0, 0.012)]
    for seed, whole in enumerate((0.6, 0.8)):
        rows += [
            parent(seed, whole),
            top1("vit_pooling", whole - 0.02, words(stage("pooling"), seed), seed),
            top1("vit_focal", whole, words(stage("focal", embed=True), seed), seed),
            top1("vit_focal", whole - 0.3, words(stage("focal", embed=True), seed, Distil(alpha=1.0)), seed),
        ]
    return arrange(rows)


def values(chart: Any, name: str) -> list[dict[str, Any]]:
    """The records of a chart that have a field."""
    return [one for data in chart.to_dict()["datasets"].values() for one in data if name in one]


def test_children_of_parents_of_several_seeds_are_siblings_and_their_means_are_one_column(table):
    (family,) = siblings(sheet_of(table))
    assert (family.name, family.how, len(family.children)) == ("vit", HOW, 3)
    sheet = sheet_of(table)
    assert family.parent is not None
    at, heading = family.parent
    assert (sheet.labels[at], sheet.values(heading)[at]) == ("vit", pytest.approx(0.7))
    assert [sheet.values(child.heading)[child.at] for child in family.children] == pytest.approx([0.68, 0.7, 0.4])
    assert len(runs(sheet)) == 6


def test_children_trained_alike_stand_over_their_share_of_the_parents_cost(table):
    for cost_of, shares in (("macs", [100, 90, 70]), ("latency_s", [100, 120, 80])):
        figure = ReplacedLayers(cost_of)
        assert figure.can_draw(table)
        points = sorted(values(figure.draw(table), "label_y"), key=lambda point: point["name"])
        assert [point["share"] for point in points] == pytest.approx(shares)
        assert [point["label"] for point in points] == ["parent", "1-2 behind a convolution", "1-2"]
        assert [point["top1"] for point in points] == pytest.approx([70, 70, 68])


def test_without_a_parent_or_its_cost_there_is_nothing_to_compare(table):
    kept = [cell for line in table.cells for cell in line if cell is not None]
    raw = sheet_of(table).raw
    assert raw is table
    for gone in ("top1", "macs"):
        left = [one for one in kept if one.model != "vit" or one.indicator != gone]
        assert not ReplacedLayers("macs").can_draw(arrange(left))
    one_child = [one for one in kept if one.model != "vit_focal"]
    assert not ReplacedLayers("macs").can_draw(arrange(one_child))


def test_a_copied_layer_is_drawn_over_its_beginnings_one_mark_for_each_seed():
    plan, rows = stage("attention", (3, 3), class_tokens="among"), [parent(0, 0.6), parent(1, 0.8)]
    for seed in range(2):
        for start in (0.0, 0.5, 1.0):
            distil = Distil(alpha=1.0, loss="mse", random=1.0, start=start)
            for split in (HELD_OUT, "test"):
                value, loss = 0.5 + 0.1 * start + 0.01 * seed, 1 - start + 0.1 * seed
                rows.append(top1("copy", value, words(plan, seed, distil), seed, split, distillation_loss=loss))
    table = arrange(rows)
    chart = SelfDistillation().draw(table)
    marks = values(chart, "run")
    assert [(mark["start"], mark["top1"]) for mark in marks if mark["seed"] == 1] == [
        (0, pytest.approx(51)), (50, pytest.approx(56)), (100, pytest.approx(61)),
    ]  # fmt: skip
    assert len(marks) == 6
    on_page = _chart(SelfDistillation(), sheet_of(table))["datasets"].values()
    assert sum("run" in one for data in on_page for one in data) == 6
    others = [one for one in values(chart, "value") if "run" not in one]
    assert sorted(one["value"] for one in others) == pytest.approx([50.5, 55.5, 60.5, 70])  # the parent's is 70
    losses = values(SelfDistillation("distillation_loss").draw(table), "run")
    assert sorted(mark["value"] for mark in losses) == pytest.approx([0, 0.1, 0.5, 0.6, 1, 1.1])
    few = [one for one in rows if "begun 0.5" not in str(one.conditions.recipe)]
    assert not SelfDistillation().can_draw(arrange(few))


def test_losses_of_a_followed_stage_are_lines_by_what_it_was_trained_on():
    rows = [parent(0, 0.6), top1("vit_pooling", 0.5, words(stage("pooling"), 0), 0)]
    for at, alpha in enumerate((0.0, 0.35, 1.0)):
        train, held = (
            {"top1": [0.2 + x, 0.4 + x], "label_loss": [2.0, 1.0], "distillation_loss": [0.3, 0.1 + x]}
            for x in (0.1, 0.0)
        )
        facts = {"curves": {"epoch": [1, 2], "train": train, HELD_OUT: held}}
        rows.append(
            top1("vit_focal", 0.5 + at / 10, words(stage("focal"), 0, Distil(alpha=alpha)), 0, HELD_OUT, **facts)
        )
    table = arrange(rows)
    points = values(LossCurves().draw(table), "run")
    assert len(points) == 3 * 2 * 2
    found = {(p["taught"], p["split"], p["epoch"]): p["value"] for p in points}
    assert found["labels alone", "train", 2] == pytest.approx(0.2)
    assert found["parent alone", HELD_OUT, 1] == pytest.approx(0.3)
    assert found["labels and parent", HELD_OUT, 2] == pytest.approx(0.1)
    accuracy = values(LossCurves("top1").draw(table), "run")
    assert max(point["value"] for point in accuracy) == pytest.approx(50)
    assert not LossCurves().can_draw(arrange(rows[:2]))


def test_losses_of_a_copied_layer_are_lines_by_what_it_began_with():
    plan, rows = stage("attention", (3, 3), class_tokens="among"), [parent(0, 0.6)]
    for start in (0.0, 0.5, 1.0):
        losses = [(1 - start) * value for value in (1.0, 0.01)]
        curve = {"top1": [0.5, 0.5], "label_loss": [1.0, 1.0], "distillation_loss": losses}
        distil = Distil(alpha=1.0, loss="mse", random=1.0, start=start)
        facts = {"curves": {"epoch": [1, 2], HELD_OUT: curve}}
        rows.append(top1("copy", 0.5, words(plan, 0, distil), 0, HELD_OUT, **facts))
    table = arrange(rows)
    assert not LossCurves().can_draw(table)  # they are no replaced layers
    chart = LossCurves(copies=True).draw(table).to_dict()
    points = [one for data in chart["datasets"].values() for one in data]
    assert {(p["taught"], p["epoch"]): p["value"] for p in points} == {
        ("0%", 1): 1.0, ("0%", 2): 0.01, ("50%", 1): 0.5, ("50%", 2): 0.005,
    }  # fmt: skip
    assert chart["layer"][0]["encoding"]["y"]["scale"]["type"] == "log"


def share(indicator: str, part: str, value: float, **conditions: Any) -> Measurement:
    return row("vit", indicator, value, how="counted", part=part, **conditions)


def test_layers_share_a_models_cost_out_among_mixing_attention_and_mlps():
    taken = {"device": "Abacus", "runtime": "torch_eager"}
    rows = [
        share("macs_share", "layer stem", 0.04),
        share("macs_share", "layer stages.0.0.mixer", 0.2),
        share("macs_share", "layer stages.0.1.mixer", 0.2),
        share("macs_share", "layer stages.0.0.mlp", 0.56),
        share("macs_share", "group fused attention", 0.1),
        share("macs_share", "group linear", 0.9),
        share("params_share", "layer stages.0.0.mixer", 0.3),
        share("params_share", "layer stages.0.0.mlp", 0.6),
        share("params_share", "layer", 0.1),
        share("time_share", "layer blocks.0.attn", 0.5, **taken),
        share("time_share", "layer blocks.0.mlp", 0.4, **taken),
        share("time_share", "group softmax", 0.1, **taken),
        share("time_share", "group attention matmul", 0.2, **taken),
    ]
    found: dict[str, list[float]] = {}
    for one in values(LayerShares().draw(arrange(rows)), "part"):
        found.setdefault(one["bar"], []).append(one["percent"])
    assert found["vit, macs (%)"] == pytest.approx([56, 30, 10, 4])
    assert found["vit, parameters (%)"] == pytest.approx([60, 30, 0, 10])
    assert found["vit, time (%)"] == pytest.approx([44.444, 22.222, 33.333, 0], abs=1e-3)
    assert list(found) == ["vit, time (%)", "vit, macs (%)", "vit, parameters (%)"]
    assert not LayerShares().can_draw(arrange(rows[4:6]))
