"""How long static counting takes: our counter, torch's counter on meta tensors, fvcore, the closed formulas, and all
static indicators of the survey's models with their predicted memory (`paretovit count --batch-size 8`).

    python benchmarks/bm_counting.py [--repeats 5] [--models NAME ...]

Prints JSON lines: a median of repeats in seconds, with the fastest and the slowest. Building the model is part of
every count. torch's counter gives macs alone, fvcore macs and activations, ours those and the other three numbers.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib import import_module, util
from typing import Any

import torch
from script import script
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from zoo_costs import surveyed

from paretovit import count as static_rows
from paretovit.cost.counting import count
from paretovit.cost.formulas import figure8_grid, vit_counts
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

MODELS = [
    "vit_tiny_patch16_224",
    "vit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "xcit_small_24_p16_224",
    "coat_tiny",
    "maxvit_tiny_tf_224",
    "fastvit_ma36",
    "efficientnet_b0",
    "resnet50",
]


def by_us(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> int:
    return count(make, shape).macs


def by_torch_on_meta(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> int:
    with torch.device("meta"):
        model, image = make().eval(), torch.empty(shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return counter.get_total_flops() // 2


def by_fvcore(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> int:
    model = make().eval()
    analysis = import_module("fvcore.nn").FlopCountAnalysis(model, torch.zeros(shape))
    return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def timed(task: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """One call to warm up, then the spread of the repeats; what the last one returned."""
    result, seconds = task(), []
    for _ in range(repeats):
        start = time.perf_counter()
        result = task()
        seconds.append(time.perf_counter() - start)
    spread = {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds)}
    return {"result": result, "repeats": repeats, **{name: round(value, 5) for name, value in spread.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # fvcore names every operator that it leaves out

    counters = {"paretovit": by_us, "torch FlopCounterMode on meta": by_torch_on_meta}
    if util.find_spec("fvcore"):
        counters["fvcore"] = by_fvcore
    print(json.dumps({"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}))
    for model in options.models:
        spec = resolve(model)
        shape = (1, spec.in_chans, spec.image_px, spec.image_px)
        for name, counter in counters.items():
            # fvcore runs the model, so it gets one with weights; the others build it where they count it
            line = timed(
                lambda counter=counter, spec=spec, shape=shape: counter(lambda: build(spec), shape), options.repeats
            )
            print(json.dumps({"model": model, "counter": name, "macs": line.pop("result"), **line}), flush=True)
    grid = figure8_grid()
    line = timed(lambda: len(vit_counts(**grid)["macs"]), options.repeats)
    print(json.dumps({"counter": "formulas", "configurations": line.pop("result"), **line}))
    specs = surveyed()
    line = timed(lambda: len(static_rows(specs, batch_size=8)), 1)
    print(json.dumps({"counter": "all static indicators", "models": len(specs), "rows": line.pop("result"), **line}))


if __name__ == "__main__":
    script(main)
