"""Rates over intensity, under the roofs of a device: what bounds a model, or each of its layers.

Paper    Williams et al. 2009, "Roofline"; with roofs for 2:4 sparse weights as in Vadakkeveedu 2023, "Exploration of
         Optimization Strategies for Vision Transformers", figure 4.3, but in multiply-accumulates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from paretovit.analysis.roofline import KEPT, Roof, dense_roof, sparse_roof
from paretovit.devices import Device, device_called
from paretovit.errors import UserError
from paretovit.report.figures import FAINT, INK, Data, Figure, Span, dressed, family_encodings, span, spread
from paretovit.report.headings import Heading, Sheet, sheet_of
from paretovit.store import Table

WIDTH, HEIGHT = 760, 460
_LABEL_PX = 18
_X, _Y = "intensity (MAC/B)", "rate (GMAC/s), higher is better"
_KINDS = {"dense": ("#0072b2", "circle"), "2:4 sparse": ("#d55e00", "diamond"), "dense, measured": ("#000000", "cross")}


class Roofline(Figure):
    """One mark per model: multiply-accumulates for each byte that its operators move, and how many a second it does.

    Bytes are those of every operator for itself, in float32, so the roofs, drawn where the device's peaks are known,
    are no bounds in the strict sense: a compiler that fuses operators moves a model to the right.
    """

    title = "Models under the roofline"
    needs = "counts of macs and bytes moved, and a throughput"

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        """None for a report on a device whose peaks are not known: without a roof it says what the table says."""
        columns = _columns(sheet_of(table))
        return {"": cls()} if columns and _peaks(columns[-1]) is not None else {}

    def can_draw(self, table: Table) -> bool:
        return bool(_columns(sheet_of(table)))

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        macs, moved, speed = _columns(sheet)
        records = []
        for at, values in enumerate(zip(*(sheet.values(h) for h in (macs, moved, speed)), strict=True)):
            if all(map(math.isfinite, values)):
                work, nbytes, images_per_s = values
                rate = work * images_per_s / 1e9
                records.append(
                    {
                        "model": sheet.labels[at],
                        "label": sheet.short_labels[at],
                        "family": sheet.families[at],
                        "intensity": work / nbytes,
                        "rate": rate,
                        "rate_text": f"{rate:.4g} GMAC/s",
                    }
                )
        stated = speed.column.conditions
        device = _peaks(speed)
        roofs: dict[str, Roof] = {}
        subtitle = [f"Throughput at the best batch size on {stated.device}. Bytes as counted operator by operator."]
        if device is not None:
            roofs = {f"{stated.dtype} peak": dense_roof(device, stated.dtype or "")}
        else:
            subtitle.append("No roof is drawn: the peaks of this device are not known here.")
        encodings = family_encodings(record["family"] for record in records)
        tooltip = [alt.Tooltip("model:N"), alt.Tooltip("family:N"), alt.Tooltip("rate_text:N", title="rate")]
        return _drawn(records, roofs, encodings, tooltip, self.title, subtitle, aslant=False)


def draw_layers(spots: Sequence[dict[str, Any]], device: Device, dtype: str, model: str) -> alt.LayerChart:
    """The layers of a model under the dense and the sparse roof of a device.

    A spot has `layer`, `kind` (of `_KINDS`), `intensity` (MAC/B), `rate` (MAC/s) and `verdict`. Sparse layers lie at
    the multiply-accumulates that they execute, which is half of the dense ones. Raises `UserError` without spots.
    """
    if not spots:
        raise UserError(f"{model} has no matrix products to draw")
    records = [
        spot | {"rate": spot["rate"] / 1e9, "label": spot["layer"] if spot["kind"] == "dense" else ""} for spot in spots
    ]
    sparse = sparse_roof(device, dtype)
    roofs = {f"{dtype} peak": dense_roof(device, dtype)}
    present = [kind for kind in _KINDS if any(record["kind"] == kind for record in records)]
    legend = alt.Legend(title="weights", orient="bottom", symbolSize=110, symbolOpacity=1)
    encodings = {
        "color": alt.Color(
            "kind:N", scale=alt.Scale(domain=present, range=[_KINDS[k][0] for k in present]), legend=legend
        ),
        "shape": alt.Shape(
            "kind:N", scale=alt.Scale(domain=present, range=[_KINDS[k][1] for k in present]), legend=legend
        ),
    }
    tooltip = [
        alt.Tooltip("layer:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("intensity:Q", format=",.1f", title=_X),
        alt.Tooltip("rate:Q", format=",.4~r", title=_Y),
        alt.Tooltip("verdict:N"),
    ]
    said = "Sparse products execute half of the multiply-accumulates under the same roof"
    done = "" if sparse is None else f": {sparse.macs_per_s / KEPT / 1e12:.4g} TMAC/s with the skipped ones"
    subtitle = [f"{device.name}, {dtype}. {said}{done}.", f"Peaks: {device.source}."]
    return _drawn(records, roofs, encodings, tooltip, f"{model}: layers under the roofline", subtitle, aslant=True)


def _drawn(
    records: list[dict[str, Any]],
    roofs: dict[str, Roof],
    encodings: dict[str, Any],
    tooltip: list[alt.Tooltip],
    title: str,
    subtitle: list[str],
    *,
    aslant: bool,
) -> alt.LayerChart:
    reach = [record["intensity"] for record in records] + [roof.ridge for roof in roofs.values()]
    x_span = span(reach, before=0.06, after=0.22, log=True)
    tops = [roof.macs_per_s / 1e9 for roof in roofs.values()]
    y_span = span([record["rate"] for record in records] + tops, after=0.3 if aslant else 0.05, log=True)
    x = alt.X("intensity:Q", title=_X, scale=x_span.scale, axis=alt.Axis(tickCount=6, format="~r", grid=False))
    y = alt.Y("rate:Q", title=_Y, scale=y_span.scale, axis=alt.Axis(tickCount=6, format="~r"))
    marked, lines, ends = (
        Data(records),
        Data(_lines(roofs, x_span, y_span)),
        Data(_labels(records, x_span, y_span, aslant=aslant)),
    )
    roof = lines.chart.mark_line(color=FAINT, strokeWidth=1.8).encode(x=x, y=y, detail="roof:N", order="intensity:Q")
    peak = (
        lines.chart.transform_filter("datum.end")
        .mark_text(align="right", dy=13, fontSize=12, color=FAINT)
        .encode(x=alt.X("intensity:Q", title=_X), y=alt.Y("rate:Q", title=_Y), text="roof:N")
    )
    marks = marked.chart.mark_point(filled=True, opacity=1, size=75).encode(x=x, y=y, tooltip=tooltip, **encodings)
    names = ends.chart.mark_text(align="left", angle=310 if aslant else 0, dx=9, fontSize=11, color=INK).encode(
        x=alt.X("label_x:Q", title=_X), y=alt.Y("label_y:Q", title=_Y), text="label:N"
    )
    chart = alt.layer(roof, peak, marks, names).properties(width=WIDTH, height=HEIGHT)
    return dressed(chart, title, subtitle, marked, lines, ends)


def _lines(roofs: dict[str, Roof], x_span: Span, y_span: Span) -> list[dict[str, Any]]:
    """Three corners of every roof: where it comes into the picture, its ridge, and its end on the right."""
    lines = []
    for name, roof in roofs.items():
        low = max(x_span.low, y_span.low * 1e9 / roof.bytes_per_s)
        for at in (low, roof.ridge, x_span.high):
            lines.append(
                {"roof": name, "intensity": at, "rate": float(roof.attainable(at)) / 1e9, "end": at == x_span.high}
            )
    return lines


def _labels(records: list[dict[str, Any]], x_span: Span, y_span: Span, *, aslant: bool) -> list[dict[str, Any]]:
    """Where the names stand: aslant above marks that lie on one roof, moved apart along it; else to the right of marks,
    moved apart where several are one above the other."""
    named = [record for record in records if record["label"]]
    across = [x_span.position(record["intensity"]) for record in named]
    up = [y_span.position(record["rate"]) for record in named]
    if aslant:
        across = spread(across, _LABEL_PX / WIDTH)
    else:
        for column in {round(6 * x) for x in across}:
            within = [at for at, x in enumerate(across) if round(6 * x) == column]
            for at, height in zip(within, spread([up[at] for at in within], _LABEL_PX / HEIGHT), strict=True):
                up[at] = height
    return [
        {"label": record["label"], "label_x": x_span.value(x), "label_y": y_span.value(y)}
        for record, x, y in zip(named, across, up, strict=True)
    ]


def _peaks(speed: Heading) -> Device | None:
    """The device of a throughput, if its peak in that data type is known."""
    stated = speed.column.conditions
    device = device_called(stated.device or "")
    return device if device is not None and stated.dtype in device.macs_per_s else None


def _columns(sheet: Sheet) -> tuple[Heading, ...]:
    """The first columns of macs, bytes moved and throughput that some model has all of; none without."""
    found = []
    for name in ("macs", "bytes_moved", "images_per_s"):
        found += [h for h in sheet.headings if h.column.indicator == name][:1]
    if len(found) < 3:
        return ()
    lines = zip(*(sheet.values(h) for h in found), strict=True)
    return tuple(found) if any(all(map(math.isfinite, line)) for line in lines) else ()
