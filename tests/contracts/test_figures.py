"""What every figure promises."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from paretovit.report.figures import FIGURES
from paretovit.report.headings import sheet_of
from paretovit.spec import Part
from paretovit.store import arrange


@pytest.fixture(params=FIGURES.names())
def figure(request):
    return FIGURES[request.param]()


@pytest.fixture
def table(sample_store):
    """The sample store and a model of it with sparse layers, and every model again at twice the image size, where it
    costs four times as much."""
    specs, rows = sample_store.specs(), sample_store.rows()
    for sparse, more in _sparse(specs, rows):
        specs, rows = specs | {sparse.key: sparse}, rows + more
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
    units = (*stated, "(images)", "(images/s)", "(tokens)", "(MAC/B)", "(GMAC/s)", "(points)")
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
