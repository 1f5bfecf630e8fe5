"""Can two runs of `measure` on one machine be believed? And what with a busy neighbour?

    python benchmarks/bm_measure.py > results/bm_measure.jsonl

Runs the demo's panel three times: twice on the machine as it is, once with a second process that keeps one core
busy. A run *claims* a pair of models where neither row is flagged and their intervals are disjoint. Printed for
each pair of runs: how many of all pairs each claims; of those that either claims, how many the other contradicts (it
claims the opposite), and how many it merely orders otherwise by its medians, which it says are a tie.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
from pathlib import Path

from paired import emit, environment

from paretovit import Measurement, measure, resolve
from paretovit.analysis.intervals import interval, tells_apart
from paretovit.cost.measure import Care
from paretovit.report.progress import MeasureProgress

sys.path.insert(0, str(Path(__file__).parent.parent / "demo"))
from demo import PANEL

INDICATORS = ("latency_s", "images_per_s", "train_step_s")


def spin() -> None:
    while True:
        pass


def run(name: str, care: Care) -> list[Measurement]:
    specs = [resolve(model, in_chans=1, num_classes=10) for model in PANEL]
    with MeasureProgress() as progress:
        rows = measure(specs, indicators=INDICATORS, care=care, progress=progress)
    for row in rows:
        low, high = interval(row) or (None, None)
        flagged = row.origin.timing.get("contended")
        emit(
            {
                "run": name,
                "model": row.model,
                "indicator": row.indicator,
                "value": row.value,
                "interval": [low, high] if not flagged else None,
                "flagged": flagged,
                "best_batch_size": row.origin.timing.get("best_batch_size"),
                "busy": row.origin.timing.get("busy"),
                "repeated_visits": row.origin.timing.get("repeated_visits"),
                "why": row.why,
            }
        )
    return rows


def judge(first: tuple[str, list[Measurement]], second: tuple[str, list[Measurement]]) -> None:
    runs = [{(row.model, row.indicator): row for row in rows} for _, rows in (first, second)]
    for indicator in INDICATORS:
        pairs = list(itertools.combinations(PANEL, 2))
        claimed, contradicted, otherwise = [0, 0], 0, 0
        either = 0
        for a, b in pairs:
            signs, claims = [], []
            for rows in runs:
                x, y = rows[a, indicator], rows[b, indicator]
                signs.append((x.value or 0) < (y.value or 0))
                ix, iy = interval(x), interval(y)
                claims.append(ix is not None and iy is not None and tells_apart(ix, iy))
            for at in (0, 1):
                claimed[at] += claims[at]
            either += any(claims)
            contradicted += all(claims) and signs[0] != signs[1]
            otherwise += any(claims) and signs[0] != signs[1]
        emit({
            "runs": [first[0], second[0]], "indicator": indicator, "pairs": len(pairs), "claimed": claimed,
            "claimed_by_either": either, "contradicted": contradicted, "medians_otherwise": otherwise,
            "flagged_rows": [sum(bool(r.origin.timing.get("contended")) for r in rows if r.indicator == indicator)
                             for _, rows in (first, second)],
        })  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=Care.rounds)
    care = Care(rounds=options.parse_args().rounds)
    environment(" ".join(["python", "benchmarks/bm_measure.py", *sys.argv[1:]]))
    runs = [("quiet 1", run("quiet 1", care)), ("quiet 2", run("quiet 2", care))]
    neighbour = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    neighbour.start()
    runs.append(("busy", run("busy", care)))
    neighbour.terminate()
    for first, second in itertools.combinations(runs, 2):
        judge(first, second)


if __name__ == "__main__":
    main()
