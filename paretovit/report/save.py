"""A chart as a file of its own."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import vl_convert

from paretovit.errors import UserError

_VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def save_chart(chart: alt.LayerChart, path: Path) -> None:
    """Write the chart as the ending of `path` says: .svg, .png, or .html, which works without a network.

    Raises `UserError` for other endings and for a place that cannot be written.
    """
    content = chart.to_dict()
    if path.suffix == ".html":
        made = vl_convert.vegalite_to_html(content, vl_version=_VEGA_LITE, bundle=True).encode()
    elif path.suffix in (".svg", ".png"):
        svg = vl_convert.vegalite_to_svg(content, vl_version=_VEGA_LITE)
        made = svg.encode() if path.suffix == ".svg" else vl_convert.svg_to_png(svg, scale=2.0)
    else:
        raise UserError(f"cannot draw to {path}; name a file that ends in .svg, .png or .html")
    try:
        path.write_bytes(made)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another place") from error
