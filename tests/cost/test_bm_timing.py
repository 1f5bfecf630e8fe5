"""What the benchmark of timings says of its lines: worked out by hand."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_errors_orders_and_rows_that_claim_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    told = importlib.import_module("bm_timing").told
    truth = {"a": 1.0, "b": 1.02, "c": 2.0, "d": 4.0}  # a and b are too close to be a pair: five pairs
    quiet = {"a": [1.1, False], "b": [1.02, False], "c": [2.0, False], "d": [1.5, False]}  # d before c
    flagged = {"a": [1.0, False], "b": [1.02, False], "c": [2.2, False], "d": [1.0, True]}
    lines = [
        *({"model": model, "truth_s": seconds} for model, seconds in truth.items()),
        {"neighbour": "quiet", "side": "timm's script", "seconds": quiet},
        {"neighbour": "bursts", "side": "measure", "seconds": flagged},
    ]
    table = told(lines).splitlines()
    assert table[2] == "| quiet | timm's script | 5.0% | -62.5% | 1 of 5 | 0 of 4 |"
    assert table[3] == "| quiet | measure | – | – | 0 of 0 | 0 of 0 |"
    assert table[5] == "| bursts | measure | 0.0% | +10.0% | 0 of 2 | 1 of 4 |"
