"""What the models of the zoo cost on this machine.

    python benchmarks/zoo_costs.py growth results/zoo_growth.jsonl
    python benchmarks/zoo_costs.py runtimes results/zoo_growth_runtimes.jsonl
    python benchmarks/zoo_costs.py survey results/zoo_survey.jsonl

`growth` is every architecture on the skeleton, four blocks of width 64, from 64 to 16,384 tokens: latency, training
step and both peaks for one image. `runtimes` is the latency of the same up to 4,096 tokens in PyTorch and in two
runtimes that deploy models: from how many tokens on a mixer pays differs. `survey` is latency, throughput and both
peaks of the tiny models at 224 px and of timm's.
What a file has already is not measured again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rows import carry_out
from script import script

from paretovit import resolve
from paretovit.cost.measure import Care
from paretovit.spec import ModelSpec
from paretovit.zoo.catalog import entries
from paretovit.zoo.skeletons import ARCHITECTURES

PEAKS = ["peak_bytes_infer", "peak_bytes_train"]


def growth(out: Path) -> None:
    specs, longest = of_sides(32, 64, 128, 256), of_sides(512)
    still = ["params", "macs", *PEAKS]
    # a minute and more for a training step of those whose weights grow with the square of the tokens
    care = Care(rounds=5, sittings=1, group=12, timeout_s=600)
    carry_out(specs, out, indicators=[*still, "latency_s", "train_step_s"], batch_size=1, care=care)
    carry_out(longest, out, indicators=[*still, "latency_s"], batch_size=1, care=care)


def runtimes(out: Path) -> None:
    care = Care(rounds=5, sittings=1, group=12, timeout_s=600)
    served = ["torch_eager", "onnxruntime", "openvino"]
    carry_out(of_sides(32, 64, 128, 256), out, indicators=["latency_s"], runtimes=served, batch_size=1, care=care)


def of_sides(*sides: int) -> list[ModelSpec]:
    """Every architecture at so many pixels a side."""
    return [resolve(f"{name}_pico_patch4_{side}") for side in sides for name in ARCHITECTURES]


def surveyed() -> list[ModelSpec]:
    """The tiny models at 224 px, and of every other paper the first one."""
    at_224 = [entry for entry in entries().values() if entry.spec.image_px == 224]
    specs = [entry.spec for entry in at_224 if entry.name.endswith("_tiny_patch16_224")]
    seen = {entry.paper for entry in at_224 if entry.spec in specs}
    for entry in at_224:
        if entry.paper not in seen:  # a paper's models stand in the order of their size
            seen.add(entry.paper)
            specs.append(entry.spec)
    return specs


def survey(out: Path) -> None:
    indicators = ["params", "macs", "activations", "latency_s", "images_per_s", *PEAKS]
    carry_out(surveyed(), out, indicators=indicators, batch_size=8, care=Care(rounds=5, sittings=1, group=16))


if __name__ == "__main__":
    script(lambda: {"growth": growth, "runtimes": runtimes, "survey": survey}[sys.argv[1]](Path(sys.argv[2])))
