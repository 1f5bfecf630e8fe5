"""What became of a model that was pruned, as text."""

from __future__ import annotations

import re
import textwrap
from collections import Counter

from paretovit.optimize.prune import Pruned
from paretovit.optimize.roofline_sheet import RooflineSheet
from paretovit.optimize.sparsify import SparseLayer


def prune_sheet(done: Pruned) -> RooflineSheet:
    """A line for the layers of each kind, and sentences on sizes and speed."""
    groups: dict[str, list[SparseLayer]] = {}
    for layer in done.sparsified.layers:
        groups.setdefault(re.sub(r"\d+(?=\.)", "*", layer.name), []).append(layer)
    lines = [_line(name, layers) for name, layers in groups.items()]
    columns = ["layer", "pruned", "outputs x inputs", "kept\n%", "in its old\norder, %"]
    title = f"{done.sparsified.spec.name}: weights kept, by their scores"
    return RooflineSheet(title, columns, lines, "\n".join(_notes(done)))


def _line(name: str, layers: list[SparseLayer]) -> list[str]:
    pruned = [layer for layer in layers if layer.kept is not None]
    sizes = {f"{layer.rows} x {layer.width}" for layer in layers}
    return [
        name,
        f"{len(pruned)} of {len(layers)}",
        sizes.pop() if len(sizes) == 1 else "several",
        _mean([layer.kept for layer in pruned]),
        _mean([layer.before for layer in pruned]),
    ]


def _mean(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return f"{100 * sum(known) / len(known):.1f}" if known else ""


def _notes(done: Pruned) -> list[str]:
    made = done.sparsified
    reasons = Counter(layer.why for layer in made.layers if layer.why)
    notes = [f"Left dense: {'; '.join(f'{count}, {why}' for why, count in reasons.items())}."] if reasons else []
    share = done.compressed_bytes / done.dense_bytes
    notes.append(
        f"{done.folder}: a checkpoint with masks, and without its zeros {done.compressed_bytes / 1e6:.2f} MB in "
        f"{done.dtype}, {share:.3f} of the dense weights."
    )
    fast = " and ".join(f"{times:.2f} on {device}" for device, times in done.speedups.items())
    if made.pattern.is_2_of_4:
        notes.append(f"Products, all together, at most times as fast at batch {done.batch_size} in float16: {fast}.")
    else:
        notes.append(f"No device here executes {made.pattern}: what is gained is the size of the file.")
    return [textwrap.fill(note, 100, break_on_hyphens=False) for note in notes]
