"""Measures models into a file of rows; what the file has already is not measured again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paretovit import Store, measure
from paretovit.cost.measure import Care
from paretovit.report.progress import MeasureProgress
from paretovit.spec import ModelSpec


def carry_out(
    specs: Sequence[ModelSpec],
    out: Path,
    *,
    indicators: list[str],
    batch_size: int,
    care: Care,
    runtimes: Sequence[str] = ("torch_eager",),
    threads: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> None:
    """Stopped by Ctrl-C, the file holds what was measured; killed, the store beside it does, and the next call goes on
    from there."""
    with Store(str(out.with_suffix(".sqlite"))) as store:
        if out.exists():
            store.import_lines(out)
        try:
            with MeasureProgress() as progress:
                measure(
                    specs,
                    indicators=indicators,
                    runtimes=runtimes,
                    device=device,
                    dtype=dtype,
                    threads=threads,
                    batch_size=batch_size,
                    store=store,
                    care=care,
                    progress=progress,
                )
        finally:
            store.export_lines(out)
