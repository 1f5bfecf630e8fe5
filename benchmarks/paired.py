"""Times two or more sides in one process, in turn, so that a drift of the machine hits all alike."""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from paretovit.devices import Busy, device_name, origin


def seconds_in_turn(
    sides: dict[str, Callable[[], Any]], *, rounds: int, least_s: float = 0.02
) -> dict[str, list[float]]:
    """Seconds of one call per side and round, the order drawn anew in each round; three calls each go before."""
    calls = {}
    for name, call in sides.items():
        for _ in range(3):
            call()
        start = time.perf_counter()
        call()
        calls[name] = max(1, round(least_s / max(time.perf_counter() - start, 1e-9)))
    took: dict[str, list[float]] = {name: [] for name in sides}
    draw = random.Random(0)
    for _ in range(rounds):
        for name in draw.sample(list(sides), len(sides)):
            start = time.perf_counter()
            for _ in range(calls[name]):
                sides[name]()
            took[name].append((time.perf_counter() - start) / calls[name])
    return took


def compare(
    case: dict[str, Any], ours: Callable[[], Any], peers: dict[str, Callable[[], Any]], *, rounds: int = 41
) -> dict[str, float]:
    """Prints one JSON line per peer: medians, quartiles, and the median over rounds of peer's time / our time.

    Returns that last number of every peer.
    """
    busy, start = Busy(), time.perf_counter()
    took = seconds_in_turn({"ours": ours, **peers}, rounds=rounds)
    share = busy.share(time.perf_counter() - start)
    medians = {}
    for peer in peers:
        ratios = [p / o for p, o in zip(took[peer], took["ours"], strict=True)]
        emit(
            {
                **case,
                "peer": peer,
                "ours_s": spread(took["ours"]),
                "peer_s": spread(took[peer]),
                "ratio": spread(ratios),
                "rounds": rounds,
                "busy": share,
            }
        )
        medians[peer] = spread(ratios)["median"]
    return medians


def spread(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, (0.25, 0.75))
    return {
        "median": float(f"{statistics.median(values):.5g}"),
        "q25": float(f"{low:.5g}"),
        "q75": float(f"{high:.5g}"),
    }


def environment(command: str) -> None:
    """The first line of a result file: what made it, where."""
    made = origin("measured")
    facts = {"device": device_name(), "threads": torch.get_num_threads(), **made.to_json()}
    emit({"environment": facts, "command": command})


def emit(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)
    summary = {k: v for k, v in line.items() if k not in ("environment", "ours_s", "peer_s")}
    print(
        "  ".join(f"{k}={v['median'] if isinstance(v, dict) and 'median' in v else v}" for k, v in summary.items()),
        file=sys.stderr,
    )
