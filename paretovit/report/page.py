"""The report: one HTML page that works without a network, and its main figures as SVG and PNG.

Everything that comes from the store is text to the page, never markup: cells are escaped, the charts' data are
JSON in an inert block, and a content security policy admits only the scripts whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
import textwrap
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any, Literal

import altair as alt
import vl_convert

from paretovit.analysis.claims import Claim
from paretovit.errors import UserError
from paretovit.report.carried_over import Carried, carried_over, carried_section
from paretovit.report.claims import claims_section
from paretovit.report.dominance import dominance_section
from paretovit.report.figures import FIGURES, Figure
from paretovit.report.growth import headline, tokens_section
from paretovit.report.headings import Sheet, sheet_of
from paretovit.report.sections import (
    LETTERS,
    correlation_section,
    curve_section,
    disagreement_section,
    fit_section,
    measured,
    memory_section,
    more_section,
    pairs_section,
    pareto_section,
    per_cost_section,
    table_section,
)
from paretovit.report.verdict import verdict
from paretovit.report.weights import for_page
from paretovit.store import Store, arrange

Pictures = Literal["main", "all", "none"]

_VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
_PNG_SCALE = 2.0
_TITLE_LETTERS = {"text": 88, "subtitle": 125}  # about the width of most figures
_WIDE = ("pareto", "pairs", "line_fit", "batch_curve", "tokens", "accuracy_memory")  # marks need no fixed size
_PLACED = (*_WIDE, "crossovers", "disagreement", "correlation", "accuracy_per_cost")  # shown by a section of their own
_HERE = Path(__file__).parent


def write(store: Store, out: str | Path, claims: Sequence[Claim] = (), *, pictures: Pictures = "main") -> list[Path]:
    """Write `index.html`, and under `figures/` figures as SVG and PNG; returns what was written, the page first.

    `claims` are what papers say, tried on the rows of the store. `pictures` says of which figures there are files, for
    a file takes seconds where there are many models: of those that the page shows first, of all, or of none. The page
    itself draws all of them. Raises `UserError` for a store without rows and for a folder that cannot be written.
    """
    rows, specs = store.rows(), store.specs()
    if not rows:
        raise UserError(
            f"the store {store.place} has no rows yet; fill it with `paretovit measure` or `paretovit train`"
        )
    sheet = sheet_of(arrange(for_page(rows, specs), specs=specs))
    figures = _figures(sheet)
    charts = {name: _chart(figure, sheet) for name, figure in figures.items()}
    elsewhere = {name: figure.title for name, figure in figures.items() if not name.startswith(_PLACED)}
    first = {type(figure): name for name, figure in reversed(figures.items())}
    pictured = {"main": list(first.values())[::-1], "all": list(charts), "none": []}[pictures]
    out = Path(out)
    try:
        (out / "figures" if pictured else out).mkdir(parents=True, exist_ok=True)
        paths = [out / "index.html"]
        carried = carried_over(rows, specs)
        _replace(paths[0], _page(sheet, charts, elsewhere, claims, carried, pictured).encode())
        for name in pictured:
            svg = vl_convert.vegalite_to_svg(charts[name], vl_version=_VEGA_LITE)
            for kind, content in (("svg", svg.encode()), ("png", vl_convert.svg_to_png(svg, scale=_PNG_SCALE))):
                paths.append(out / "figures" / f"{name}.{kind}")
                _replace(paths[-1], content)
    except OSError as error:
        raise UserError(
            f"cannot write the report to {out}: {error.strerror}; choose another folder with --out"
        ) from error
    return paths


def _figures(sheet: Sheet) -> dict[str, Figure]:
    """Every figure that the table allows, by the name of its file."""
    drawable = {}
    for name in FIGURES.names():
        for variant, figure in FIGURES[name].variants(sheet.raw).items():
            if figure.can_draw(sheet.raw):
                drawable[f"{name}-{variant}" if variant else name] = figure
    return drawable


def _chart(figure: Figure, sheet: Sheet) -> dict[str, Any]:
    """The figure as Vega-Lite. Its data are put in afterwards: Altair would walk through every record of them."""
    chart = figure.draw(sheet.raw)
    datasets, chart.datasets = chart.datasets, alt.Undefined
    return _wrapped(chart.to_dict()) | {"datasets": datasets}


def _wrapped(chart: dict[str, Any]) -> dict[str, Any]:
    """The chart with titles in several lines that are longer than what they stand beside: Vega lets them overrun."""
    for layer in chart.get("layer", []):
        for axis, letters in LETTERS.items():
            place = layer.get("encoding", {}).get(axis, {})
            if len(place.get("title") or "") > letters:
                place["title"] = textwrap.wrap(place["title"], letters)
    head = chart.get("title", {})
    for name, letters in _TITLE_LETTERS.items():
        lines = [head[name]] if isinstance(head.get(name), str) else head.get(name, [])
        cut = [part for line in lines for part in textwrap.wrap(line, letters)]
        if len(cut) > len(lines):
            head[name] = cut
    return chart


def _page(
    sheet: Sheet,
    charts: dict[str, dict[str, Any]],
    elsewhere: dict[str, str],
    claims: Sequence[Claim],
    carried: Sequence[Carried],
    pictured: Sequence[str],
) -> str:
    growth = headline(sheet)
    sentence = growth or verdict(sheet)
    # the stub asks for a snippet; without one the bundle offers vegaEmbed to the page
    bundle = _safe_script(vl_convert.javascript_bundle(vl_version=_VEGA_LITE))  # type: ignore[call-arg]
    css, js = (_HERE.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    names = set(charts)
    memory = memory_section(sheet, names)
    tokens = tokens_section(sheet, names)
    leading = (tokens if growth else "", claims_section(claims))
    sections = (
        *leading,
        memory if any(leading) else "",
        pareto_section(sheet, names, said=verdict(sheet) if growth else ""),
        dominance_section(sheet),
        pairs_section(sheet, names),
        disagreement_section(sheet, names),
        correlation_section(names),
        carried_section(carried),
        fit_section(sheet, names),
        "" if any(leading) else memory,
        per_cost_section(names),
        curve_section(sheet, names),
        "" if growth else tokens,
        more_section(elsewhere),
        table_section(sheet),
    )
    return Template(_HERE.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(sentence),
        verdict=escape(sentence),
        measured=measured(sheet),
        sections="\n".join(section for section in sections if section),
        version=escape(version("paretovit")),
        data=embedded(_shared(charts) | {"pictured": pictured}),
        bundle=bundle,
        js=js,
        css=css,
        script_hashes=f"{_hash(bundle)} {_hash(js)}",
        style_hash=_hash(css),
    )


def _shared(charts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The charts for the page: each data set once, though many charts use it; titles are left to the page.

    Charts in `_WIDE` take the width of the page.
    """
    datasets: dict[str, Any] = {}
    lean = {}
    for name, chart in charts.items():
        datasets |= chart["datasets"]
        lean[name] = {k: v for k, v in chart.items() if k not in ("datasets", "title")} | {
            "uses": list(chart["datasets"])
        }
        if name.startswith(_WIDE):
            lean[name]["width"] = "container"
    return {"charts": lean, "datasets": datasets}


def embedded(content: Any) -> str:
    """JSON that is safe between script tags: no character can end the block or the line."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _safe_script(script: str) -> str:
    """The libraries' own strings may hold the end tag of a script; within a string, `<\\/` is the same."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _replace(path: Path, content: bytes) -> None:
    """Write the file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
