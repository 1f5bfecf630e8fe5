"""The products of a model on a device's roofline, and which layers are worth making 2:4 sparse there."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from paretovit.analysis.roofline import ELEMENT_BYTES, KEPT, dense_roof, overall, place, sparse_roof
from paretovit.cost.products import Product, products_of
from paretovit.cost.roofs import GEMM, SPARSE_GEMM, Shape, device_of, gemm_rates, roofs
from paretovit.devices import Device, named_device
from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.store import Store

LEAST_GAIN = 1.05  # times as fast, or a layer is not worth the weights it would lose
GROUP = 4  # weights of which two are zero

Regime = Literal["compute", "memory"]


@dataclass(frozen=True, kw_only=True)
class PlacedLayer:
    """A product of a model on a roofline, at some batch size.

    intensity, sparse_intensity    multiply-accumulates per byte, dense and with 2:4 sparse weights
    regime, sparse_regime          what bounds it: the peak ("compute"), or memory
    macs_per_s                     attainable, dense
    seconds, sparse_seconds        the least time of the whole batch
    measured_s, sparse_measured_s  of products of that shape on this machine, where they were measured
    prune, why                     the decision, and what speaks against it

    What is sparse is None where it cannot be, or where nothing executes it so.
    """

    product: Product
    intensity: float
    regime: Regime
    macs_per_s: float
    seconds: float
    sparse_intensity: float | None
    sparse_regime: Regime | None
    sparse_seconds: float | None
    measured_s: float | None = None
    sparse_measured_s: float | None = None
    prune: bool = False
    why: str = ""

    @property
    def speedup(self) -> float | None:
        """How many times as fast it can be when sparse, at most."""
        return None if self.sparse_seconds is None else self.seconds / self.sparse_seconds

    @property
    def measured_speedup(self) -> float | None:
        """How many times as fast it was."""
        if self.measured_s is None or self.sparse_measured_s is None:
            return None
        return self.measured_s / self.sparse_measured_s

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the product's among them."""
        content = asdict(self)
        return {**content.pop("product"), **content, "speedup": self.speedup, "measured_speedup": self.measured_speedup}


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The layers of a model on a device's roofline, one of the `DEVICES` or what was measured here."""

    model: str
    device: Device
    dtype: str
    batch_size: int
    layers: tuple[PlacedLayer, ...]

    def to_json(self) -> dict[str, Any]:
        """One document of plain JSON values: conditions, totals, and a list of the layers."""
        roof, sparse = dense_roof(self.device, self.dtype), sparse_roof(self.device, self.dtype)
        return {
            "model": self.model,
            "device": self.device.name,
            "source": self.device.source,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "macs_per_s": roof.macs_per_s,
            "sparse_macs_per_s": None if sparse is None else sparse.macs_per_s / KEPT,
            "bytes_per_s": roof.bytes_per_s,
            "seconds": sum(layer.seconds for layer in self.layers),
            "speedup": total_speedup(self.layers),
            "layers": [layer.to_json() for layer in self.layers],
        }


def predicted(spec: ModelSpec, device: str, *, dtype: str | None = None, batch_size: int = 1) -> Roofline:
    """The model on the roofline of one of the `DEVICES`; float16 unless another dtype is asked for."""
    found = named_device(device)
    dtype = dtype or "float16"
    layers = placed_layers(products_of(spec), found, dtype=dtype, batch_size=batch_size)
    return Roofline(model=spec.name, device=found, dtype=dtype, batch_size=batch_size, layers=tuple(layers))


def measured(
    spec: ModelSpec,
    store: Store,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    threads: int | None = None,
    batch_size: int = 1,
    again: bool = False,
) -> Roofline:
    """The model on the roofline of this machine; what the store has no row of, its layers' shapes among it, is measured
    first. float32 on a CPU and float16 on a GPU, unless another dtype is asked for."""
    dtype = dtype or ("float32" if device == "cpu" else "float16")
    if dtype not in ELEMENT_BYTES:
        raise UserError(f"cannot place {dtype} on a roofline; take {', '.join(ELEMENT_BYTES)}")
    found = products_of(spec)
    shapes = [shape for product in found if (shape := shape_of(product, batch_size)) is not None]
    rows = roofs(store, shapes, device=device, dtype=dtype, threads=threads, again=again)
    here = device_of(rows)
    layers = placed_layers(
        found,
        here,
        dtype=dtype,
        batch_size=batch_size,
        measured=gemm_rates(rows, GEMM, dtype),
        sparse_measured=gemm_rates(rows, SPARSE_GEMM, dtype),
    )
    return Roofline(model=spec.name, device=here, dtype=dtype, batch_size=batch_size, layers=tuple(layers))


def placed_layers(
    products: Sequence[Product],
    device: Device,
    *,
    dtype: str = "float16",
    batch_size: float = 1,
    measured: Mapping[Shape, float] | None = None,
    sparse_measured: Mapping[Shape, float] | None = None,
    least_gain: float = LEAST_GAIN,
) -> list[PlacedLayer]:
    """Every product on the device's roofline, with the decision whether to prune it: where it can be `least_gain` times
    as fast, and where it was measured, was. `measured` are rates (MAC/s) by shape, zeros counted as done.

    Raises `UserError` for a batch size below 1 and for a dtype that the device has no peak for.
    """
    if not batch_size >= 1:
        raise UserError(f"batch size must be at least 1, got {batch_size}")
    able = [p.in_features is not None and p.in_features % GROUP == 0 for p in products]
    placement = place(
        [p.macs for p in products],
        [p.input_elements for p in products],
        [p.output_elements for p in products],
        [p.weight_elements for p in products],
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        can_be_sparse=able,
    )
    images = 1.0 if math.isinf(batch_size) else batch_size
    layers = []
    for at, p in enumerate(products):
        sparse = bool(np.isfinite(placement.sparse_seconds[at]))
        layer = PlacedLayer(
            product=p,
            intensity=float(placement.intensity[at]),
            regime=_regime(placement.compute_bound[at]),
            macs_per_s=images * p.macs / float(placement.seconds[at]),
            seconds=float(placement.seconds[at]),
            sparse_intensity=float(placement.sparse_intensity[at]) if sparse else None,
            sparse_regime=_regime(placement.sparse_compute_bound[at]) if sparse else None,
            sparse_seconds=float(placement.sparse_seconds[at]) if sparse else None,
            measured_s=_measured(p, batch_size, measured),
            sparse_measured_s=_measured(p, batch_size, sparse_measured),
        )
        why = _objection(layer, device, dtype, least_gain)
        layers.append(replace(layer, prune=not why, why=why))
    return layers


def shape_of(product: Product, batch_size: float) -> Shape | None:
    """Rows, inner and columns of the product as one matrix product of a batch; None if it is not that of a layer."""
    if product.in_features is None or math.isinf(batch_size):
        return None
    columns = product.weight_elements // product.calls // product.in_features
    rows = product.macs // product.calls // product.in_features // columns
    return round(rows * batch_size), product.in_features, columns


def total_speedup(layers: Sequence[PlacedLayer]) -> float:
    """Of all products together, at most, where those to be pruned are sparse; what is no product is left out."""
    sparse = [math.nan if layer.sparse_seconds is None else layer.sparse_seconds for layer in layers]
    return overall([layer.seconds for layer in layers], sparse, [layer.prune for layer in layers])


def grouped(layers: Sequence[PlacedLayer]) -> list[tuple[str, list[PlacedLayer]]]:
    """Layers that are alike but for numbers in their names, under a name with "*" in the place of those."""
    groups: dict[tuple[str, PlacedLayer], list[PlacedLayer]] = {}
    for layer in layers:
        pattern = re.sub(r"\d+", "*", layer.product.name)
        groups.setdefault((pattern, replace(layer, product=replace(layer.product, module=""))), []).append(layer)
    return [(_common([layer.product.name for layer in found]), found) for found in groups.values()]


def _common(names: Sequence[str]) -> str:
    columns = zip(*(re.split(r"(\d+)", name) for name in names), strict=True)
    return "".join(column[0] if len(set(column)) == 1 else "*" for column in columns)


def _measured(product: Product, batch_size: float, rates: Mapping[Shape, float] | None) -> float | None:
    shape = shape_of(product, batch_size)
    if not rates or shape is None or shape not in rates:
        return None
    return batch_size * product.macs / rates[shape]


def _objection(layer: PlacedLayer, device: Device, dtype: str, least_gain: float) -> str:
    width = layer.product.in_features
    if width is None:
        return "no weights of a layer"
    if width % GROUP:
        return f"width {width} is not divisible by {GROUP}"
    if layer.speedup is None:
        return f"{device.name} does not execute 2:4 in {dtype}"
    if layer.speedup < least_gain:
        return f"at most {layer.speedup:.2f} times as fast"
    if layer.measured_speedup is not None and layer.measured_speedup < least_gain:
        return f"{layer.measured_speedup:.2f} times as fast when measured"
    return ""


def _regime(compute_bound: Any) -> Regime:
    return "compute" if compute_bound else "memory"
