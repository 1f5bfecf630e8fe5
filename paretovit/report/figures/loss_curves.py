"""How losses and accuracy of a model with replaced layers went while it was trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import altair as alt

from paretovit.report.figures import Data, Figure, capital, dressed, span
from paretovit.report.headings import Sheet, sheet_of
from paretovit.report.replaced import Run, runs
from paretovit.store import Table
from paretovit.training.replacing import Tried

WIDTH, HEIGHT = 760, 400
# of what is drawn the title, the unit, which way is better, and by how much it is shown larger
_QUANTITIES = {
    "distillation_loss": ("distillation loss", "1", "lower", 1),
    "label_loss": ("cross-entropy with the labels", "nat", "lower", 1),
    "top1": ("top-1 accuracy", "%", "higher", 100),
}
_TAUGHT = ("labels alone", "labels and parent", "parent alone")
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")


class LossCurves(Figure):
    """A line per run and split: a loss or the accuracy after each epoch, for the stage that was followed most often.
    After Vadakkeveedu 2023, figures 3.13 to 3.15: training on labels, on what the parent makes of the images, and on
    both. With `copies` a line per run of the copied layer that was followed most often, by how much of the parent was
    in its first weights: figure 3.16, where it is none.

    `quantity` is "distillation_loss", "label_loss" or "top1".
    """

    title = "Losses while replaced layers are trained"
    needs = "models with replaced layers that were followed, as `paretovit replace --curves` does"

    def __init__(self, quantity: str = "distillation_loss", *, copies: bool = False) -> None:
        self.quantity, self.copies = quantity, copies

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        return {**{name: cls(name) for name in _QUANTITIES}, "copies": cls(copies=True)}

    def can_draw(self, table: Table) -> bool:
        return bool(_followed(sheet_of(table), copies=self.copies))

    def draw(self, table: Table) -> alt.LayerChart:
        found = _followed(sheet_of(table), copies=self.copies)
        words, unit, better, factor = _QUANTITIES[self.quantity]
        points = [
            point | {"value": factor * point[self.quantity], "taught": _begun(run) if self.copies else point["taught"]}
            for run in found
            for point in _points(run)
        ]
        # a copy that begins as the whole layer has nothing to learn, and zero has no place on a logarithmic axis
        points = [point for point in points if point["value"] > 0 or not self.copies]
        begun = dict.fromkeys(_begun(run) for run in sorted(found, key=lambda run: run.tried.start))
        known = list(begun) if self.copies else list(_TAUGHT)
        taught = [name for name in known if any(point["taught"] == name for point in points)]
        splits = sorted({point["split"] for point in points}, key=lambda split: (split != "train", split))

        data = Data(points)
        x_span = span([point["epoch"] for point in points])
        y_span = span([point["value"] for point in points], log=self.copies)
        last = max(point["epoch"] for point in points)
        ticks = alt.Axis(values=list(range(1, last + 1, -(-last // 12))), format="d")
        x = alt.X("epoch:Q", title="training so far (epochs)", scale=x_span.scale, axis=ticks)
        y = alt.Y("value:Q", title=f"{words} ({unit}), {better} is better", scale=y_span.scale)
        palette = [_COLORS[known.index(name)] for name in taught]
        color = alt.Color(
            "taught:N",
            scale=alt.Scale(domain=taught, range=palette),
            legend=alt.Legend(
                title="share of the parent in the first weights" if self.copies else "trained on",
                titleLimit=WIDTH,
                orient="bottom",
            ),
        )
        dash = alt.StrokeDash(
            "split:N",
            scale=alt.Scale(domain=splits, range=[[5, 4], [1, 0]][-len(splits) :]),
            legend=alt.Legend(title="judged on", orient="bottom"),
        )
        tooltip = ["run:N", "taught:N", "split:N", "epoch:Q", alt.Tooltip("value:Q", title=words, format=".4g")]
        lines = data.chart.mark_line(strokeWidth=1.8, opacity=0.85).encode(
            x=x, y=y, color=color, strokeDash=dash, detail="run:N", order="epoch:Q"
        )
        dots = data.chart.mark_point(filled=True, size=26).encode(x=x, y=y, color=color, tooltip=tooltip)
        chart = alt.layer(lines, dots).properties(width=WIDTH, height=HEIGHT)
        told = found[0].tried
        subtitle = [
            f"{told} in {told.parent}, distilled by {told.loss}. A line is a run from one seed.",
            f"By {told.recipe}.",
        ]
        what = "a layer is taught by itself" if self.copies else "replaced layers are trained"
        return dressed(chart, f"{capital(words)} while {what}", subtitle, data)


def _followed(sheet: Sheet, *, copies: bool) -> list[Run]:
    """The runs of the stage that was followed most often, whatever the weight of the distillation or, of `copies` of a
    layer, the weights that they began with."""
    found = [run for run in runs(sheet) if "curves" in run.row.origin.timing]
    begun = {_stage(run) for run in found if run.tried.start}
    found = [run for run in found if (_stage(run) in begun) == copies]
    counts = Counter(_stage(run) for run in found)
    return [run for run in found if _stage(run) == counts.most_common(1)[0][0]]


def _stage(run: Run) -> Tried:
    return replace(run.tried, alpha=0.0, start=0.0)


def _begun(run: Run) -> str:
    return f"{100 * run.tried.start:g}%"


def _points(run: Run) -> Iterator[dict[str, Any]]:
    curves, alpha = run.row.origin.timing["curves"], run.tried.alpha
    taught = _TAUGHT[0 if alpha == 0 else 2 if alpha == 1 else 1]
    for split, values in curves.items():
        if split == "epoch":
            continue
        for at, epoch in enumerate(curves["epoch"]):
            yield {
                "run": f"{run.name}, alpha {alpha:g}, seed {run.row.conditions.seed}, {split}",
                "taught": taught,
                "split": split,
                "epoch": epoch,
                **{name: values[name][at] for name in _QUANTITIES},
            }
