"""What Jeevan and Sethi 2022 say of accuracies, tried on runs of ours at whatever size these were.

A convolutional stem and rotary positions each raise the accuracy (abstract), and of the linear X-formers that with
Nyström attention is among the best (tables 1, 2 and 6): which is read as that no other is better beyond the noise.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from paretovit.analysis.claims import Bound, Claim, Side
from paretovit.measurement import Conditions, Measurement
from paretovit.papers._hybrid_xformers_tables import ROWS
from paretovit.papers._rows import same_data
from paretovit.training.rows import HELD_OUT

PAPER = "hybrid-xformers"

_NAME = re.compile(r"vix_(?P<model>(?:hybrid_)?(?:vi[tpln]|fnet|mixer)(?:_rope)?)_patch(?P<patch>\d+)_(?P<image>\d+)")
_KINDS = ("vit", "vip", "vil", "vin", "fnet", "mixer")

_HYBRID = "A convolutional stem is better than a linear embedding of patches"
_ROTARY = "Rotary positions are better than learned ones"
_BEST = "No other linear X-former is better beyond the noise than that with Nyström attention"

# What was trained alike: patch and image size in pixels, and the conditions but for model and seed.
_Group = tuple[int, int, Conditions]


def claims(rows: Sequence[Measurement]) -> list[Claim]:
    """Every claim on every pair of models that the rows hold, for each group of what was trained alike."""
    made = []
    for (patch, image, stated), models in _groups(rows).items():
        where = f"{stated.data}, {stated.split}, {image} px in patches of {patch}; {stated.recipe or 'unknown recipe'}"
        sides = {model: Side(model, values, _printed(model, stated.data)) for model, values in models.items()}
        made += [
            Claim(paper=PAPER, says=says, where=where, first=sides[first], second=sides[second], bound=bound)
            for says, bound, first, second in _pairs()
            if first in sides and second in sides
        ]
    return made


def _pairs() -> Iterator[tuple[str, Bound, str, str]]:
    for rope in ("", "_rope"):
        yield from ((_HYBRID, "above", f"hybrid_{kind}{rope}", f"{kind}{rope}") for kind in _KINDS)
    for hybrid in ("", "hybrid_"):
        yield from ((_ROTARY, "above", f"{hybrid}{kind}_rope", f"{hybrid}{kind}") for kind in _KINDS)
    for hybrid in ("", "hybrid_"):
        for rope in ("", "_rope"):
            yield from ((_BEST, "not below", f"{hybrid}vin{rope}", f"{hybrid}{kind}{rope}") for kind in ("vip", "vil"))


def _groups(rows: Sequence[Measurement]) -> dict[_Group, dict[str, tuple[float, ...]]]:
    """Top-1 accuracies in percent by model, one for each seed; those of images held out of training only where there
    are no others."""
    found: dict[_Group, dict[str, dict[str, dict[int | None, float]]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        match = _NAME.fullmatch(row.model)
        if match is None or row.indicator != "top1" or row.value is None or row.origin.how == "published":
            continue
        group = (int(match["patch"]), int(match["image"]), replace(row.conditions.column(), seed=None))
        found[group][match["model"]].setdefault(row.conditions.spec, {})[row.conditions.seed] = 100 * row.value
    reported = {_but_split(group) for group in found if group[2].split != HELD_OUT}
    return {
        # of several specs under one name, that with the most runs
        group: {model: tuple(max(specs.values(), key=len).values()) for model, specs in models.items()}
        for group, models in found.items()
        if group[2].split != HELD_OUT or _but_split(group) not in reported
    }


def _but_split(group: _Group) -> _Group:
    return group[0], group[1], replace(group[2], split=None)


def _printed(model: str, data: str | None) -> float | None:
    for row in ROWS:
        match = _NAME.fullmatch(row.model)
        if match is not None and match["model"] == model and same_data(row.data, data):
            return row.top1
    return None
