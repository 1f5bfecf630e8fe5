"""Tables of what `paretovit evaluate` found, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from paretovit.measurement import Measurement, wilson
from paretovit.report.tables import table


def accuracy_table(found: Sequence[tuple[int, Measurement]]) -> Table:
    """A line per image size, of pairs of image size and row: accuracies with their 95% interval (Wilson), calibration
    error, and how fast the pass was."""
    lines = []
    for px, rows in _by_size(found).items():
        top1 = rows["top1"]
        facts = top1.origin.timing
        lines.append(
            [
                f"{top1.model}, {px} px",
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
    """A line per class and image size: the share of its images that is recognised, with its interval."""
    lines = []
    for px, rows in _by_size(found).items():
        for name, (count, hits) in rows["top1"].origin.timing["by_class"].items():
            known = [f"{hits / count:.2%}", _interval(*wilson(hits, count))] if count else ["–", "–"]
            lines.append([f"{name}, {px} px", *known, f"{count:,}"])
    return table(lines, ("class", "top-1", "95% interval", "images"))


def _by_size(found: Sequence[tuple[int, Measurement]]) -> dict[int, dict[str, Measurement]]:
    sizes: dict[int, dict[str, Measurement]] = {}
    for px, row in found:
        sizes.setdefault(px, {})[row.indicator] = row
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
