"""What Vadakkeveedu 2023 says of replaced layers (section 3.5), tried on runs of ours.

Its figures print no numbers, so the claims are the words beside them. Children of one parent are compared seed by
seed, for parents of several seeds differ more than what is made of them. What it calls alike is taken to be within 2
points: what it calls a gain is 1 to 2 (figures 3.20 and 3.21).
"""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from paretovit.analysis.claims import Bound, Claim, Side
from paretovit.analysis.intervals import round_medians
from paretovit.measurement import Measurement
from paretovit.training.pruning import of_name
from paretovit.training.replacing import Tried, cut_name, tried, without_hashes
from paretovit.training.rows import HELD_OUT

PAPER = "vit-optimization-strategies"

_POINTS = 2.0  # what is alike
_SHARE = 5.0  # of the parent's cost, in percent
_FEWEST = 3  # mixers that a mean is taken over
_MIXED, _EMBED = ", class token mixed in", " behind a convolution"
_AUGMENTS = ("mixup=", "cutmix=", "dropout=", "hflip=", "crop_padding=", "crop=", "augment=", "erasing=")

_EARLY = "Replacing early layers hurts more than replacing late ones (figures 3.8 and 3.9)"
_ALIKE = f"Mixers differ little: each is within {_POINTS:g} points of the mean of all (figures 3.8 to 3.10)"
_IDENTITY = f"Identity is a strong baseline: at most {_POINTS:g} points below the mean of the others (figure 3.8)"
_LOSSES = "Distilling by cross-entropy or MMD is better than by MSE (figure 3.11)"
_NO_WORSE = "Distilling by cross-entropy or MMD is no worse than by MeanMSE (figure 3.11)"
_MEANS = "Distilling by MeanMSE is better than by MSE (figure 3.11)"
_WORSE = "Distillation alone is worse than with labels (figure 3.12)"
_FAILS = "Distillation alone leaves less than half of the parent's accuracy (figure 3.12)"
_LABELS = f"Labels alone reach the accuracy of labels and distillation, to within {_POINTS:g} points (figure 3.12)"
_FAR = "Labels alone leave a higher distillation loss, in percent of that with both (figure 3.12)"
_HURTS = "A class mixer hurts in front of an attention layer (figure 3.19)"
_HELPS = "A class mixer helps at the very end, where no layer would tell the class token (figure 3.19)"
_ATTENTION = "Attention behind the stage tells the class token better than a class mixer at the very end (figure 3.19)"
_CONVOLVED = (
    "A patch-embedding convolution in front of the stage is better, in the thesis by 1 to 2 points (figure 3.20)"
)
_AUGMENTED = "MixUp, dropout and the like are better, in the thesis by 1 to 2 points (figure 3.21)"
_NEAR = f"A layer taught by itself from at least halfway replaces it to within {_POINTS:g} points (figure 3.18)"
_AWAY = "A layer taught by itself from new weights does not replace it (figure 3.18)"
_FACTOR = f"Fewer multiply-adds become the same factor of latency, to within {_SHARE:g}% of the parent's (figure 3.22)"

_STAGE = re.compile(r"[a-z_]+_\d")  # how the name goes on behind the parent's: a mixer, and the layers it replaces

_ORDER: tuple[tuple[str, str, str, Bound], ...] = (
    (_LOSSES, "ce", "mse", "above"),
    (_LOSSES, "mmd", "mse", "above"),
    (_NO_WORSE, "ce", "mean_mse", "not below"),
    (_NO_WORSE, "mmd", "mean_mse", "not below"),
    (_MEANS, "mean_mse", "mse", "above"),
)

BySeed = dict[int | None, float]


class Group(NamedTuple):
    """What was made of parents that were trained in one way: on what, of which model, and how."""

    data: str
    split: str
    parent: str
    how: str


@dataclass
class Runs:
    """Accuracies in percent by seed: of the parents, of these without their last layers by the name of that model, and
    of every setting tried; `apart` are the distillation losses of the latter."""

    parent: BySeed = field(default_factory=dict)
    cut: dict[str, BySeed] = field(default_factory=dict)
    top1: dict[Tried, BySeed] = field(default_factory=dict)
    apart: dict[Tried, BySeed] = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        """By which most children were trained."""
        return Counter(one.recipe for one in self.top1).most_common(1)[0][0]


class _Pair(NamedTuple):
    """Two sides of a claim, by their names, before their seeds are matched."""

    says: str
    first: tuple[str, BySeed]
    second: tuple[str, BySeed]
    bound: Bound = "above"
    margin: float = 0.0


def claims_of_replaced(rows: Sequence[Measurement]) -> list[Claim]:
    """Every claim on every parent of which the rows hold replaced models, finding by finding."""
    made: list[Claim] = []
    for group, runs in groups(rows).items():
        where = f"{group.data}, {group.split}; {group.parent}: {group.how}; its children: {runs.recipe}"
        made += [claim for pair in _pairs(group, runs) for claim in _made(where, pair)]
    made += _costs(rows)
    order = list(dict.fromkeys(claim.says for claim in made))
    return sorted(made, key=lambda claim: order.index(claim.says))


def groups(rows: Sequence[Measurement]) -> dict[Group, Runs]:
    """Accuracies on images that were not held out of training, and distillation losses."""
    accuracies = [
        row for row in rows if row.indicator == "top1" and row.value is not None and row.conditions.split != HELD_OUT
    ]
    found: dict[Group, Runs] = defaultdict(Runs)
    for row in accuracies:
        stated, about = row.conditions, tried(row.conditions.recipe)
        if about is None:
            continue
        runs = found[Group(stated.data or "", stated.split or "", about.parent, about.how)]
        runs.top1.setdefault(about, {})[stated.seed] = _percent(row)
        if "distillation_loss" in row.origin.timing:
            runs.apart.setdefault(about, {})[stated.seed] = row.origin.timing["distillation_loss"]
    for row in accuracies:
        stated = row.conditions
        for group, runs in found.items():
            if (stated.data, stated.split, without_hashes(stated.recipe or "")) != (*group[:2], group.how):
                continue
            if row.model == group.parent:
                runs.parent[stated.seed] = _percent(row)
            elif row.model.startswith(f"{group.parent}_"):
                runs.cut.setdefault(row.model, {})[stated.seed] = _percent(row)
    return dict(found)


def _percent(row: Measurement) -> float:
    assert row.value is not None
    return 100 * row.value


def _pairs(group: Group, runs: Runs) -> Iterator[_Pair]:
    yield from _places(runs)
    yield from _mixers(runs)
    yield from _losses(runs)
    yield from _alone(group, runs)
    yield from _stages(group, runs)
    yield from _augmented(runs)
    yield from _self_taught(group, runs)


def _places(runs: Runs) -> Iterator[_Pair]:
    """The same stage at the first layers and further back."""
    for early in runs.top1:
        for late in runs.top1:
            if _begin(early) == 0 < _begin(late) and _moved(early, late):
                yield _Pair(_EARLY, _named(runs, late), _named(runs, early))


def _mixers(runs: Runs) -> Iterator[_Pair]:
    """Every mixer in the place of the same layers beside the mean of all; identity beside the mean of the others."""
    alike: dict[Tried, list[Tried]] = defaultdict(list)
    for one in runs.top1:
        if one.mixer and not one.shape and not one.start:
            alike[replace(one, stages=((one.where, ""),))].append(one)
    for place, of in alike.items():
        if len(of) < _FEWEST:
            continue
        mean = _mean([runs.top1[one] for one in of])
        for one in of:
            yield _Pair(_ALIKE, _named(runs, one), (f"mean of {len(of)} mixers {place.where}", mean), "within", _POINTS)
        for one in of:
            others = [other for other in of if other is not one]
            if one.mixer == "identity":
                beside = f"mean of {len(others)} others {place.where}", _mean([runs.top1[other] for other in others])
                yield _Pair(_IDENTITY, _named(runs, one), beside, margin=-_POINTS)


def _losses(runs: Runs) -> Iterator[_Pair]:
    for one in runs.top1:
        for says, better, worse, bound in _ORDER:
            other = replace(one, loss=worse)
            if one.loss == better and 0 < one.alpha < 1 and other in runs.top1:
                first, second = ((f"{side}, {side.loss}", runs.top1[side]) for side in (one, other))
                yield _Pair(says, first, second, bound)


def _alone(group: Group, runs: Runs) -> Iterator[_Pair]:
    """Distillation alone and labels alone beside both."""
    for both in runs.top1:
        if not 0 < both.alpha < 1:
            continue
        with_both = f"{both}, both", runs.top1[both]
        parent, labels = replace(both, alpha=1.0), replace(both, alpha=0.0)
        if parent in runs.top1:
            alone = f"{both}, distillation alone", runs.top1[parent]
            half = {seed: value / 2 for seed, value in runs.parent.items()}
            yield _Pair(_WORSE, with_both, alone)
            yield _Pair(_FAILS, (f"half of {group.parent}", half), alone)
        if labels in runs.top1:
            alone = f"{both}, labels alone", runs.top1[labels]
            yield _Pair(_LABELS, alone, with_both, "within", _POINTS)
            seeds = runs.apart.get(both, {}).keys() & runs.apart.get(labels, {}).keys()
            if seeds:
                whole = statistics.mean(runs.apart[both][seed] for seed in seeds) / 100
                far, near = ({seed: runs.apart[one][seed] / whole for seed in seeds} for one in (labels, both))
                yield _Pair(_FAR, (f"{alone[0]}: loss", far), (f"{with_both[0]}: loss", near))


def _stages(group: Group, runs: Runs) -> Iterator[_Pair]:
    """A class mixer and a convolution beside the same stage without."""
    for one in runs.top1:
        plain = replace(one, shape=one.shape.replace(_MIXED, "").replace(_EMBED, ""))
        if plain in runs.top1 and one.shape == _MIXED:
            yield _Pair(_HURTS, _named(runs, plain), _named(runs, one))
        if plain in runs.top1 and one.shape == _EMBED:
            yield _Pair(_CONVOLVED, _named(runs, one), _named(runs, plain))
        name = "" if one.span is None else cut_name(group.parent, *one.span)
        if name in runs.cut and one.shape == _MIXED:
            yield _Pair(_HELPS, _named(runs, one), (name, runs.cut[name]))
            for other in runs.top1:
                if _begin(other) > 0 and _moved(other, plain):
                    yield _Pair(_ATTENTION, _named(runs, other), _named(runs, one))


def _augmented(runs: Runs) -> Iterator[_Pair]:
    for one in runs.top1:
        plain = _without_augmentation(one)
        if plain != one and plain in runs.top1:
            yield _Pair(_AUGMENTED, _named(runs, one), _named(runs, plain))


def _self_taught(group: Group, runs: Runs) -> Iterator[_Pair]:
    """Copies of a layer that were taught by it alone, put in its place."""
    parent = group.parent, runs.parent
    for one in runs.top1:
        if one.start >= 0.5:
            yield _Pair(_NEAR, (f"{one}, begun {one.start:g}", runs.top1[one]), parent, "within", _POINTS)
    for one in dict.fromkeys(replace(begun, start=0.0) for begun in runs.top1 if begun.start):
        if one in runs.top1:
            yield _Pair(_AWAY, parent, (f"{one}, begun new", runs.top1[one]), margin=_POINTS)


def _begin(one: Tried) -> int:
    """The first layer of its one stage; -1 where it has several."""
    return -1 if one.span is None else one.span[0]


def _moved(one: Tried, other: Tried) -> bool:
    """Whether the two are one stage in place of other layers, as many of them."""
    if one.span is None or other.span is None or one.mixer != other.mixer:
        return False
    lengths = {last - first for first, last in (one.span, other.span)}
    return len(lengths) == 1 and replace(one, stages=other.stages) == other


def _named(runs: Runs, one: Tried) -> tuple[str, BySeed]:
    return f"{one}, augmented" if _without_augmentation(one) != one else str(one), runs.top1[one]


def _without_augmentation(one: Tried) -> Tried:
    fields = one.recipe.split(", ")
    return replace(one, recipe=", ".join(text for text in fields if not text.startswith(_AUGMENTS)))


def _mean(values: Sequence[Mapping[int | None, float]]) -> BySeed:
    """Over the models, of the seeds that all have."""
    seeds = [seed for seed in values[0] if all(seed in one for one in values)]
    return {seed: statistics.mean(one[seed] for one in values) for seed in seeds}


def _made(where: str, pair: _Pair) -> Iterator[Claim]:
    seeds = [seed for seed in pair.first[1] if seed in pair.second[1]]
    if seeds:
        first, second = (Side(name, tuple(by[seed] for seed in seeds)) for name, by in (pair.first, pair.second))
        yield Claim(
            paper=PAPER,
            says=pair.says,
            where=where,
            first=first,
            second=second,
            bound=pair.bound,
            margin=pair.margin,
            paired=True,
        )


def _costs(rows: Sequence[Measurement]) -> Iterator[Claim]:
    """Shares of the parent's latency, round by round, beside shares of its multiply-adds. Which model is the parent is
    told by the names."""
    macs = {row.model: row.value for row in rows if row.indicator == "macs" and row.value}
    times = [row for row in rows if row.indicator == "latency_s" and row.model in macs and of_name(row.model) is None]
    for row in times:
        wholes = [
            other
            for other in times
            if row.model.startswith(f"{other.model}_")
            and _STAGE.match(row.model.removeprefix(f"{other.model}_"))  # not a child with another class token
            and other.conditions.column() == row.conditions.column()
        ]
        if not wholes:
            continue
        whole = max(wholes, key=lambda other: len(other.model))
        ours, theirs = round_medians(row), round_medians(whole)
        if not ours or len(ours) != len(theirs):
            continue
        latency = tuple(100 * a / b for a, b in zip(ours, theirs, strict=True))
        work = 100 * macs[row.model] / macs[whole.model]
        stated = row.conditions
        told = (stated.device, stated.runtime, stated.dtype, f"batch {stated.batch_size}", f"{stated.threads} threads")
        yield Claim(
            paper=PAPER,
            says=_FACTOR,
            where=f"{', '.join(str(word) for word in told)}; shares of {whole.model}, in percent",
            first=Side(f"{row.model.removeprefix(f'{whole.model}_')}: latency", latency),
            second=Side("multiply-adds", (work,) * len(latency)),
            bound="within",
            margin=_SHARE,
            paired=True,
            repeats="rounds",
        )
