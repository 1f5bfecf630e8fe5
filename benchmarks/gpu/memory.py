"""How far predicted memory is from what the CUDA allocator holds, over the zoo, at several batch sizes.

    python benchmarks/gpu/memory.py --out results/memory_cuda.jsonl --foretell      without a GPU
    python benchmarks/gpu/memory.py --out results/memory_cuda.jsonl                 goes on from there, on one

As `benchmarks/bm_memory.py`, but that `torch.cuda.max_memory_allocated` is what is measured, its peak reset before each
call. What is predicted are the tensors of a call on a CPU: kernels of a GPU take other workspaces, and its libraries
keep room for themselves (cuBLAS some tens of megabytes), which the allocator counts. So three errors are printed: that
of the prediction, that of the prediction and one constant for all models, and that of the survey's line in macs.

`--device cpu --models vit_pico_patch2_8 --batches 2` goes the same way without a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import pieces
from bm_memory import gather, peaks, rows_of, verdict, zoo

from paretovit import Measurement, resolve


def with_a_constant(rows: Sequence[Measurement]) -> list[str]:
    """One line per peak: the median of what was measured beyond the prediction, and the prediction's error with it."""
    lines = []
    for one in peaks(rows):
        more = float(np.median(one.measured - one.predicted))
        errors = np.abs((one.predicted + more) / one.measured - 1)
        lines.append(
            f"{one.title}; {more / 2**20:.1f} MiB more than predicted in the median; with them: "
            f"median error {np.median(errors):.1%}, largest {errors.max():.1%}"
        )
    return lines


def main(options: argparse.Namespace) -> int:
    """The number of steps that are left."""
    device = None if options.foretell else options.device
    specs = [resolve(name) for name in options.models or zoo()]
    left = gather(specs, options.out, batch_sizes=options.batches, device=device, until=pieces.end_of(options))
    rows = rows_of(options.out)
    print("\n".join([*verdict(rows), *with_a_constant(rows)]))
    return left


if __name__ == "__main__":
    parser = pieces.arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=None, help="the zoo by default")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--foretell", action="store_true", help="predict only, for which no device is needed")
    options = parser.parse_args()
    if options.foretell:
        options.device = "cpu"
    pieces.run(main, options)
