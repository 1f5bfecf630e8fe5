"""What every figure promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from paretovit.measurement import Measurement
from paretovit.optimize.distil import Distil
from paretovit.optimize.replacement import Plan
from paretovit.report.figures import FIGURES
from paretovit.report.headings import sheet_of
from paretovit.spec import ModelSpec, Part
from paretovit.store import arrange
from paretovit.training.replacing import told


@pytest.fixture(params=FIGURES.names())
def figure(request):
    return FIGURES[request.param]()


@pytest.fixture
def table(sample_store):
    """The sample store, a model of it with sparse and with replaced layers, and every model again at twice the image
    size, where it costs four times as much."""
    specs, rows = sample_store.specs(), sample_store.rows()
    for made, more in (*_sparse(specs, rows), *_replaced(specs, rows)):
        specs, rows = specs | {made.key: made}, rows + more
    grown = {key: replace(spec, image_px=2 * spec.image_px) for key, spec in specs.items()}
    more = [
        replace(
            row,
            value=row.value and row.value * (4 if row.unit in ("s", "B") else 1),
            samples=tuple(sample * (4 if row.unit in ("s", "B") else 1) for sample in row.samples),
            conditions=replace(row.conditions, spec=grown[row.conditions.spec].key),
        )
        for row in rows
    ]
    return arrange([*rows, *more], specs=specs | {spec.key: spec for spec in grown.values()})


def _sparse(specs, rows):
    """`vit_mini` with one and with two sparse layers: its rows, and an accuracy of weights that were pruned."""
    dense = next(spec for spec in specs.values() if spec.name == "vit_mini")
    for layers in (("stages.0.3.mlp.fc1",), ("stages.0.2.mlp.fc1", "stages.0.3.mlp.fc1")):
        transforms = (Part.of("sparse", layers=layers),)
        sparse = replace(dense, name=f"vit_mini_{len(layers)}_sparse", transforms=transforms)
        mine = [row for row in rows if row.conditions.spec == dense.key]
        mine += [
            replace(row, conditions=replace(row.conditions, recipe="vit_mini (demo) pruned to 2:4 by magnitude"))
            for row in mine
            if row.indicator == "top1"
        ]
        yield (
            sparse,
            [replace(row, model=sparse.name, conditions=replace(row.conditions, spec=sparse.key)) for row in mine],
        )


def _replaced(specs, rows) -> Iterator[tuple[ModelSpec, list[Measurement]]]:
    """`vit_mini` with two mixers in place of two layers, which were followed, and with one layer taught by itself from
    three beginnings: its rows, shares of its layers, and accuracies of what replaced them."""
    whole = next(spec for spec in specs.values() if spec.name == "vit_mini")
    (stage,) = whole.stages
    parts = {"layer stages.0.0.mixer": 0.4, "layer stages.0.0.mlp": 0.5, "layer stem": 0.1}
    curve = {"top1": [0.5, 0.6], "label_loss": [1.5, 1.2], "distillation_loss": [0.2, 0.1]}
    followed = {"curves": {"epoch": [1, 2], "train": curve, "val": curve}}
    plain = (Distil(),)
    starts = tuple(Distil(alpha=1.0, loss="mse", random=1.0, start=start) for start in (0.0, 0.5, 1.0))
    for mixer, layers, ways in (("pooling", (1, 2), plain), ("identity", (1, 2), plain), ("attention", (3, 3), starts)):
        plan = Plan(layers=(layers,), mixer=Part(mixer))
        new = replace(stage, depth=1, mixer=Part(mixer))
        spec = replace(whole, name=f"vit_mini_{mixer}", stages=(replace(stage, depth=1), new))
        mine = [row for row in rows if row.conditions.spec == whole.key]
        counted = [replace(row, value=0.8 * (row.value or 0.0)) for row in mine if row.indicator == "macs"]
        top1 = next(row for row in mine if row.indicator == "top1")
        for at, distil in enumerate(ways):
            recipe = f"demo, from {told('vit_mini', 'demo', '0123abcd', str(plan), str(distil))}"
            facts = top1.origin.timing | followed | {"distillation_loss": 0.1 / (1 + at)}
            conditions = replace(top1.conditions, recipe=recipe)
            mine.append(replace(top1, conditions=conditions, origin=replace(top1.origin, timing=facts)))
        macs = next(row for row in mine if row.indicator == "macs_share")
        mine += [
            replace(macs, value=share, samples=(share,), conditions=replace(macs.conditions, part=part))
            for part, share in parts.items()
        ]
        own = [
            replace(row, model=spec.name, conditions=replace(row.conditions, spec=spec.key)) for row in mine + counted
        ]
        yield spec, own


def encodings(chart: dict, channel: str) -> list[dict]:
    layers = [chart, *chart.get("layer", [])]
    return [layer["encoding"][channel] for layer in layers if channel in layer.get("encoding", {})]


def test_states_what_it_shows_and_needs(figure):
    assert figure.title
    assert figure.needs


def test_draws_the_sample_store_and_every_model_is_in_it(figure, table):
    assert figure.can_draw(table)
    chart = figure.draw(table).to_dict()  # altair checks it against Vega-Lite's schema
    assert chart["title"]["text"]
    models = {record["model"] for rows in chart["datasets"].values() for record in rows if "model" in record}
    assert models in (set(), set(sheet_of(table).labels))  # figures of indicators name no model


def test_has_a_unit_on_every_axis(figure, table):
    chart = figure.draw(table).to_dict()
    stated = (f"({h.scale.unit})" for h in sheet_of(table).headings)
    units = (*stated, "(images)", "(images/s)", "(tokens)", "(MAC/B)", "(GMAC/s)", "(points)", "(epochs)", "(1)")
    for channel in ("x", "y"):
        axes = encodings(chart, channel)
        assert axes
        for axis in axes:
            if axis["type"] == "quantitative":
                assert any(unit in axis["title"] for unit in units), axis
            elif axis["title"] != "model":  # an axis of indicators: each of its labels carries its unit
                assert all(label.endswith(units) for label in axis["sort"])


def test_says_that_it_cannot_draw_an_empty_table(figure):
    assert not figure.can_draw(arrange([]))


def test_a_models_name_is_data_and_no_markup(figure, table):
    assert "<" not in json.dumps(figure.draw(table).to_dict()["title"])
