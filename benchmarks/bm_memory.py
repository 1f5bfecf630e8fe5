"""How far predicted memory is from measured memory over the zoo, and the survey's rule of thumb beside it.

    python benchmarks/bm_memory.py results/bm_memory.jsonl

Predicted without a device and measured by torch's CPU allocator: the peaks of inference and of a training step, at
batch 8, of every architecture of the catalog at tiny size and 224 px and of some of timm's. One process per model; what
the file has already is not measured again. The survey (Nauen et al. 2023, "Which Transformer to Favor") estimates the
memory of training by one straight line, VRAM = a GFLOPs + b. Here that line is fitted to the measured peaks by least
squares, so it errs as little as such a line can, on the very models that it was fitted to. Prints the median and the
largest error of both. `benchmarks/gpu/memory.py` does the same against the allocator of a GPU.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from script import script

from paretovit import Measurement, ModelSpec, Store, count, measure, resolve
from paretovit.cost.live_bytes import predicted_rows
from paretovit.cost.measure import Care
from paretovit.report.progress import MeasureProgress
from paretovit.zoo.skeletons import ARCHITECTURES

BATCH = 8
TIMM = (
    "xcit_tiny_12_p16_224", "swin_tiny_patch4_window7_224", "coat_lite_tiny", "poolformer_s12", "levit_128s",
    "pit_ti_224", "cait_xxs24_224", "mixer_s16_224", "maxvit_pico_rw_256", "efficientvit_b0", "resnet18", "resnet50",
    "efficientnet_b0",
)  # fmt: skip
PEAKS = ("peak_bytes_infer", "peak_bytes_train")
_TOGETHER = 8  # models between two times that the file is written


class Peaks(NamedTuple):
    """Of some models one peak at one batch size, (models,) each: bytes measured, bytes predicted, and their macs."""

    name: str
    batch_size: int
    measured: NDArray[np.float64]
    predicted: NDArray[np.float64]
    macs: NDArray[np.float64]

    @property
    def errors(self) -> NDArray[np.float64]:
        """Of the prediction, as shares of what was measured."""
        return np.abs(self.predicted / self.measured - 1)

    @property
    def title(self) -> str:
        return f"{self.name}, batch {self.batch_size}: {len(self.measured)} models"


def zoo() -> list[str]:
    """Every architecture of the catalog at tiny size, and some of timm's."""
    return [*(f"{architecture}_tiny_patch16_224" for architecture in ARCHITECTURES), *TIMM]


def gather(
    specs: Sequence[ModelSpec],
    out: Path,
    *,
    batch_sizes: Sequence[int] = (BATCH,),
    device: str | None = "cpu",
    until: float = math.inf,
) -> int:
    """Adds to the file what it does not have: macs, predicted peaks, and those measured on the device, if one is named.

    Nothing is begun after `until`, a time of `time.monotonic`; returns how many pieces of the work are left then.
    """
    left = 0
    with Store("sqlite://") as store:
        if out.exists():
            store.import_lines(out)
        for batch_size in batch_sizes:
            for at in range(0, len(specs), _TOGETHER):
                if time.monotonic() > until:
                    left += 1
                    continue
                some = specs[at : at + _TOGETHER]
                _foretell(some, store, batch_size)
                if device is not None:
                    with MeasureProgress() as progress:
                        measure(
                            some,
                            indicators=PEAKS,
                            device=device,
                            threads=1,
                            batch_size=batch_size,
                            store=store,
                            care=Care(rounds=3, group=1),
                            progress=progress,
                        )
                store.export_lines(out)
    return left


def _foretell(specs: Sequence[ModelSpec], store: Store, batch_size: int) -> None:
    """Without a device."""
    uncounted = [spec for spec in specs if not store.rows("macs", spec=spec.key)]
    store.append(count(uncounted), uncounted)
    for spec in specs:
        known = store.rows(PEAKS[0], spec=spec.key, batch_size=batch_size)
        if not any(row.origin.how == "predicted" for row in known):
            store.append(predicted_rows(spec, batch_size=batch_size), [spec])


def peaks(rows: Sequence[Measurement]) -> list[Peaks]:
    """What was measured and predicted of the same models, by peak and batch size."""
    macs = {row.conditions.spec: row.value for row in rows if row.indicator == "macs"}
    found = []
    for name in PEAKS:
        own = [row for row in rows if row.indicator == name and row.value is not None]
        for batch_size in sorted({row.conditions.batch_size for row in own}):
            values: dict[str, dict[str, float]] = {"measured": {}, "predicted": {}}
            for row in own:
                if row.conditions.batch_size == batch_size and row.origin.how in values:
                    values[row.origin.how][row.conditions.spec] = row.value
            both = [spec for spec in values["measured"] if spec in values["predicted"]]
            columns = [np.array([of[spec] for spec in both], float) for of in (*values.values(), macs)]
            if both:
                found.append(Peaks(name, batch_size, *columns))
    return found


def verdict(rows: Sequence[Measurement]) -> list[str]:
    """One line per peak: errors of the prediction and, from three models on, of the line, as shares of what was
    measured."""
    lines = []
    for one in peaks(rows):
        said = f"{one.title}; predicted: median error {np.median(one.errors):.1e}, largest {one.errors.max():.2%}"
        if len(one.measured) > 2:
            slope, offset = np.polyfit(one.macs, one.measured, 1)
            line = slope * one.macs + offset
            of_line = np.abs(line / one.measured - 1)
            said += (
                f"; line in macs: median {np.median(of_line):.1%}, largest {of_line.max():.1%}; "
                f"ours leaves {np.median(one.errors) / np.median(of_line):.1e} of its median error, "
                f"{np.abs(one.predicted - one.measured).sum() / np.abs(line - one.measured).sum():.3f} of its bytes"
            )
        lines.append(said)
    return lines


def rows_of(out: Path) -> list[Measurement]:
    """The rows of a file."""
    with Store("sqlite://") as store:
        store.import_lines(out)
        return store.rows()


def main(out: Path) -> None:
    gather([resolve(name) for name in zoo()], out)
    print("\n".join(verdict(rows_of(out))))


if __name__ == "__main__":
    script(lambda: main(Path(sys.argv[1])))
