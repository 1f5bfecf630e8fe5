"""How far devices, compilers and counts agree on which model is cheaper, by timm's published tables.

    python benchmarks/bm_agreement.py PATH_OF_TIMMS_RESULTS

Prints Kendall's tau with its bootstrap interval over all models, and over those at 224 px that are like ViTs by their
names. Nothing is measured, so it may run anywhere; the tables are in timm's repository, folder `results`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping

from script import script

from paretovit.analysis.correlate import bootstrap, coefficient
from paretovit.importers import read
from paretovit.measurement import Measurement
from paretovit.report.carried_over import VIT_LIKE, VIT_LIKE_PX

import numpy as np  # isort: skip

EAGER, COMPILED = "amp-nchw-pt291-cu128-4090", "amp-nchw-pt291-cu128-4090-dynamo"
PAIRS = (
    ("RTX 4090, eager", EAGER, "RTX 4090, compiled", COMPILED),
    ("RTX 4090, eager", EAGER, "RTX 5090, eager", "amp-nchw-pt291-cu130-5090"),
    ("RTX 3090, channels first", "amp-nchw-pt240-cu124-rtx3090", "channels last", "amp-nhwc-pt240-cu124-rtx3090"),
    ("RTX 4090, eager", EAGER, "Core i9-10940X, compiled", "fp32-nchw-pt240-cpu-i9_10940x-dynamo"),
    ("RTX 4090, eager", EAGER, "Core i7-12700H, compiled", "fp32-nchw-pt240-cpu-i7_12700h-dynamo"),
    ("RTX 4090, eager", EAGER, "macs", "macs"),
    ("RTX 4090, eager", EAGER, "activations", "activations"),
    ("RTX 4090, compiled", COMPILED, "activations", "activations"),
    ("RTX 4090, eager", EAGER, "params", "params"),
    ("Core i7-12700H, compiled", "fp32-nchw-pt240-cpu-i7_12700h-dynamo", "macs", "macs"),
)

Costs = dict[tuple[str, int], float]  # by name and image size


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("path")
    rows, specs = read("timm-results", words.parse_args().path)
    px = {spec.key: spec.image_px for spec in specs}
    print(f"{'Kendall tau of cost, 95% interval':56} {'all models':>26} {'like ViTs, 224 px':>26}")
    for first, a, second, b in PAIRS:
        costs = costs_of(rows, a, px), costs_of(rows, b, px)
        shared = [key for key in costs[0] if key in costs[1]]
        like = [key for key in shared if key[1] == VIT_LIKE_PX and key[0].startswith(VIT_LIKE)]
        cells = [tau([costs[0][key] for key in keys], [costs[1][key] for key in keys]) for keys in (shared, like)]
        print(f"{f'{first} against {second}':56} {cells[0]:>26} {cells[1]:>26}")


def costs_of(rows: list[Measurement], source: str, px: Mapping[str, int]) -> Costs:
    """What the newest row of each model says: seconds per image of a file of speeds, or a count."""
    found: Costs = {}
    for row in rows:
        if row.value is not None and source in (row.indicator, (row.conditions.source or "").partition("-infer-")[2]):
            rate = row.indicator == "images_per_s"
            found[row.model, px[row.conditions.spec]] = 1 / row.value if rate else row.value
    return found


def tau(a: list[float], b: list[float]) -> str:
    """ "0.85 (0.82 to 0.87), n 340"."""
    if len(a) < 3:
        return f"n {len(a)}"
    found = coefficient(np.array(a), np.array(b), "kendall")
    low, high = bootstrap(a, b, "kendall", draws=200)
    assert not math.isnan(found)
    return f"{found:.2f} ({low:.2f} to {high:.2f}), n {len(a):,}"


if __name__ == "__main__":
    script(main)
