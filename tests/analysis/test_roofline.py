"""The roofline: closed formulas worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretovit.analysis.roofline import dense_roof, overall, place, sparse_roof
from paretovit.devices import DEVICES, Device, device_called, named_device
from paretovit.errors import UserError

A10 = DEVICES["a10"]


def test_the_ridge_of_an_a10_is_where_peak_and_bandwidth_meet():
    roof = dense_roof(A10, "float16")
    assert roof.ridge == pytest.approx(62.5e12 / 600e9)
    assert roof.attainable(roof.ridge / 2) == pytest.approx(62.5e12 / 2)
    assert roof.attainable(10 * roof.ridge) == 62.5e12


def test_a_layer_worked_out_by_hand():
    # 100 rows, 64 x 128 weights in two bytes each, batch 2
    placed = place(100 * 64 * 128, 100 * 64, 100 * 128, 64 * 128, device=A10, batch_size=2)
    moved = 2 * (2 * 100 * (64 + 128) + 64 * 128)
    left = 2 * (2 * 100 * (64 + 128)) + 64 * 128 / 2 * 2 + 64 * 128 / 2 * 2 / 8
    macs = 2 * 100 * 64 * 128
    assert placed.intensity == pytest.approx(macs / moved)
    assert placed.sparse_intensity == pytest.approx(macs / 2 / left)
    assert placed.seconds == pytest.approx(max(macs / 62.5e12, moved / 600e9))
    assert placed.sparse_seconds == pytest.approx(max(macs / 125e12, left / 600e9))
    assert not placed.compute_bound


@given(
    st.floats(1, 1e9), st.floats(1, 1e6), st.floats(0, 1e6), st.floats(1, 1e6), st.sampled_from([1, 8, 256, math.inf])
)
def test_a_sparse_product_is_never_slower_nor_more_than_twice_as_fast(macs, inputs, outputs, weights, batch):
    placed = place(macs, inputs, outputs, weights, device=A10, batch_size=batch)
    assert 1 - 1e-9 <= placed.speedup <= 2 + 1e-9
    if placed.compute_bound and placed.sparse_compute_bound:
        assert placed.speedup == pytest.approx(2)
    if not placed.compute_bound:
        # what is saved is at most 7/16 of what is moved
        assert placed.speedup <= 16 / 9 + 1e-9


def test_where_weights_are_all_there_is_it_is_16_ninths():
    assert place(1e6, 0, 0, 1e6, device=A10).speedup == pytest.approx(16 / 9)


def test_without_sparse_units_there_is_no_sparse_time():
    assert sparse_roof(DEVICES["v100"], "float16") is None
    placed = place([1.0, 2.0], 1, 1, 1, device=DEVICES["v100"], dtype="float16")
    assert np.isnan(placed.sparse_seconds).all()
    assert not placed.sparse_compute_bound.any()
    mixed = place([1.0, 2.0], 1, 1, 1, device=A10, can_be_sparse=[True, False])
    assert np.isnan(mixed.sparse_seconds).tolist() == [False, True]


def test_the_whole_gains_what_its_parts_do():
    assert overall([3.0, 1.0], [1.5, math.nan], [True, False]) == pytest.approx(4 / 2.5)
    assert overall([3.0, 1.0], [1.5, math.nan], [False, False]) == 1


def test_unknown_devices_and_dtypes_are_said():
    with pytest.raises(UserError, match="did you mean a100"):
        named_device("a1000")
    with pytest.raises(UserError, match="T4 has no peak for bfloat16; it has float32, float16"):
        place(1, 1, 1, 1, device=DEVICES["t4"], dtype="bfloat16")
    with pytest.raises(UserError, match="cannot place int8"):
        place(1, 1, 1, 1, device=A10, dtype="int8")


def test_every_device_has_a_source_and_sparse_units_from_ampere_on():
    for name, device in DEVICES.items():
        assert "data sheet" in device.source
        assert bool(device.sparse_macs_per_s) == (name not in ("v100", "t4"))
        for dtype, peak in device.sparse_macs_per_s.items():
            assert peak == 2 * device.peak(dtype)


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("NVIDIA A10", "a10"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
    ],
)
def test_a_device_is_known_by_the_name_that_torch_has_for_it(called, name):
    assert device_called(called) is DEVICES[name]


def test_a_device_that_only_begins_alike_is_another():
    assert device_called("NVIDIA A10G") is None
    assert device_called("AMD EPYC, 2 cores") is None
    assert isinstance(A10, Device)
