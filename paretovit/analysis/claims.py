"""A claim that one model is at least as good as another, tried on runs from several seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from paretovit.analysis.intervals import Interval
from paretovit.analysis.seeds import difference, mean_interval

Verdict = Literal["holds", "contradicted", "open"]
Said = Literal["holds", "holds (tie)", "contradicted", "open"]
Bound = Literal["above", "not below", "within"]


@dataclass(frozen=True)
class Side:
    """One of the two models: our values in percent, one for each seed, and what the paper prints for it."""

    model: str
    values: tuple[float, ...]
    printed: float | None = None

    @property
    def mean(self) -> float:
        return statistics.mean(self.values)

    @property
    def best(self) -> float:
        return max(self.values)

    @cached_property
    def interval(self) -> Interval:
        return mean_interval(self.values)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says of two models under one set of conditions; higher values are better.

    paper    as it is called on the command line
    says     the claim in words, equal for all the pairs that it is about
    where    what was trained on what: patch, image size, data, split, recipe
    bound    "above": the first is claimed to be better, by more than `margin`; "not below": the second is claimed not
             to be better beyond the noise; "within": the two are claimed to be alike, to within `margin`
    margin   in the unit of the values; below 0 for a first that may be worse by as much
    paired   whether values at one place of the two sides belong together, as of two children of one parent: then the
             spread of their differences counts, which the parents' own spread does not widen
    repeats  what a side has several values of
    """

    paper: str
    says: str
    where: str
    first: Side
    second: Side
    bound: Bound = "above"
    margin: float = 0.0
    paired: bool = False
    repeats: str = "seeds"

    @cached_property
    def by(self) -> tuple[float, Interval]:
        """By how much our first is above our second, with its 95% interval: Welch's, or of what is paired Student's."""
        if not self.paired:
            return difference(self.first.values, self.second.values)
        apart = [a - b for a, b in zip(self.first.values, self.second.values, strict=True)]
        return statistics.mean(apart), mean_interval(apart)

    @property
    def verdict(self) -> Verdict:
        """Whether our runs bear the claim out beyond the noise; open where either model has a single seed."""
        low, high = self.by[1]
        if self.bound == "within":
            if -self.margin <= low and high <= self.margin:
                return "holds"
            return "contradicted" if low > self.margin or high < -self.margin else "open"
        if high < self.margin:
            return "contradicted"
        if low > self.margin or (self.bound == "not below" and math.isfinite(high)):
            return "holds"
        return "open"

    @property
    def said(self) -> Said:
        """The verdict in words: that no other is better may hold for want of a difference that can be seen."""
        tie = self.verdict == "holds" and self.bound == "not below" and self.by[1][0] <= 0
        return "holds (tie)" if tie else self.verdict

    @property
    def printed_bears_out(self) -> bool | None:
        """Whether the paper's own numbers do; None where it does not print both."""
        if self.first.printed is None or self.second.printed is None:
            return None
        return self.first.printed >= self.second.printed


def tally(claims: Sequence[Claim]) -> dict[Said, int]:
    """How many of the claims hold, hold as ties, are contradicted, and are open."""
    words: tuple[Said, ...] = ("holds", "holds (tie)", "contradicted", "open")
    return {word: sum(claim.said == word for claim in claims) for word in words}


def summed_up(claims: Sequence[Claim]) -> str:
    """What all the pairs that one claim is about say of it together: "holds", "does not hold", "open", or in how many
    of them it does and does not."""
    counts, of = tally(claims), len(claims)
    held, against = counts["holds"] + counts["holds (tie)"], counts["contradicted"]
    if of in (held, against, counts["open"]):
        return "holds" if held else "does not hold" if against else "open"
    words = [f"holds in {held}"] if held else []
    words += [f"does not in {against}"] if against else []
    words += [f"open in {counts['open']}"] if counts["open"] else []
    return f"{', '.join(words)} of {of}"
