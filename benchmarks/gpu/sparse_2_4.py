"""2:4 sparse against dense on this GPU: the layers of ViT tiny, small and base, and the models end to end.

    python benchmarks/gpu/sparse_2_4.py --out results/sparse_2_4_cuda.jsonl --roofs results/roofs_cuda.jsonl

One call takes at most nine minutes; the same call goes on where it stopped, until it ends with exit code 0. First the
products: every shape of a layer at batch 1 to 256, in float16 and bfloat16, dense and sparse (rows in `--roofs`, read
back by `paretovit roofline --device measured --roofs STORE`). Then latency and throughput of each model, dense and with
all its blocks sparse, by torch_eager and by torch_sparse, which takes a sparse product only where it is faster.

`--device cpu --models vit_pico_patch2_8` goes the same way without a GPU: dense alone, for want of sparse products.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import pieces

from paretovit.cost.folders import RUNTIMES
from paretovit.cost.measure import measure
from paretovit.cost.products import products_of
from paretovit.cost.roofs import roofs
from paretovit.optimize.roofline import shape_of
from paretovit.spec import ModelSpec, Part
from paretovit.store import Store
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.layers import block_of

MODELS = ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"]
BATCHES = [1, 4, 16, 64, 128, 256]
INDICATORS = ["latency_s", "images_per_s"]


def sparse(spec: ModelSpec) -> ModelSpec:
    """The model with every layer of its blocks 2:4 sparse."""
    layers = tuple(block_of(build(spec, device="meta")))
    return replace(spec, name=f"{spec.name}_2of4", transforms=(Part.of("sparse", layers=layers),))


def main(options: argparse.Namespace) -> int:
    """The number of steps that are left."""
    end = pieces.end_of(options)
    options.runs.mkdir(parents=True, exist_ok=True)
    dtypes = options.dtypes or (["float32"] if options.device == "cpu" else ["float16", "bfloat16"])
    specs = [resolve(name) for name in options.models]
    left = 0
    with Store(options.runs / "roofs.sqlite") as rates, Store(options.runs / "models.sqlite") as rows:
        for dtype in dtypes:
            for spec in specs:
                found = products_of(spec)
                for batch in options.batches:
                    if time.monotonic() > end:
                        left += 1
                        continue
                    shapes = [shape for product in found if (shape := shape_of(product, batch)) is not None]
                    roofs(rates, shapes, device=options.device, dtype=dtype)
                    rates.export_lines(options.roofs)
        for dtype in dtypes:
            for spec in specs:
                for runtime in ("torch_eager", "torch_sparse"):
                    if missing := RUNTIMES[runtime].missing():
                        print(missing, file=sys.stderr)
                        continue
                    if time.monotonic() > end:
                        left += 1
                        continue
                    measure(
                        [spec, sparse(spec)],
                        indicators=INDICATORS,
                        runtimes=[runtime],
                        device=options.device,
                        dtype=dtype,
                        store=rows,
                    )
                    rows.export_lines(options.out)
    return left


if __name__ == "__main__":
    parser = pieces.arguments(__doc__)
    parser.add_argument("--roofs", type=Path, required=True, help="JSON lines of the products' rates")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--dtypes", nargs="+", default=None)
    parser.add_argument("--runs", type=Path, default=Path("runs/sparse_2_4"))
    pieces.run(main, parser.parse_args())
