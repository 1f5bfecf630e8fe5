"""Tables of what `paretovit evaluate` found, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from paretovit.measurement import Measurement, wilson
from paretovit.report.tables import table


def accuracy_table(found: Sequence[tuple[int, Measurement]]) -> Table:
    """A line per image size and runtime, of pairs of image size and row: accuracies with their 95% interval (Wilson),
    calibration error, and how fast the pass was."""
    lines = []
    for (px, by), rows in _by_size(found).items():
        top1 = rows["top1"]
        facts = top1.origin.timing
        lines.append(
            [
                ", ".join(word for word in (top1.model, f"{px} px", by) if word),
                _share(top1),
                _interval(*facts["interval_95"]),
                _share(rows["top5"]) if "top5" in rows else "–",
                _share(rows["ece"]),
                f"{facts['images']:,}",
                f"{facts['images_per_s']:,.0f}",
            ]
        )
    columns = ("model", "top-1", "95% interval", "top-5", "calibration error", "images", "images/s")
    return table(lines, columns, _title(found))


def class_table(found: Sequence[tuple[int, Measurement]]) -> Table:
    """A line per class, image size and runtime: the share of its images that is recognised, with its interval."""
    lines = []
    for (px, by), rows in _by_size(found).items():
        for name, (count, hits) in rows["top1"].origin.timing["by_class"].items():
            known = [f"{hits / count:.2%}", _interval(*wilson(hits, count))] if count else ["–", "–"]
            lines.append([", ".join(word for word in (name, f"{px} px", by) if word), *known, f"{count:,}"])
    return table(lines, ("class", "top-1", "95% interval", "images"))


def lost_lines(found: Sequence[tuple[int, Measurement]]) -> list[str]:
    """One for every runtime and image size: what its top-1 accuracy is below that of the model as it was trained."""
    return [
        f"{_runtime(row)} at {px} px loses {_points(row.value)} points of top-1 accuracy "
        f"({_points(low)} to {_points(high)} at 95%)" + "".join(f"; {k} {v}" for k, v in row.conditions.assumptions)
        for px, row in found
        if row.indicator == "top1_drop" and row.value is not None
        for low, high in [row.origin.timing["interval_95"]]
    ]


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _runtime(row: Measurement) -> str:
    return " ".join(word for word in (row.conditions.runtime, row.conditions.dtype) if word)


def _by_size(found: Sequence[tuple[int, Measurement]]) -> dict[tuple[int, str], dict[str, Measurement]]:
    """Rows by indicator, for every image size and runtime."""
    sizes: dict[tuple[int, str], dict[str, Measurement]] = {}
    for px, row in found:
        sizes.setdefault((px, _runtime(row)), {})[row.indicator] = row
    return sizes


def _title(found: Sequence[tuple[int, Measurement]]) -> str:
    if not found:
        return "made-up images: no accuracy is stated"
    conditions = found[0][1].conditions
    words = f"{conditions.data}, {conditions.split}"
    return f"{words}; trained by {conditions.recipe}" if conditions.recipe else words


def _share(row: Measurement) -> str:
    return "–" if row.value is None else f"{row.value:.2%}"


def _interval(low: float, high: float) -> str:
    return f"{low:.2%} to {high:.2%}"
