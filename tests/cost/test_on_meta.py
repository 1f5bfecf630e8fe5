"""Results on meta tensors that are remembered: the same as worked out anew."""

from __future__ import annotations

import pytest
import torch

from paretovit.cost import on_meta
from paretovit.cost.on_meta import MetaResults

aten = torch.ops.aten


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(MetaResults, "known", {})


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def test_one_counter_finds_what_another_worked_out():
    first = MetaResults()(aten.mm.default, (meta(2, 3), meta(3, 4)), {})
    assert len(MetaResults.known) == 1
    second = MetaResults()(aten.mm.default, (meta(2, 3), meta(3, 4)), {})
    assert len(MetaResults.known) == 1
    assert (first.shape, first.stride(), first.dtype) == (second.shape, second.stride(), second.dtype)
    assert first.untyped_storage()._cdata != second.untyped_storage()._cdata


def test_other_shapes_strides_and_types_are_worked_out_anew():
    run = MetaResults()
    for x in (meta(3, 3), meta(3, 3).T, meta(3, 3, dtype=torch.float64), meta(4, 4)):
        result = run(aten.exp.default, (x,), {})
        assert (result.shape, result.stride(), result.dtype) == (x.shape, x.stride(), x.dtype)
    assert len(MetaResults.known) == 4


def test_the_type_that_numbers_have_by_default_is_part_of_the_question():
    run, whole = MetaResults(), meta(3, dtype=torch.int64)
    assert run(aten.mul.Scalar, (whole, 2.5), {}).dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert run(aten.mul.Scalar, (whole, 2.5), {}).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_memory_for_it_has_a_bound(monkeypatch):
    monkeypatch.setattr(on_meta, "_MOST", 10)
    for size in range(1, 100):
        MetaResults()(aten.exp.default, (meta(size),), {})
        assert len(MetaResults.known) <= 10
