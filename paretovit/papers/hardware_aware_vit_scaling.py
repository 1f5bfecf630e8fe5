"""Anonymous 2021: plain ViTs scaled step by step against a cost measured on the target device.

What the paper calls FLOPs are multiply-accumulates, of models with DeiT's second token and second classifier. Not here:
figures without printed numbers, and table 10, which describes devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import ClassVar

from scipy.spatial.distance import cosine

from paretovit.analysis.claims import Claim
from paretovit.measurement import Measurement
from paretovit.papers import Paper
from paretovit.papers._cells import Cell, Verdict
from paretovit.papers._counted import counts, judged, with_printed
from paretovit.papers._hardware_aware_vit_scaling_claims import claims_of_scaled
from paretovit.papers._hardware_aware_vit_scaling_tables import (
    DETECTION,
    DISTANCES,
    KENDALL,
    ROWS,
    SHARES,
    VIDEO,
    Row,
)
from paretovit.papers._rows import Timed, accuracy_cells, timed_cells
from paretovit.spec import ModelSpec
from paretovit.zoo.catalog import resolve

PAPER = "hardware-aware-vit-scaling"

_TIMED = {
    "v100_fps": Timed("v100", "images_per_s"),
    "tx2_ms": Timed("tx2", "latency_s", per=1e-3),
    "pixel3_ms": Timed("pixel3", "latency_s", per=1e-3),
}
_FRAMES, _RATIO = 8, 4
_NORM_OPERATIONS = 5  # per value that a layer norm with gain and bias works on, by fvcore


class HardwareAwareVitScaling(Paper):
    """Tables 1 to 3, 5 to 9 and 11 to 13, and the numbers of figures 7 and 8."""

    title = "Anonymous 2021, An Investigation on Hardware-Aware Vision Transformer Scaling"
    models = "vit_*"  # what a search starts from, and what it grows
    marked = "scaled_ratio"
    tables: ClassVar[dict[str, str]] = {
        "1": "the model that scaling starts from",
        "2": "DeiT and DeiT scaled by macs, 300 epochs",
        "3": "the same, 1,000 epochs",
        "5": "scaled for one device, run on the other",
        "6": "what scaling DeiT has taught, carried over to PiT",
        "7": "the same, carried over to object detection",
        "8": "the models of table 6",
        "9": "the same, carried over to video",
        "11": "shares of DeiT-Tiny's time, and of its macs",
        "12": "scaled for the V100 and for the TX2",
        "13": "scaled, and then permuted at random (RP)",
        "figure 7": "cosine distances between the shares of table 11",
        "figure 8": "rank correlation of costs over 2,700 ViTs",
    }

    def cells(self, table: str, rows: Sequence[Measurement]) -> list[Cell]:
        others = {
            "7": _detection,
            "9": _video,
            "11": _shares,
            "figure 7": _distances,
            "figure 8": _rank_correlations,
        }
        if table in others:
            return list(others[table]())
        return [cell for row in ROWS if row.table == table for cell in _cells(row, rows)]

    def claims(self, rows: Sequence[Measurement]) -> list[Claim]:
        return claims_of_scaled(rows)


def video_macs(*, layers: int, dim: int, patches: int, pixels: int, scheme: str) -> int:
    """Multiply-accumulates of a TimeSformer (Bertasius et al. 2021) for 8 frames of so many `patches`, each of so many
    `pixels` times channels, by closed form; the classifier is left out.

    Joint attention is that of all patches of all frames. Divided is first over the frames, with a linear map of its
    own behind its output, and then over the patches of each frame, which has the class token with its own.
    """
    tokens = _FRAMES * patches + 1
    stem = _FRAMES * patches * pixels * dim
    mlp = 2 * _RATIO * tokens * dim**2
    if scheme == "joint":
        return stem + layers * (4 * tokens * dim**2 + 2 * tokens**2 * dim + mlp)
    over_time = 5 * _FRAMES * patches * dim**2 + 2 * patches * _FRAMES**2 * dim
    over_space = 4 * _FRAMES * (patches + 1) * dim**2 + 2 * _FRAMES * (patches + 1) ** 2 * dim
    return stem + layers * (over_time + over_space + mlp)


def video_norms(*, layers: int, dim: int, patches: int, scheme: str) -> int:
    """Operations of the layer norms of the same model as fvcore counts them, with which TimeSformer's code counts. With
    them table 9's numbers of the DeiTs that are not scaled come out to the last digit."""
    tokens = _FRAMES * patches + 1
    before_attention = tokens if scheme == "joint" else _FRAMES * patches + _FRAMES * (patches + 1)
    return _NORM_OPERATIONS * dim * (layers * (before_attention + tokens) + tokens)


def _cells(row: Row, rows: Sequence[Measurement]) -> Iterator[Cell]:
    spec = resolve(row.model)
    macs = judged(with_printed(_cell(row.table, row.name, row.model, "gmacs", "G"), row.gmacs), _gmacs(row.model))
    yield replace(macs, digits=2) if macs.digits is None else macs
    for name, timed in _TIMED.items():
        printed = getattr(row, name)
        if printed is not None:
            cell = with_printed(_cell(row.table, row.name, row.model, name, "ms" if timed.per < 1 else "1/s"), printed)
            yield from timed_cells(cell, timed, spec.key, rows)
    if row.top1 is not None:
        cell = with_printed(_cell(row.table, row.name, row.model, "top1", "%"), row.top1)
        yield from accuracy_cells(cell, spec.key, rows, data="ImageNet")


def _detection() -> Iterator[Cell]:
    for name, model, ap, fps in DETECTION:
        for kind, unit, printed, note in (
            ("ap", "%", ap, "not trained on COCO here; `paretovit detect` trains this detector"),
            ("v100_fps", "1/s", fps, "neither the size of the pictures nor the maps of the head are said"),
        ):
            yield replace(with_printed(_cell("7", name, model, kind, unit), printed), note=note)


def _video() -> Iterator[Cell]:
    for scheme, name, model, top1, gmacs in VIDEO:
        spec = resolve(model)
        layers, dim, patches = video_shape(spec)
        form = video_macs(layers=layers, dim=dim, patches=patches, pixels=spec.in_chans * 16**2, scheme=scheme)
        norms = video_norms(layers=layers, dim=dim, patches=patches, scheme=scheme)
        note = f"{_FRAMES} frames of {spec.square_px} px; recounted with layer norms, {_NORM_OPERATIONS} for each value"
        cell = _cell("9", f"{name}, {scheme}", model, "gmacs", "G")
        cell = replace(with_printed(cell, gmacs), recounted=(form + norms) / 1e9, note=note)
        # 61.9 is what the small one costs at 240 px, and 54.2 more than it costs at 256
        why = "frames of no size cost what is printed of both schemes" if "Scaled" in name else ""
        yield judged(cell, counts(spec).macs / 1e9, why)
        cell = with_printed(_cell("9", f"{name}, {scheme}", model, "top1", "%"), top1)
        yield replace(cell, note="not trained on Kinetics here")


def video_shape(spec: ModelSpec) -> tuple[int, int, int]:
    """Layers, width and patches of a frame of a TimeSformer; a layer through time and one in space are one."""
    layers = sum(stage.depth for stage in spec.stages if stage.mlp is not None)
    return layers, spec.stages[0].dim, (spec.square_px // spec.patch_px) ** 2


def _shares() -> Iterator[Cell]:
    model, ours = "deit_tiny_distilled_patch16_224", _macs_shares()
    note = "not measured here; `paretovit profile MODEL` shows the shares on a device at hand"
    for operator, printed in SHARES.items():
        for device, percent in zip(("v100", "tx2", "pixel3"), printed, strict=True):
            yield replace(with_printed(_cell("11", operator, model, f"{device}_share", "%"), percent), note=note)
        yield judged(_cell("11", operator, model, "macs_share", "%"), 100 * ours[operator])


def _distances() -> Iterator[Cell]:
    breakdowns = {
        device: [float(printed[i]) for printed in SHARES.values()] for i, device in enumerate(("V100", "TX2", "Pixel3"))
    }
    breakdowns["FLOPs"] = [_macs_shares()[operator] for operator in SHARES]
    for first, second, side, bound in DISTANCES:
        row = f"{first} and {second}: {side} than"
        cell = with_printed(_cell("figure 7", row, "deit_tiny_distilled_patch16_224", "distance", "1"), bound)
        ours = float(cosine(breakdowns[first], breakdowns[second]))
        holds = ours < float(bound) if side == "smaller" else ours > float(bound)
        verdict: Verdict = "agrees" if holds else "higher" if side == "smaller" else "lower"
        note = "shares of table 11" + (" and of our macs" if "FLOPs" in (first, second) else "")
        yield replace(cell, ours=ours, verdict=verdict, note=note, digits=3)


def _rank_correlations() -> Iterator[Cell]:
    for first, second, tau in KENDALL:
        cell = with_printed(_cell("figure 8", f"{first}, {second}", "", "kendall", "1"), tau)
        yield replace(cell, note="not measured here: it takes a V100, a TX2 and a Pixel 3")


@cache
def _macs_shares() -> dict[str, float]:
    """DeiT-Tiny's multiply-accumulates by the operators of table 11; the patches' convolution is among the others."""
    by_operator = counts(resolve("deit_tiny_distilled_patch16_224")).by_operator
    named = {"addmm": "MLP", "attention": "MSA-MatMul"}
    macs = dict.fromkeys(SHARES, 0)
    for operator, count in by_operator.items():
        macs[next((name for word, name in named.items() if word in operator), "Others")] += count.macs
    whole = sum(macs.values())
    return {operator: part / whole for operator, part in macs.items()}


@cache
def _gmacs(model: str) -> float:
    return counts(resolve(model)).macs / 1e9


def _cell(table: str, row: str, model: str, kind: str, unit: str) -> Cell:
    return Cell(paper=PAPER, table=table, row=row, model=model, cell=kind, unit=unit)
