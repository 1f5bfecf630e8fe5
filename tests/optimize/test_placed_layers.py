"""A model's layers on a roofline."""

from __future__ import annotations

import json
import time

import pytest

from paretovit.cost.count import count
from paretovit.cost.products import products_of
from paretovit.cost.roofs import COPY, GEMM, device_of, gemm_rates, roofs
from paretovit.devices import DEVICES
from paretovit.errors import UserError
from paretovit.optimize.roofline import grouped, measured, placed_layers, predicted, shape_of, total_speedup
from paretovit.optimize.roofline_sheet import roofline_sheet, spots
from paretovit.report.figures.roofline import draw_layers
from paretovit.store import Store
from paretovit.zoo.catalog import resolve

MODELS = ["vit_tiny_patch16_224", "hydra_tiny_patch16_224", "switch_tiny_patch16_224", "resnet18", "vix_cvn_patch1_32"]


@pytest.mark.parametrize("name", MODELS)
def test_products_make_up_all_multiply_accumulates(name):
    counted = {row.indicator: row.value for row in count([name])}
    assert sum(p.macs for p in products_of(resolve(name))) == counted["macs"]


def test_without_attention_their_outputs_are_all_activations():
    counted = {row.indicator: row.value for row in count(["resnet18"])}
    assert sum(p.output_elements for p in products_of(resolve("resnet18"))) == counted["activations"]


def test_a_layers_sizes_are_those_of_the_matrices():
    found = {p.module: p for p in products_of(resolve("vit_tiny_patch16_224"))}
    fc1 = found["stages.0.3.mlp.fc1"]
    assert (fc1.macs, fc1.input_elements, fc1.output_elements) == (197 * 192 * 768, 197 * 192, 197 * 768)
    assert (fc1.weight_elements, fc1.in_features) == (192 * 768, 192)
    assert shape_of(fc1, 4) == (4 * 197, 192, 768)
    mixer = found["stages.0.3.mixer"]
    assert (mixer.input_elements, mixer.weight_elements, mixer.in_features) == (3 * 197 * 192, 0, None)


def test_placing_a_catalog_model_takes_less_than_a_second_of_computing():
    predicted(resolve("vit_base_patch16_224"), "a10")
    start = time.process_time()
    predicted(resolve("vit_base_patch16_224"), "a10", batch_size=64)
    assert time.process_time() - start < 1


def test_layers_are_pruned_where_it_pays_and_the_reason_is_given_where_not():
    found = {
        layer.product.module: layer
        for layer in predicted(resolve("vit_base_patch16_224"), "a10", batch_size=256).layers
    }
    assert found["stages.0.0.mlp.fc1"].prune
    assert found["stages.0.0.mlp.fc1"].speedup == pytest.approx(1.957, abs=0.05)
    assert not found["stages.0.0.mixer"].prune
    assert found["stages.0.0.mixer"].why == "no weights of a layer"
    old = predicted(resolve("vit_base_patch16_224"), "v100", batch_size=256)
    assert not any(layer.prune for layer in old.layers)
    assert total_speedup(old.layers) == 1
    assert "does not execute 2:4 in float16" in old.layers[-1].why


def test_what_was_measured_to_be_slower_is_not_pruned():
    products = products_of(resolve("vit_base_patch16_224"))
    shapes = {shape for p in products if (shape := shape_of(p, 8)) is not None}
    rates = dict.fromkeys(shapes, 1e12)
    slow = placed_layers(
        products, DEVICES["a10"], batch_size=8, measured=rates, sparse_measured=dict.fromkeys(shapes, 0.6e12)
    )
    assert not any(layer.prune for layer in slow)
    assert {layer.why for layer in slow if layer.measured_s} >= {"0.60 times as fast when measured"}
    fast = placed_layers(
        products, DEVICES["a10"], batch_size=8, measured=rates, sparse_measured=dict.fromkeys(shapes, 1.4e12)
    )
    assert any(layer.prune for layer in fast)


def test_equal_layers_share_a_line_and_the_table_fits_100_columns():
    found = predicted(resolve("vit_tiny_patch16_224"), "a10")
    names = [name for name, _ in grouped(found.layers)]
    assert "stages.0.*.mlp.fc1" in names
    assert len(names) == 7
    sheet = roofline_sheet(found)
    assert all(len(line) == len(sheet.columns) for line in sheet.lines)
    assert max(map(len, sheet.notes.splitlines())) <= 100
    document = json.loads(json.dumps(found.to_json()))
    assert len(document["layers"]) == 62
    assert document["layers"][1]["regime"] in ("compute", "memory")


def test_the_layers_are_drawn_under_the_roof():
    found = predicted(resolve("vit_tiny_patch16_224"), "a10", batch_size=64)
    chart = draw_layers(spots(found), found.device, "float16", "vit").to_dict()
    records = [record for rows in chart["datasets"].values() for record in rows]
    peak = DEVICES["a10"].peak("float16") / 1e9
    marks = [record for record in records if "kind" in record]
    assert {record["kind"] for record in marks} == {"dense", "2:4 sparse"}
    assert all(record["rate"] <= peak * 1.0001 for record in marks)
    assert any(record.get("roof") and record["rate"] == pytest.approx(peak) for record in records)


def test_this_machine_is_measured_once_and_read_back(monkeypatch):
    monkeypatch.setattr("paretovit.cost.roofs._SIDES", {"cpu": (64, 128)})
    monkeypatch.setattr("paretovit.cost.roofs._COPIES", {"cpu": (15, 20)})
    monkeypatch.setattr("paretovit.cost.roofs._LEAST_S", 0.001)
    with Store("sqlite://") as store:
        rows = roofs(store, [(10, 64, 32)], threads=1)
        assert [row.indicator for row in rows].count(GEMM) == 3
        assert [row.indicator for row in rows].count(COPY) == 2
        assert all(row.value and len(row.samples) == 5 and row.value == max(row.samples) for row in rows)
        assert roofs(store, [(10, 64, 32)], threads=1) == rows
        device = device_of(rows)
        assert device.peak("float32") == max(row.value for row in rows if row.indicator == GEMM)
        assert device.sparse_macs_per_s == {}
        assert set(gemm_rates(rows, GEMM, "float32")) == {(64,) * 3, (128,) * 3, (10, 64, 32)}
        found = measured(resolve("vit_pico_patch4_8", in_chans=1), store, threads=1)
        assert all(layer.measured_s for layer in found.layers if layer.product.in_features)
        with pytest.raises(UserError, match="nothing was measured yet"):
            device_of([])


def test_bad_batch_sizes_are_said():
    with pytest.raises(UserError, match="at least 1, got 0"):
        predicted(resolve("vit_tiny_patch16_224"), "a10", batch_size=0)
