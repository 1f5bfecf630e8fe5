"""How fast sparse weights are packed and unpacked, beside a plain copy of the dense ones, and how long pruning takes.

    python benchmarks/bm_sparse.py > results/bm_sparse.jsonl

Of all layers of the blocks of ViT-Base, and of one of its layers, whose weights stay in a cache. `ratio` is the copy's
time over ours: at 0.5 we take as long as two copies of the dense weights in the same data type. Then the seconds that
ViT-Base takes to be pruned to 2:4, with its channels left in their order and with a better one searched for.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from paired import compare, emit, environment, spread
from script import script
from torch import Tensor

from paretovit.devices import num_threads
from paretovit.optimize.packing import pack, unpack
from paretovit.optimize.sparsify import sparsify
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.layers import block_of, weight_matrices
from paretovit.zoo.patterns import Pattern

MODEL = "vit_base_patch16_224"
CASES = (("2:4", "float16"), ("2:4", "bfloat16"), ("2:4", "float32"), ("1:4", "float16"), ("4:8", "float16"))


def masked(weights: list[Tensor], pattern: Pattern, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """The weights in a pattern, and their masks."""
    masks = [pattern.mask(weight.abs()) for weight in weights]
    return [(weight.masked_fill(~mask, 0).to(dtype), mask) for weight, mask in zip(weights, masks, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    environment(f"python benchmarks/bm_sparse.py --model {options.model} --rounds {options.rounds}")
    torch.manual_seed(0)
    spec, model = resolve(options.model), build(options.model)
    matrices = weight_matrices(model)
    weights = [matrices[name].detach() for name in block_of(model)]
    for text, dtype in CASES:
        pattern = Pattern.of(text)
        for what, chosen in (("one layer", weights[:1]), ("all layers", weights)):
            pairs = masked(chosen, pattern, getattr(torch, dtype))
            packed = [pack(weight, mask, pattern) for weight, mask in pairs]
            case = {"model": options.model, "weights": what, "pattern": text, "dtype": dtype}
            sides = {
                "pack": lambda pairs=pairs, pattern=pattern: [pack(*pair, pattern) for pair in pairs],
                "unpack": lambda packed=packed, pattern=pattern: [unpack(*one, pattern) for one in packed],
            }
            size = sum(weight.nbytes for weight, _ in pairs)
            for side, ours in sides.items():
                copy = {"copy": lambda pairs=pairs: [weight.clone() for weight, _ in pairs]}
                compare({**case, "side": side, "dense_bytes": size}, ours, copy, rounds=options.rounds)
    for reorder in (False, True):
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            made = sparsify(spec, model, Pattern(2, 4), reorder=reorder)
            seconds.append(time.perf_counter() - start)
        kept = statistics.mean(layer.kept for layer in made.layers if layer.kept is not None)
        emit(
            {
                "model": options.model,
                "pruned to": "2:4",
                "channels reordered": reorder,
                "seconds": spread(seconds),
                "repeats": len(seconds),
                "magnitude kept": round(kept, 4),
            }
        )


if __name__ == "__main__":
    script(main)
