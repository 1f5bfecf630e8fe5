"""A table as a figure, by the figure's name."""

from __future__ import annotations

from pathlib import Path

import altair as alt

from paretovit.errors import UserError
from paretovit.report.figures import FIGURES
from paretovit.report.save import save_chart
from paretovit.store import Table


def draw(table: Table, figure: str = "pareto", *, out: str | Path | None = None) -> alt.LayerChart:
    """The figure of that name in `report/figures/`, as the report draws it by default; `Store.table` makes tables.

    With `out` it is written to that file as well: .svg, .png, or .html, which works without a network. Raises
    `UserError` for a name that is not there, and for a table that lacks what the figure needs, which it names.
    """
    drawing = FIGURES[figure]()
    if not drawing.can_draw(table):
        raise UserError(f"the figure {figure} draws nothing without {drawing.needs}")
    chart = drawing.draw(table)
    if out is not None:
        save_chart(chart, Path(out))
    return chart
