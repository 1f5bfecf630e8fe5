"""One training run from several seeds: repeats of one quality, so a mean and how far it may be off."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scipy import stats

from paretovit.analysis.intervals import UNKNOWN, Interval
from paretovit.measurement import Measurement


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Where the mean over all seeds may lie, after Student (1908); one value claims nothing."""
    if len(values) < 2:
        return UNKNOWN
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    return mean - reach, mean + reach


def difference(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> tuple[float, Interval]:
    """By how much the mean of `a` is above that of `b`, and where that may lie after Welch (1947).

    Spreads may differ. It claims nothing where either has a single value or neither has a spread.
    """
    found = statistics.mean(a) - statistics.mean(b)
    if min(len(a), len(b)) < 2:
        return found, UNKNOWN
    of_a, of_b = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if of_a + of_b == 0:
        return found, UNKNOWN
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(of_a + of_b)
    return found, (found - reach, found + reach)


def pooled(rows: Sequence[Measurement]) -> Measurement:
    """Rows that differ in their seed only as one: the mean of their values, `samples` the values by seed.

    Its `origin.timing` holds the `seeds` and, as `interval_95`, the Student interval of the mean. Runs that all came
    out equal show no spread: the interval is then that of one of them. A seed without a value is left out; where
    none has one, or only one has, that row is returned as it is.
    """
    known = sorted((row for row in rows if row.value is not None), key=lambda row: row.conditions.seed or 0)
    if len(known) < 2:
        return (known or rows)[0]
    values = tuple(row.value for row in known if row.value is not None)
    timings = [row.origin.timing for row in known]
    facts: dict[str, Any] = {k: v for k, v in timings[0].items() if all(t.get(k) == v for t in timings)}
    facts["seeds"] = [row.conditions.seed for row in known]
    if any(timing.get("contended") for timing in timings):
        facts.pop("interval_95", None)
        facts["contended"] = True
    elif len(set(values)) > 1:
        low, high = mean_interval(values)
        # what states an interval already is a share of so many images
        share = all("interval_95" in timing for timing in timings)
        facts["interval_95"] = [max(low, 0.0), min(high, 1.0)] if share else [low, high]
    newest = max(known, key=lambda row: row.origin.time)
    return replace(
        known[0],
        value=statistics.mean(values),
        samples=values,
        conditions=replace(known[0].conditions, seed=None),
        origin=replace(newest.origin, timing=facts),
    )
