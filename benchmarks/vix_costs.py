"""What the ViX models cost: training memory at the paper's batch, and how cost grows with the number of tokens.

    python benchmarks/vix_costs.py memory results/vix_memory.jsonl
    python benchmarks/vix_costs.py tokens results/vix_tokens.jsonl

`memory` is peak live bytes of a training step at batch 64: predicted for all models of the paper and for those that
vix_cifar10.py trains, measured for those of table 1 with linear embedding; where attention comes as one operator,
also without that, as when the paper was written.
`tokens` is latency, training step and both peaks of the models with linear embedding from 256 to 16,384 tokens, one
image; the Mixer's token MLP, whose parameters grow with the square, ends at 4,096.
What a file has already is not measured again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rows import carry_out
from script import script
from vix_cifar10 import MODELS

from paretovit import Store, count, resolve
from paretovit.cost.live_bytes import predicted_rows
from paretovit.cost.measure import Care
from paretovit.papers.hybrid_xformers import unfused
from paretovit.spec import ModelSpec
from paretovit.zoo.vix import names

KINDS = ("vit", "vip", "vil", "vin", "fnet", "mixer")


def memory(out: Path) -> None:
    table_1 = [resolve(f"vix_{kind}_patch1_32") for kind in KINDS]
    # one process at a time: unfused attention needs 8 GB
    care = Care(rounds=3, group=1)
    carry_out([*table_1, *_unfused(table_1)], out, indicators=["peak_bytes_train"], batch_size=64, care=care)
    every = [resolve(name) for name in names()]
    with Store("sqlite://") as store:
        store.import_lines(out)
        for spec in [*every, *_unfused(every)]:
            rows = predicted_rows(spec, batch_size=64)
            store.append([row for row in rows if not store.has(row.conditions, row.indicator)], [spec])
        small = [resolve(name) for name in MODELS]
        rows = count(small, batch_size=64)
        store.append([row for row in rows if not store.has(row.conditions, row.indicator)], small)
        store.export_lines(out)


def _unfused(specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    then = [replace(unfused(spec), name=f"{spec.name}, unfused") for spec in specs]
    return [now for spec, now in zip(specs, then, strict=True) if now.key != spec.key]


def tokens(out: Path) -> None:
    indicators = ["params", "macs", "peak_bytes_infer", "peak_bytes_train", "latency_s", "train_step_s"]
    care = Care(rounds=6, sittings=2, group=6)
    specs = [resolve(f"vix_{kind}_patch1_{side}", num_classes=10) for side in (16, 32, 64) for kind in KINDS]
    carry_out(specs, out, indicators=indicators, batch_size=1, care=care)
    longest = [resolve(f"vix_{kind}_patch1_128") for kind in KINDS if kind != "mixer"]
    carry_out(longest, out, indicators=indicators, batch_size=1, care=replace(care, rounds=3))


if __name__ == "__main__":
    script(lambda: {"memory": memory, "tokens": tokens}[sys.argv[1]](Path(sys.argv[2])))
