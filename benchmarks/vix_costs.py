"""What the ViX models cost: training memory at the paper's batch, and how cost grows with the number of tokens.

    python benchmarks/vix_costs.py memory results/vix_memory.jsonl
    python benchmarks/vix_costs.py tokens results/vix_tokens.jsonl

`memory` is peak live bytes of a training step at batch 64 and 1,025 tokens, for the models with linear embedding of
table 1, and for those whose attention comes as one operator also without that, as when the paper was written.
`tokens` is latency, training step and both peaks of the linear-embedding models from 256 to 16,384 tokens, one image,
against softmax attention as one operator; the Mixer's token MLP, quadratic in its parameters, ends at 4,096.
What a file has already is not measured again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from paretovit import Store, measure, resolve
from paretovit.cost.measure import Care
from paretovit.papers.hybrid_xformers import unfused
from paretovit.report.progress import MeasureProgress
from paretovit.spec import ModelSpec

KINDS = ("vit", "vip", "vil", "vin", "fnet", "mixer")


def carry_out(specs: Sequence[ModelSpec], out: Path, *, indicators: list[str], batch_size: int, care: Care) -> None:
    with Store("sqlite://") as store:
        if out.exists():
            store.import_lines(out)
        try:
            with MeasureProgress() as progress:
                measure(specs, indicators=indicators, batch_size=batch_size, store=store, care=care, progress=progress)
        finally:
            store.export_lines(out)


def memory(out: Path) -> None:
    specs = [resolve(f"vix_{kind}_patch1_32") for kind in KINDS]
    then = [replace(unfused(spec), name=f"{spec.name}, unfused") for spec in specs if unfused(spec).key != spec.key]
    # one process at a time: unfused attention needs 8 GB
    carry_out([*specs, *then], out, indicators=["peak_bytes_train"], batch_size=64, care=Care(rounds=3, group=1))


def tokens(out: Path) -> None:
    specs = [
        resolve(f"vix_{kind}_patch1_{side}", num_classes=10)
        for side in (16, 32, 64, 128)
        for kind in KINDS
        if side < 128 or kind != "mixer"
    ]
    indicators = ["params", "macs", "latency_s", "train_step_s", "peak_bytes_infer", "peak_bytes_train"]
    carry_out(specs, out, indicators=indicators, batch_size=1, care=Care(rounds=6, sittings=2, group=6))


if __name__ == "__main__":
    {"memory": memory, "tokens": tokens}[sys.argv[1]](Path(sys.argv[2]))
