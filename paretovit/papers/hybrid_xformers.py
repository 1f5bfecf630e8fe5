"""Jeevan and Sethi 2022: X-formers, convolutional embedding and rotary positions in small vision transformers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from paretovit.analysis.claims import Claim
from paretovit.cost.counting import Count
from paretovit.cost.live_bytes import predicted_rows
from paretovit.cost.subject import Setting, Subject
from paretovit.measurement import Measurement
from paretovit.papers import Paper
from paretovit.papers._cells import Cell, Verdict
from paretovit.papers._hybrid_xformers_claims import claims
from paretovit.papers._hybrid_xformers_size import size_mb
from paretovit.papers._hybrid_xformers_tables import MISPRINTS, REMARKS, ROWS, Row
from paretovit.papers._parameters import layer_parameters
from paretovit.papers._rows import accuracy_cells, memory_cells
from paretovit.spec import ModelSpec, Part
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.folders import MIXERS

_BATCH = 64  # images, of the column "GPU (GB)"


class HybridXformers(Paper):
    """The 62 rows of tables 1 to 6. The paper's GPU column is for training at batch 64: where no row has that peak, it
    is predicted from the operators' live bytes."""

    title = "Jeevan and Sethi 2022, Resource-efficient Hybrid X-formers for Vision (WACV)"
    models = "vix_*"
    tables: ClassVar[dict[str, str]] = {
        "1": "CIFAR-10, linear and convolutional embedding",
        "2": "Tiny ImageNet, linear and convolutional embedding",
        "3": "CIFAR-10, convolutional transformers",
        "4": "Tiny ImageNet, convolutional transformers",
        "5": "CIFAR-10, pooling between two stages",
        "6": "CIFAR-10, rotary positions",
    }

    def cells(self, table: str, rows: Sequence[Measurement]) -> list[Cell]:
        return [cell for row in ROWS if str(row.table) == table for cell in _cells(row, rows)]

    def claims(self, rows: Sequence[Measurement]) -> list[Claim]:
        return claims(rows)


def unfused(spec: ModelSpec) -> ModelSpec:
    """The model as it ran then: with mixers that keep their weights, and in the order of the packages of 2021.

    It gives the same numbers from the same weights, at another cost. A model that has no such mixer is returned as is.
    """
    return replace(spec, stages=tuple(replace(stage, mixer=_unfused(stage.mixer)) for stage in spec.stages))


def _unfused(mixer: Part) -> Part:
    if "fused" not in inspect.signature(MIXERS[mixer.name]).parameters:
        return mixer
    return Part.of(mixer.name, **{**dict(mixer.options), "fused": False})


def _cells(row: Row, rows: Sequence[Measurement]) -> Iterator[Cell]:
    spec = resolve(row.model)
    params = layer_parameters(build(spec, device="meta"))
    count = _count(spec)

    yield _judged(row, "params", "1", params, row.params, row.recounted_params)
    yield _judged(row, "all_params", "1", count.params, None, row.recounted_all_params)
    yield _explained(_judged(row, "macs", "1", count.macs, None, row.recounted_macs), spec, count)
    yield _judged(row, "size_mb", "MB", size_mb(row, params), row.size_mb, row.recounted_size_mb)
    then = unfused(spec)
    ways = {spec.key: ""} if then == spec else {then.key: "unfused, as in the paper", spec.key: "fused"}
    at_hand = [*rows, *_predicted({then.key: then, spec.key: spec}, rows)]
    yield from memory_cells(_printed(row, "gpu_gb", "GB", row.gpu_gb), ways, at_hand, batch_size=_BATCH)
    for name, percent in (("top1", row.top1), ("top5", row.top5)):
        yield from accuracy_cells(_printed(row, name, "%", percent), spec.key, rows, data=row.data)


def _predicted(specs: Mapping[str, ModelSpec], rows: Sequence[Measurement]) -> Iterator[Measurement]:
    """The peaks of a training step, worked out now, of those specs that no row has one of."""
    have = {
        row.conditions.spec
        for row in rows
        if row.indicator == "peak_bytes_train" and row.conditions.batch_size == _BATCH and row.origin.how != "published"
    }
    for key, spec in specs.items():
        if key not in have:
            yield from predicted_rows(spec, batch_size=_BATCH)


def _printed(row: Row, name: str, unit: str, value: float | None) -> Cell:
    """The cell before there is one of ours."""
    return Cell(
        paper="hybrid-xformers",
        table=str(row.table),
        row=row.name,
        model=row.model,
        cell=name,
        unit=unit,
        printed=value,
        note=REMARKS.get((row.table, row.name, name), ""),
    )


def _judged(row: Row, name: str, unit: str, ours: float, printed: float | None, recounted: float) -> Cell:
    """The cell of a number that has to be met to its last digit."""
    cell = replace(_printed(row, name, unit, printed), recounted=recounted, ours=ours)
    misprint = MISPRINTS.get((row.table, row.name, name))
    if ours == printed:
        return replace(cell, verdict="exact")
    if ours == recounted and misprint:
        return replace(cell, verdict="misprint", note=misprint)
    verdict: Verdict = "recounted" if printed is None and ours == recounted else "differs"
    return replace(cell, verdict=verdict)


def _explained(cell: Cell, spec: ModelSpec, count: Count) -> Cell:
    """The cell of macs: what separates ours from the recount is named where it is the whole difference."""
    if cell.verdict != "differs":
        return cell
    if count.macs - _fourier(count) == cell.recounted:
        note = f"the recount, and {_fourier(count):,} of the Fourier transforms, which it leaves out"
        return replace(cell, verdict="explained", note=note)
    if _count(unfused(spec)).macs == cell.recounted:
        note = "the same function in fewer products; with those of the package (`fused=False`) ours is the recount"
        return replace(cell, verdict="explained", note=note)
    return cell


def _fourier(count: Count) -> int:
    return sum(work.macs for operator, work in count.by_operator.items() if "fft" in operator)


def _count(spec: ModelSpec) -> Count:
    return Subject(spec, Setting()).count
