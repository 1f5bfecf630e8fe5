"""A model's roofline as text: a table of its layers, and sentences below it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paretovit.analysis.roofline import dense_roof, sparse_roof
from paretovit.optimize.roofline import PlacedLayer, Roofline, grouped, total_speedup


@dataclass(frozen=True)
class RooflineSheet:
    """A table whose cells are text, and the notes below it."""

    title: str
    columns: list[str]
    lines: list[list[str]]
    notes: str


def roofline_sheet(roofline: Roofline) -> RooflineSheet:
    """A line for every group of layers that are alike, in the order of the model."""
    columns = _columns(roofline)
    lines = [
        [name, *(cell(layers) for _, cell in columns), "prune" if layers[0].prune else "skip"]
        for name, layers in grouped(roofline.layers)
    ]
    device = roofline.device
    roof = dense_roof(device, roofline.dtype)
    title = (
        f"{roofline.model} on {device.name}: {roofline.dtype}, batch {roofline.batch_size}, "
        f"{roof.macs_per_s / 1e12:.4g} TMAC/s, {roof.bytes_per_s / 1e9:.4g} GB/s"
    )
    return RooflineSheet(
        title, ["layer", *(head for head, _ in columns), "verdict"], lines, "\n".join(_notes(roofline))
    )


def spots(roofline: Roofline) -> list[dict[str, Any]]:
    """A record for every group of layers, dense and, where it can be, sparse: name, intensity and attainable rate; and
    of dense ones the measured rate, where there is one."""
    found: list[dict[str, Any]] = []
    for name, layers in grouped(roofline.layers):
        layer, label = layers[0], f"{name} (x{len(layers)})" if len(layers) > 1 else name
        common = {"layer": label, "verdict": "prune" if layer.prune else layer.why}
        macs = layer.product.macs * roofline.batch_size
        found.append({**common, "kind": "dense", "intensity": layer.intensity, "rate": layer.macs_per_s})
        if layer.sparse_seconds is not None and layer.sparse_intensity is not None:
            rate = macs / 2 / layer.sparse_seconds
            found.append({**common, "kind": "2:4 sparse", "intensity": layer.sparse_intensity, "rate": rate})
        if layer.measured_s is not None:
            rate = macs / layer.measured_s
            found.append({**common, "kind": "dense, measured", "intensity": layer.intensity, "rate": rate})
    return found


def _columns(roofline: Roofline) -> list[tuple[str, Callable[[list[PlacedLayer]], str]]]:
    """Heads, and how a cell is made from a group of layers; without what no layer has."""
    columns: list[tuple[str, Callable[[list[PlacedLayer]], str]]] = [
        ("times", lambda layers: str(len(layers))),
        ("MMAC an\nimage", lambda layers: f"{layers[0].product.macs / 1e6:,.2f}"),
        ("MAC/B", lambda layers: _bound(layers[0].intensity, layers[0].regime)),
    ]
    if sparse_roof(roofline.device, roofline.dtype) is not None:
        columns.append(("MAC/B\nsparse", lambda layers: _bound(layers[0].sparse_intensity, layers[0].sparse_regime)))
    columns.append(("least\nµs", lambda layers: f"{layers[0].seconds * 1e6:,.1f}"))
    if sparse_roof(roofline.device, roofline.dtype) is not None:
        columns.append(("sparse, at\nmost times\nas fast", lambda layers: _or_nothing(layers[0].speedup, 1, ".2f")))
    if any(layer.measured_s is not None for layer in roofline.layers):
        columns.append(("measured\nµs", lambda layers: _or_nothing(layers[0].measured_s, 1e6, ",.1f")))
    if any(layer.measured_speedup is not None for layer in roofline.layers):
        columns.append(("measured\nsparse", lambda layers: _or_nothing(layers[0].measured_speedup, 1, ".2f")))
    return columns


def _bound(intensity: float | None, regime: str | None) -> str:
    return "" if intensity is None or regime is None else f"{intensity:.1f} {regime[0]}"


def _or_nothing(value: float | None, factor: float, form: str) -> str:
    return "" if value is None else format(value * factor, form)


def _notes(roofline: Roofline) -> list[str]:
    device, layers = roofline.device, roofline.layers
    notes = [
        f"Ridge at {dense_roof(device, roofline.dtype).ridge:.1f} MAC/B: c is bound by computing, m by memory. Every "
        "input, weight, index and output is moved once. A sparse product does half of the work.",
    ]
    if sparse_roof(device, roofline.dtype) is None:
        notes.append(f"{device.name} does not execute 2:4 sparse products in {roofline.dtype}: nothing to prune for.")
    else:
        pruned = sum(layer.prune for layer in layers)
        notes.append(
            f"Prune {pruned} of {len(layers)} products: all of them together are then at most "
            f"{total_speedup(layers):.2f} times as fast."
        )
        reasons = Counter(layer.why for layer in layers if layer.why)
        if reasons:
            notes.append("Skipped: " + "; ".join(f"{count}, {why}" for why, count in reasons.items()) + ".")
    notes.append(f"Peaks: {device.source}.")
    return [textwrap.fill(note, 100, break_on_hyphens=False) for note in notes]
