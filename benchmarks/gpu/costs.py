"""What models cost on this GPU at 224 px, on every runtime that is here: time, throughput, training step, memory.

    python benchmarks/gpu/costs.py --out results/costs_cuda.jsonl

One model of every class of the taxonomy, and timm's DeiT and ResNet-50 beside them; torch_eager first, then
torch_cudagraphs, torch_compile and tensorrt, whichever are here. A model that a runtime cannot take is a row that says
why. Throughput is searched for over batch sizes, and left out where each of them would be compiled by itself.

One call takes at most nine minutes; the same call goes on where it stopped, until it ends with exit code 0.

`--device cpu --runtimes torch_eager --models vit_pico_patch2_8` goes the same way without a GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pieces
from rows import carry_out

from paretovit import resolve
from paretovit.cost.folders import RUNTIMES
from paretovit.cost.measure import Care
from paretovit.errors import UserError

PANEL = (
    "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "deit_small_patch16_224", "resnet50",
    "linformer_small_patch16_224", "swin_tiny_patch4_window7_224", "synthesizer_random_small_patch16_224",
    "performer_small_patch16_224", "cvt_13", "gfnet_vit_small_patch16_224", "evit_delete_small_patch16_224",
    "tome_small_patch16_224", "token_learner_small_patch16_224", "switch_small_patch16_224",
)  # fmt: skip
ORDER = ("torch_eager", "torch_cudagraphs", "torch_compile", "tensorrt")  # those that take longest come last
INDICATORS = ("latency_s", "images_per_s", "train_step_s", "peak_bytes_infer", "peak_bytes_train")
_SEARCHED = "images_per_s"
_COMPILED = ("torch_compile", "tensorrt")
_TOGETHER = 4  # models that are measured side by side, and between two looks at the clock


def here(names: list[str]) -> list[str]:
    """Those runtimes that can run; what keeps the others from it is said. Raises `UserError` if there are none."""
    missing = {name: RUNTIMES[name].missing() for name in names}
    for name, why in missing.items():
        if why:
            print(f"without {name}: {why}", file=sys.stderr)
    found = [name for name, why in missing.items() if not why]
    if not found:
        raise UserError(f"none of {', '.join(names)} can run here")
    return found


def asked_of(runtime: str) -> list[str]:
    """The indicators that are measured on it."""
    return [name for name in INDICATORS if runtime not in _COMPILED or name != _SEARCHED]


def main(options: argparse.Namespace) -> int:
    """The number of steps that are left."""
    end, left = pieces.end_of(options), 0
    specs = [resolve(name) for name in options.models]
    for runtime in here(options.runtimes):
        for at in range(0, len(specs), _TOGETHER):
            if time.monotonic() > end:
                left += 1
                continue
            carry_out(
                list(dict.fromkeys([specs[0], *specs[at : at + _TOGETHER]])),  # the first is every group's anchor
                options.out,
                indicators=asked_of(runtime),
                batch_size=options.batch_size,
                care=Care(rounds=9, sittings=2),
                runtimes=[runtime],
                device=options.device,
                dtype=options.dtype,
            )
    return left


if __name__ == "__main__":
    parser = pieces.arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=list(PANEL))
    parser.add_argument("--runtimes", nargs="+", default=list(ORDER))
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("-b", "--batch-size", type=int, default=64, help="images per training step and peak of memory")
    pieces.run(main, parser.parse_args())
