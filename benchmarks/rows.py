"""Measures models into a file of rows; what the file has already is not measured again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paretovit import Store, measure
from paretovit.report.progress import MeasureProgress
from paretovit.spec import ModelSpec


def carry_out(specs: Sequence[ModelSpec], out: Path, **how: Any) -> None:
    """`how` is what `measure` takes. Stopped by Ctrl-C, the file holds what was measured; killed, the store beside it
    does, and the next call goes on from there."""
    with Store(str(out.with_suffix(".sqlite"))) as store:
        if out.exists():
            store.import_lines(out)
        try:
            with MeasureProgress() as progress:
                measure(specs, store=store, progress=progress, **how)
        finally:
            store.export_lines(out)
