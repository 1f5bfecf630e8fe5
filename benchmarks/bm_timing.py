"""How near `measure` and timm's benchmark script come to the truth, on a quiet machine and beside a busy neighbour.

    python benchmarks/bm_timing.py --trials 1 > results/bm_timing.jsonl
    python benchmarks/bm_timing.py --trials 2 --truth results/bm_timing.jsonl >> results/bm_timing.jsonl
    python benchmarks/bm_timing.py --table results/bm_timing.jsonl

Latency of one image. timm's script (`benchmark.py`, inference) builds a model in a process of its own, calls it 10
times, then 40 times, and states the mean of these; that is done here in the same way, one model after the other. The
truth of a model is the same with 300 calls, the median of five processes, taken in turns with the other models while
the machine is quiet: what timm's script says, had it all the time. `measure` is asked as anybody would ask it.

The neighbour (`bursts`) keeps one core busy for one to six seconds and rests as long; of one that never rests every row
of ours says that it claims nothing (`bm_measure.py`). A row that others disturbed says so itself, and is counted apart.
A pair of models is in the wrong order where the truth tells them apart by more than 3% and the two values say the
opposite. The second call takes the truth from the file of the first, for more trials on the same day.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from paired import emit, environment
from script import script

MODELS = (
    "deit_tiny_patch16_224", "mixer_s16_224", "poolformer_s12", "levit_128s", "xcit_nano_12_p16_224", "pit_ti_224",
    "mobilenetv3_large_100", "resnet18",
)  # fmt: skip
NEIGHBOURS = ("quiet", "bursts")
WARM, CALLS = 10, 40  # timm's defaults
LONG, PROCESSES = 300, 5  # of the truth
CLOSE = 0.03  # models that the truth hardly tells apart are no pair

_CONTEXT = multiprocessing.get_context("forkserver")


def timms_way(model: str, calls: int) -> float:
    """Mean seconds of a call, in a fresh process."""
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_timms_way, args=(theirs, model, calls))
    process.start()
    theirs.close()
    seconds = ours.recv()
    process.join()
    return seconds


def _timms_way(answer: Connection, model: str, calls: int) -> None:
    import timm
    import torch

    network = timm.create_model(model).eval()
    image = torch.randn(1, *network.pretrained_cfg["input_size"])
    took = 0.0
    with torch.no_grad():
        for _ in range(WARM):
            network(image)
        for _ in range(calls):
            start = time.perf_counter()
            network(image)
            took += time.perf_counter() - start
    answer.send(took / calls)


def by_us(models: list[str]) -> dict[str, tuple[float, bool]]:
    """Seconds of a call, and whether the row says that others disturbed it."""
    from paretovit import measure

    rows = measure(models, indicators=["latency_s"])
    return {row.model: (row.value, bool(row.origin.timing["contended"])) for row in rows if row.value is not None}


def truths(models: list[str]) -> list[dict[str, Any]]:
    """A line for each model: what timm's script says with all the time that it wants."""
    long: dict[str, list[float]] = {model: [] for model in models}
    for _ in range(PROCESSES):
        for model, seconds in long.items():
            seconds.append(timms_way(model, LONG))
    return [{"model": model, "truth_s": statistics.median(took), "processes_s": took} for model, took in long.items()]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def neighbour(kind: str) -> Iterator[None]:
    process = _CONTEXT.Process(target=_bursts, daemon=True)
    if kind == "quiet":
        yield
        return
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _bursts() -> None:
    chance = random.Random(0)
    while True:
        end = time.monotonic() + chance.uniform(1, 6)
        while time.monotonic() < end:
            pass
        time.sleep(chance.uniform(1, 6))


def told(lines: list[dict[str, Any]]) -> str:
    """A Markdown table: how far from the truth either side was."""
    truth = {line["model"]: line["truth_s"] for line in lines if "truth_s" in line}
    pairs = [pair for pair in itertools.combinations(truth, 2) if _apart(*(truth[model] for model in pair))]
    made = [
        "| neighbour | side | median error | worst | pairs in the wrong order | rows that claim nothing |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for kind, side in itertools.product(NEIGHBOURS, ("timm's script", "measure")):
        trials = [line["seconds"] for line in lines if (line.get("neighbour"), line.get("side")) == (kind, side)]
        every = [(model, *value) for trial in trials for model, value in trial.items()]
        errors = [seconds / truth[model] - 1 for model, seconds, flagged in every if not flagged]
        wrong = known = 0
        for trial, (a, b) in itertools.product(trials, pairs):
            if a in trial and b in trial and not (trial[a][1] or trial[b][1]):
                known += 1
                wrong += (trial[a][0] < trial[b][0]) != (truth[a] < truth[b])
        cells = ["–", "–"]
        if errors:
            cells = [f"{statistics.median(map(abs, errors)):.1%}", f"{max(errors, key=abs):+.1%}"]
        flagged = sum(flag for _, _, flag in every)
        made.append(f"| {kind} | {side} | {' | '.join(cells)} | {wrong} of {known} | {flagged} of {len(every)} |")
    return "\n".join(made)


def _apart(first: float, second: float) -> bool:
    return abs(first - second) > CLOSE * min(first, second)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--truth", type=Path, metavar="FILE", help="take the truth from a file of results")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print what a file of results says")
    options = parser.parse_args()
    if options.table is not None:
        print(told(_lines(options.table)))
        return
    _CONTEXT.set_forkserver_preload(["torch", "timm"])
    environment(" ".join(["python", "benchmarks/bm_timing.py", *sys.argv[1:]]))
    if options.truth is not None:
        models = [line["model"] for line in _lines(options.truth) if "truth_s" in line]
    else:
        models = options.models
        for line in truths(models):
            emit(line)
    for trial, kind in itertools.product(range(options.trials), NEIGHBOURS):
        with neighbour(kind):
            start = time.monotonic()
            theirs = {model: (timms_way(model, CALLS), False) for model in models}
            between = time.monotonic()
            ours = by_us(models)
            end = time.monotonic()
        for side, seconds, took in (("timm's script", theirs, between - start), ("measure", ours, end - between)):
            emit({"trial": trial, "neighbour": kind, "side": side, "seconds": seconds, "took_s": round(took, 1)})


if __name__ == "__main__":
    script(main)
