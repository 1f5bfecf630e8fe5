"""Can two runs of `measure` on one machine be believed? And what with a busy neighbour?

    python benchmarks/bm_measure.py --rounds 9 quiet quiet > results/bm_measure_quiet.jsonl
    python benchmarks/bm_measure.py --rounds 6 --models 4 quiet busy > results/bm_measure_busy.jsonl

Measures the demo's panel, or its first models, once per word: `quiet` on the machine as it is, `busy` with a second
process that keeps one core busy. A run *claims* a pair of models where their intervals are disjoint; a flagged row
claims nothing. Printed for each pair of runs: how many of all pairs each claims; of those that either claims, how many
the other contradicts (it claims the opposite), and how many it merely orders otherwise by its medians, while it says
that they are a tie. `--judge FILE` prints that for the runs in a file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import sys
from pathlib import Path
from typing import Any

from paired import emit, environment
from script import script

from paretovit import measure, resolve
from paretovit.analysis.intervals import interval, tells_apart
from paretovit.cost.measure import Care
from paretovit.report.progress import MeasureProgress

sys.path.insert(0, str(Path(__file__).parent.parent / "demo"))
from demo import PANEL

INDICATORS = ("latency_s", "images_per_s", "train_step_s")


def spin() -> None:
    while True:
        pass


def run(name: str, models: tuple[str, ...], care: Care) -> list[dict[str, Any]]:
    specs = [resolve(model, in_chans=1, num_classes=10) for model in models]
    with MeasureProgress() as progress:
        rows = measure(specs, indicators=INDICATORS, care=care, progress=progress)
    lines = []
    for row in rows:
        low, high = interval(row)
        timing = row.origin.timing
        lines.append(
            {
                "run": name,
                "model": row.model,
                "indicator": row.indicator,
                "value": row.value,
                "interval": [low, high] if math.isfinite(low) else None,
                "flagged": timing.get("contended"),
                "best_batch_size": timing.get("best_batch_size"),
                "busy": timing.get("busy"),
                "repeated_visits": timing.get("repeated_visits"),
                "why": row.why,
            }
        )
        emit(lines[-1])
    return lines


def judge(runs: list[list[dict[str, Any]]]) -> None:
    """Prints what two runs claim and contradict, for every pair of runs."""
    for first, second in itertools.combinations(runs, 2):
        for indicator in INDICATORS:
            sides = [
                {line["model"]: line for line in lines if line["indicator"] == indicator} for lines in (first, second)
            ]
            pairs = list(itertools.combinations(sorted(sides[0]), 2))
            claims = [[_order(side[a], side[b]) for a, b in pairs] for side in sides]
            medians = [[side[a]["value"] < side[b]["value"] for a, b in pairs] for side in sides]
            either = [(x, y, m != n) for x, y, m, n in zip(*claims, *medians, strict=True) if x or y]
            emit(
                {
                    "runs": [first[0]["run"], second[0]["run"]],
                    "indicator": indicator,
                    "pairs": len(pairs),
                    "claimed": [sum(map(bool, claim)) for claim in claims],
                    "claimed_by_either": len(either),
                    "contradicted": sum(x * y < 0 for x, y, _ in either),
                    "medians_otherwise": sum(other for _, _, other in either),
                    "flagged_rows": [sum(bool(line["flagged"]) for line in side.values()) for side in sides],
                    "repeated_visits": [sum(line["repeated_visits"] or 0 for line in side.values()) for side in sides],
                }
            )


def _order(a: dict[str, Any], b: dict[str, Any]) -> int:
    """-1 or 1 where the intervals say which is less; 0 for a tie and where a row claims nothing."""
    if a["interval"] is None or b["interval"] is None or not tells_apart(a["interval"], b["interval"]):
        return 0
    return -1 if a["interval"][1] < b["interval"][0] else 1


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("runs", nargs="*", metavar="quiet|busy", help="in this order; quiet quiet busy by default")
    options.add_argument("--rounds", type=int, default=Care.rounds)
    options.add_argument("--models", type=int, default=len(PANEL), help="how many of the panel")
    options.add_argument("--judge", type=Path)
    asked = options.parse_args()
    if asked.judge:
        lines = [json.loads(text) for text in asked.judge.read_text().splitlines()]
        by_run = itertools.groupby((line for line in lines if "run" in line), key=lambda line: line["run"])
        judge([list(group) for _, group in by_run])
        return
    environment(" ".join(["python", "benchmarks/bm_measure.py", *sys.argv[1:]]))
    made = []
    for number, name in enumerate(asked.runs or ["quiet", "quiet", "busy"], 1):
        neighbour = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
        if name == "busy":
            neighbour.start()
        made.append(run(f"{name} {number}", PANEL[: asked.models], Care(rounds=asked.rounds)))
        if name == "busy":
            neighbour.terminate()
    judge(made)


if __name__ == "__main__":
    script(main)
