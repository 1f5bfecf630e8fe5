"""How far predicted memory is from measured memory over the zoo, and the survey's rule of thumb beside it.

    python benchmarks/bm_memory.py results/bm_memory.jsonl

Predicted without a device and measured by torch's CPU allocator: the peaks of inference and of a training step, at
batch 8, of every architecture of the catalog at tiny size and 224 px and of some of timm's. One process per model; what
the file has already is not measured again. The survey (Nauen et al. 2023, "Which Transformer to Favor") estimates the
memory of training by one straight line, VRAM = a GFLOPs + b. Here that line is fitted to the measured peaks by least
squares, so it errs as little as such a line can, on the very models that it was fitted to. Prints the median and the
largest error of both.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paretovit import Store, count, measure, resolve
from paretovit.cost.measure import Care
from paretovit.measurement import Measurement
from paretovit.report.progress import MeasureProgress
from paretovit.zoo.catalog import ARCHITECTURES

BATCH = 8
TIMM = (
    "xcit_tiny_12_p16_224", "swin_tiny_patch4_window7_224", "coat_lite_tiny", "poolformer_s12", "levit_128s",
    "pit_ti_224", "cait_xxs24_224", "mixer_s16_224", "maxvit_pico_rw_256", "efficientvit_b0", "resnet18", "resnet50",
    "efficientnet_b0",
)  # fmt: skip
PEAKS = ("peak_bytes_infer", "peak_bytes_train")


def main(out: Path) -> None:
    names = [*(f"{architecture}_tiny_patch16_224" for architecture in ARCHITECTURES), *TIMM]
    specs = [resolve(name) for name in names]
    with Store("sqlite://") as store:
        if out.exists():
            store.import_lines(out)
        for at in range(0, len(specs), 8):  # kept as they come
            some = specs[at : at + 8]
            missing = [spec for spec in some if not store.rows("macs", spec=spec.key)]
            store.append(count(missing, batch_size=BATCH), missing)
            with MeasureProgress() as progress:
                care = Care(rounds=3, group=1)
                measure(some, indicators=PEAKS, threads=1, batch_size=BATCH, store=store, care=care, progress=progress)
            store.export_lines(out)
        print("\n".join(verdict(store.rows())))


def verdict(rows: Sequence[Measurement]) -> list[str]:
    """One line per peak: errors of the prediction and of the line, as shares of what was measured."""
    macs = {row.conditions.spec: row.value for row in rows if row.indicator == "macs"}
    lines = []
    for name in PEAKS:
        own = [row for row in rows if row.indicator == name and row.value is not None]
        measured = {row.conditions.spec: row.value for row in own if row.origin.how == "measured"}
        predicted = {row.conditions.spec: row.value for row in own if row.origin.how == "predicted"}
        both = [spec for spec in measured if spec in predicted]
        truth, ours, work = (np.array([values[spec] for spec in both]) for values in (measured, predicted, macs))
        slope, offset = np.polyfit(work, truth, 1)
        errors = np.abs(ours / truth - 1)
        of_line = np.abs((slope * work + offset) / truth - 1)
        lines.append(
            f"{name}: {len(both)} models; predicted: median error {np.median(errors):.1e}, largest {errors.max():.2%}; "
            f"line in macs: median {np.median(of_line):.1%}, largest {of_line.max():.1%}; "
            f"ours leaves {np.median(errors) / np.median(of_line):.1e} of its median error, "
            f"{np.abs(ours - truth).sum() / np.abs(slope * work + offset - truth).sum():.3f} of its bytes"
        )
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]))
