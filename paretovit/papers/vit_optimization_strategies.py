"""Vadakkeveedu 2023: replacing attention in vision transformers, and 2:4 sparsity of what multiplies tokens.

Figures print no numbers. What the thesis measured (accuracies on ImageWoof, latencies) no cost determines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
from torch import nn

from paretovit.analysis.claims import Claim
from paretovit.analysis.roofline import KEPT, Placement, dense_roof, place
from paretovit.cost.products import Product, products_of
from paretovit.devices import DEVICES
from paretovit.measurement import Measurement
from paretovit.papers import Paper
from paretovit.papers._cells import Cell
from paretovit.papers._counted import counts, judged, with_printed
from paretovit.papers._vit_optimization_strategies_claims import claims
from paretovit.papers._vit_optimization_strategies_replaced import claims_of_replaced
from paretovit.papers._vit_optimization_strategies_tables import (
    CONFIGS,
    GPUS,
    LAYERS,
    MIXERS,
    REGIMES,
    SHARES,
    SPEEDUPS,
    VARIANTS,
)
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

_PX = 384
_CLASSES = 10  # of ImageWoof; with 1,000 classes the head would be bound by computing
_BATCH = 256
_REGIMES = ("memory", "compute")

_FULL = (
    f"in full: batch {_BATCH}, and weights, their indices and outputs are moved, too; the thesis counts inputs "
    "alone, as in the limit of large batches"
)
_STATISTICS = "with the running means and variances of its batch norms, which are not trained, it is the printed number"


class VitOptimizationStrategies(Paper):
    """What costs determine of its six tables, and of the shares in its section 2.2."""

    title = "Vadakkeveedu 2023, Exploration of Optimization Strategies for Vision Transformers (thesis, IIT Madras)"
    models = "*_[0-9]*x[0-9]*_patch*"  # of the small parents that its findings are retried on
    tables: ClassVar[dict[str, str]] = {
        "1.1": "configurations of ViT, at 384 px",
        "1.2": "accuracies of variants",
        "section 2.2": "what the encoder of ViT-B does, at 384 px",
        "3.2": "networks in place of self-attention, 192 wide",
        "4.1": "peaks of GPUs in fp16, dense and 2:4 sparse",
        "4.2": "2:4 sparse against dense, by what bounds them",
        "4.3": "what bounds the layers of a ViT on an A10 in fp16, at 384 px",
    }

    def cells(self, table: str, rows: Sequence[Measurement]) -> list[Cell]:
        made = {
            "1.1": _configs,
            "1.2": _variants,
            "section 2.2": _shares,
            "3.2": _mixers,
            "4.1": _peaks,
            "4.2": _speedups,
            "4.3": _regimes,
        }
        return list(made[table]())

    def claims(self, rows: Sequence[Measurement]) -> list[Claim]:
        return [*claims_of_replaced(rows), *claims(rows)]


def _configs() -> Iterator[Cell]:
    for name, model, mparams, gflops in CONFIGS:
        count = counts(resolve(model, img_size=_PX))
        yield judged(with_printed(_cell("1.1", name, model, "mparams", "M"), mparams), count.params / 1e6)
        yield judged(with_printed(_cell("1.1", name, model, "gflops", "G"), gflops), 2 * count.macs / 1e9)


def _variants() -> Iterator[Cell]:
    for name, data, model, px, mparams, top1 in VARIANTS:
        spec = resolve(model, img_size=px)
        row = f"{name} ({data})"
        cell = with_printed(_cell("1.2", row, model, "mparams", "M"), mparams)
        found = judged(cell, counts(spec).params / 1e6)
        if found.verdict == "near":
            module = build(spec, device="meta")
            kept = sum(buffer.numel() for name, buffer in module.named_buffers() if "running" in name)
            if judged(cell, (counts(spec).params + kept) / 1e6).verdict == "exact":
                found = replace(found, verdict="explained", note=_STATISTICS)
        yield found
        accuracy = with_printed(_cell("1.2", row, model, "top1", "%"), top1)
        taught = "on ImageNet-1k" if data == "ImageNet-1k" else f"on {data}, then on ImageNet-1k"
        yield replace(accuracy, note=f"trained {taught}, which is not here")


def _shares() -> Iterator[Cell]:
    model = "vit_base_patch16_224"
    found = [p for p in _products(model) if p.module.startswith("stages")]
    work = {
        "MLP": sum(p.macs for p in found if ".mlp." in p.module),
        "QKV and output projections": sum(p.macs for p in found if ".mixer." in p.module),
        "Attention": sum(p.macs for p in found if p.module.endswith(".mixer")),
    }
    why = "printed as the rest of 60 and 11, which are rounded"
    for name, percent in SHARES:
        cell = with_printed(_cell("section 2.2", name, model, "macs_share", "%"), percent)
        share = 100 * work[name] / sum(work.values())
        yield judged(replace(cell, digits=0), round(share, 1), why)


def _mixers() -> Iterator[Cell]:
    model = "vit_tiny_patch16_224"
    mixer = next(m for name, m in build(resolve(model), device="meta").named_modules() if name.endswith(".mixer"))
    attention = sum(p.numel() for p in mixer.parameters())
    for name, layers, width, thousands, ratio in MIXERS:
        ours = attention if not layers else _dense(layers, width)
        yield judged(with_printed(_cell("3.2", name, model, "kparams", "1000"), thousands), ours / 1e3)
        yield judged(with_printed(_cell("3.2", name, model, "params_ratio", "1"), ratio), ours / attention)


def _dense(layers: int, width: int) -> int:
    """Parameters of that many linear layers with biases, from 192 to `width` wide ones and back."""
    widths = [192, *[width] * (layers - 1), 192]
    linears = [nn.Linear(a, b, device="meta") for a, b in pairwise(widths)]
    return sum(p.numel() for linear in linears for p in linear.parameters())


def _peaks() -> Iterator[Cell]:
    for name, dense, sparse in GPUS:
        device = DEVICES[name.lower()]
        for kind, printed, macs in (
            ("tflops", dense, device.macs_per_s["float16"]),
            ("sparse_tflops", sparse, device.sparse_macs_per_s["float16"]),
        ):
            cell = with_printed(_cell("4.1", name, name, kind, "T"), printed)
            yield judged(replace(cell, note=device.source), 2 * macs / 1e12)


def _speedups() -> Iterator[Cell]:
    """Products of all intensities about the ridge, placed as the thesis places them."""
    ridge = dense_roof(DEVICES["a10"], "float16").ridge
    intensities = np.sort(np.append(np.geomspace(ridge / 16, 16 * ridge, 100_000), (ridge, 2 * ridge)))
    placed = place(intensities, 0.5, 0, 0, device=DEVICES["a10"], dtype="float16", batch_size=math.inf)  # 1 B each
    for dense, sparse, rate_low, rate_high, low, high in SPEEDUPS:
        chosen = (placed.compute_bound == (dense == "compute")) & (placed.sparse_compute_bound == (sparse == "compute"))
        speedup = placed.speedup[chosen]
        row, model = f"{dense}, {sparse}", "vit_tiny_patch16_224"
        for kind, printed, ours in (
            ("rate_low", rate_low, KEPT * speedup.min()),
            ("rate_high", rate_high, KEPT * speedup.max()),
            ("speedup_low", low, speedup.min()),
            ("speedup_high", high, speedup.max()),
        ):
            cell = with_printed(_cell("4.2", row, model, kind, "1"), printed)
            yield judged(cell, round(float(ours), 3))


def _regimes() -> Iterator[Cell]:
    for name, model, layer, dense, sparse in REGIMES:
        (product,) = (p for p in _products(model) if p.module == LAYERS[layer])
        ways = {
            "as assumed": (_placed(product, inputs_only=True), ""),
            "in full": (_placed(product, inputs_only=False), _FULL),
        }
        for whose, (placed, why) in ways.items():
            for kind, printed, bound in (
                ("dense_regime", dense, placed.compute_bound),
                ("sparse_regime", sparse, placed.sparse_compute_bound),
            ):
                cell = _cell("4.3", f"{name} {layer}", model, kind, "1")
                cell = replace(cell, printed=float(_REGIMES.index(printed)), digits=0, whose=whose)
                made = judged(cell, float(bound), why)
                yield replace(made, note=why) if made.verdict != "exact" else made


def _placed(product: Product, *, inputs_only: bool) -> Placement:
    return place(
        product.macs,
        product.input_elements,
        0 if inputs_only else product.output_elements,
        product.weight_elements,
        device=DEVICES["a10"],
        dtype="float16",
        batch_size=math.inf if inputs_only else _BATCH,
    )


@cache
def _products(model: str) -> tuple[Product, ...]:
    return tuple(products_of(resolve(model, img_size=_PX, num_classes=_CLASSES)))


def _cell(table: str, row: str, model: str, kind: str, unit: str) -> Cell:
    return Cell(paper="vit-optimization-strategies", table=table, row=row, model=model, cell=kind, unit=unit)
