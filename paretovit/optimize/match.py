"""A model made as dear as another in one cost, in several ways: by its width, depth, patches or images.

Paper    Dehghani et al. 2021, "The Efficiency Misnomer", sec. 3.2: two models that were made equal in one cost are
         equal in no other, and how far apart they are depends on the way in which one of them was resized.
Models   Those on our skeleton, and timm's `VisionTransformer`s (ViT, DeiT, DeiT III), whose constructor takes sizes.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from paretovit.cost.count import count
from paretovit.cost.folders import INDICATORS
from paretovit.cost.live_bytes import predicted_peak
from paretovit.cost.measure import Care, Progress, measure
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import Unmeasurable, UserError, unknown
from paretovit.measurement import Measurement
from paretovit.spec import ModelSpec, Part, to_json
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

TOLERANCE = 0.01
WAYS = ("width", "depth", "patch", "resolution")
_LARGEST = 4  # a size is looked for up to so many times the model's own
_HEAD_WIDTH = 0.25  # by which share the width of a head may change with the width of the model
_NEIGHBOURS = 2  # tried to each side of where the target was crossed, for costs may not grow evenly
_CARE = Care(rounds=6, sittings=2, patience_s=2)  # of a candidate, which is one of ten
PEAKS = {"peak_bytes_infer": False, "peak_bytes_train": True}
_NAMED = re.compile(r"(?P<rest>.+_patch)\d+_\d+")

Ratio = Callable[[ModelSpec], float]


@dataclass(frozen=True)
class Shape:
    """Depth, width and heads of a stage."""

    depth: int
    dim: int
    heads: int

    def __str__(self) -> str:
        return f"{self.depth} x {self.dim} with {self.heads} head{'s' if self.heads > 1 else ''}"


@dataclass(frozen=True)
class Match:
    """The model nearest to the target in one way; `ratio` is its cost over the target's, `tried` how many were."""

    by: str
    spec: ModelSpec
    ratio: float
    tried: int

    @property
    def reached(self) -> bool:
        """Whether the costs are equal within 1%."""
        return abs(self.ratio - 1) <= TOLERANCE


@dataclass(frozen=True)
class Group:
    """The baseline made as dear as a target in `indicator`, once for each way; `rows` is what they all cost."""

    indicator: str
    baseline: ModelSpec
    target: ModelSpec
    before: float
    matches: tuple[Match, ...]
    rows: tuple[Measurement, ...]

    @property
    def specs(self) -> list[ModelSpec]:
        """The target, and what the baseline was made; each model once."""
        return list({spec.key: spec for spec in (self.target, *(match.spec for match in self.matches))}.values())

    def lines(self) -> list[str]:
        """What was made of the baseline, in words."""
        made = [
            f"  {match.by:10}  {described(match.spec)}: "
            f"{'equal, ' if match.reached else 'out of reach, the nearest is '}{_apart(match.ratio)}"
            for match in self.matches
        ]
        before = f"{self.baseline.name}, which has {_short(self.before)} times its {self.indicator},"
        return [f"As dear as {self.target.name} in {self.indicator}: {before} resized by", *made]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "indicator": self.indicator,
            "baseline": self.baseline.name,
            "target": self.target.name,
            "ratio_before": self.before,
            "ways": [
                {
                    "by": match.by,
                    "model": match.spec.name,
                    "ratio": match.ratio,
                    "reached": match.reached,
                    "spec": to_json(match.spec),
                }
                for match in self.matches
            ],
        }


def match_all(
    specs: Sequence[ModelSpec],
    indicator: str | None,
    *,
    ways: Sequence[str] | None = None,
    batch_size: int = 8,
    device: str = "cpu",
    progress: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
) -> list[Group]:
    """The first model made as dear in the indicator as each other one, in each of the ways; none without an indicator.

    A group's rows are all counts and predicted peaks of memory, and the indicator itself where it is measured; of that
    `progress` makes who is told. Raises `UserError` as `matched` and `ratio_to` do, and where there is no second model.
    """
    if indicator is None:
        return []
    if len(specs) < 2:
        raise UserError("name the model that is to be resized, and after it those that it is to be as dear as")
    for way in ways or ():
        if way not in WAYS:
            raise unknown("way to resize a model", way, WAYS)
    timed = _kind(indicator) == "timed"
    shapes(specs[0])
    with progress() if timed else nullcontext() as shown:
        groups = []
        for target in specs[1:]:
            ratio = ratio_to(target, indicator, batch_size=batch_size, device=device, progress=shown)
            matches = tuple(matched(specs[0], ratio, by=way) for way in ways or WAYS)
            group = Group(indicator, specs[0], target, ratio(specs[0]), matches, ())
            rows = count(group.specs, batch_size=batch_size)
            if timed:
                rows += measure(
                    group.specs, indicators=[indicator], device=device, batch_size=batch_size, progress=shown
                )
            groups.append(replace(group, rows=tuple(rows)))
    return groups


def _kind(indicator: str) -> str:
    """ "static", "peak" or "timed". Raises `UserError` for an indicator that cannot be matched."""
    kind = "peak" if indicator in PEAKS else INDICATORS[indicator].kind
    if kind not in ("static", "peak", "timed"):
        raise UserError(f"{indicator} cannot be matched; use a count, a time, a rate or a peak of memory")
    return kind


def _short(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def _apart(ratio: float) -> str:
    """The ratio in words: "0.7% above"."""
    if ratio == 1:
        return "exactly"
    return f"{_short(abs(ratio - 1) * 100)}% {'above' if ratio > 1 else 'below'}"


def matched(spec: ModelSpec, ratio: Ratio, *, by: str) -> Match:
    """The spec resized so that `ratio`, its cost over that of a target, is as near to 1 as integers allow.

    width        number and width of the heads together, where the width of a head may change by a quarter; all stages
                 in proportion
    depth        blocks; all stages in proportion
    patch        patches whose size divides the image
    resolution   images that the patch divides

    The cost is taken to grow (patches: fall) with the size; the search asks for some ten costs. Raises `UserError` for
    a way that is not among these, a model that cannot be resized, and where no size makes a model.
    """
    if by not in WAYS:
        raise unknown("way to resize a model", by, WAYS)
    sizes = list(_RESIZED[by](spec))
    found = nearest(sizes, ratio, rising=by != "patch")
    if found is None:
        raise UserError(f"{spec.name} makes no model when it is resized by its {by}; choose another way")
    best, value, tried = found
    return Match(by, sizes[best], value, tried)


def nearest(sizes: Sequence[ModelSpec], ratio: Ratio, *, rising: bool = True) -> tuple[int, float, int] | None:
    """The place of the size whose ratio is nearest to 1, that ratio, and how many were asked for; None where no size
    makes a model.

    The range is halved, for the ratio is taken to rise from size to size, or else to fall; to each side of where it
    crosses 1 some more are asked for. Sizes that make no model are passed over.
    """
    known: dict[int, float] = {}

    def at(place: int) -> float:
        """The ratio there, or at the nearest place below that makes a model; such places are taken out."""
        while True:
            if place not in known:
                try:
                    known[place] = ratio(sizes[place])
                except (UserError, Unmeasurable, AssertionError, RuntimeError):
                    known[place] = math.nan
            if not math.isnan(known[place]) or place == 0:
                return known[place]
            place -= 1

    crossing = bisect_left(range(len(sizes)), x=True, key=lambda place: (at(place) >= 1) == rising)
    for place in range(crossing - _NEIGHBOURS, crossing + _NEIGHBOURS):
        if 0 <= place < len(sizes):
            at(place)
    made = {place: value for place, value in known.items() if not math.isnan(value)}
    if not made:
        return None
    best = min(made, key=lambda place: (abs(made[place] - 1), place))
    return best, made[best], len(known)


def ratio_to(
    target: ModelSpec, indicator: str, *, batch_size: int = 8, device: str = "cpu", progress: Progress | None = None
) -> Ratio:
    """The cost of any spec over that of the target; for a rate the inverse, so that it grows with the size.

    Counts are exact. Peaks of memory are predicted for batches of that size, without a device. Anything else is
    measured beside the target, in the same run, so that a drift of the machine cancels; what is asked for twice is
    measured once. Raises `UserError` for an unknown indicator.
    """
    kind = _kind(indicator)

    def static(spec: ModelSpec) -> float:
        return INDICATORS[indicator]()(Subject(spec, Setting()))[0]

    def peak(spec: ModelSpec) -> float:
        return float(predicted_peak(spec, batch_size=batch_size, training=PEAKS[indicator]))

    def beside(spec: ModelSpec) -> float:
        rows = measure(
            [target, spec],
            indicators=[indicator],
            device=device,
            batch_size=batch_size,
            care=_CARE,
            progress=progress,
        )
        values = {row.conditions.spec: row.value for row in rows}
        ours, theirs = values.get(spec.key), values.get(target.key)
        if ours is None or theirs is None:
            raise Unmeasurable("; ".join(row.why for row in rows if row.why))
        return ours / theirs if INDICATORS[indicator].lower_is_better else theirs / ours

    if kind == "timed":
        return cache(lambda spec: 1.0 if spec.key == target.key else beside(spec))
    one = peak if kind == "peak" else static
    whole = one(target)
    if not whole:
        raise UserError(f"{indicator} of {target.name} is 0, which nothing can be matched to")
    return cache(lambda spec: one(spec) / whole)


def shapes(spec: ModelSpec) -> tuple[Shape, ...]:
    """Of each stage. Raises `UserError` for a model that cannot be resized."""
    if spec.whole is None:
        return tuple(Shape(stage.depth, stage.dim, stage.heads) for stage in spec.stages)
    return (_timm_shape(spec)[0],)


def described(spec: ModelSpec) -> str:
    """The sizes in words: "12 x 192 with 3 heads, patch 16, 224 px"."""
    return f"{'; '.join(map(str, shapes(spec)))}, patch {_patch_px(spec)}, {spec.size}"


def _widths(spec: ModelSpec) -> list[ModelSpec]:
    own = shapes(spec)
    heads, head = own[0].heads, own[0].dim // own[0].heads
    found: dict[tuple[int, ...], tuple[float, tuple[Shape, ...]]] = {}
    for h in range(1, _LARGEST * heads + 1):
        for k in range(math.ceil(head * (1 - _HEAD_WIDTH)), math.floor(head * (1 + _HEAD_WIDTH)) + 1):
            made = tuple(_widened(shape, h / heads, k / head) for shape in own)
            dims, far = tuple(shape.dim for shape in made), abs(k - head)
            if dims not in found or far < found[dims][0]:
                found[dims] = (far, made)
    ordered = sorted((made for _, made in found.values()), key=lambda made: sum(s.depth * s.dim**2 for s in made))
    return [_reshaped(spec, made, f"width {made[0].dim}") for made in ordered]


def _widened(shape: Shape, heads: float, head: float) -> Shape:
    count = max(1, round(shape.heads * heads))
    return Shape(shape.depth, count * max(1, round(shape.dim // shape.heads * head)), count)


def _depths(spec: ModelSpec) -> list[ModelSpec]:
    own = shapes(spec)
    total = sum(shape.depth for shape in own)
    made = dict.fromkeys(
        tuple(replace(shape, depth=max(1, round(shape.depth * blocks / total))) for shape in own)
        for blocks in range(1, _LARGEST * total + 1)
    )
    return [_reshaped(spec, one, f"depth {sum(shape.depth for shape in one)}") for one in made]


def _patches(spec: ModelSpec) -> list[ModelSpec]:
    return [
        _viewed(spec, patch_px, spec.square_px, f"patch {patch_px}")
        for patch_px in range(1, spec.square_px + 1)
        if spec.square_px % patch_px == 0
    ]


def _resolutions(spec: ModelSpec) -> list[ModelSpec]:
    patch_px = _patch_px(spec)
    return [
        _viewed(spec, patch_px, side * patch_px, f"{side * patch_px} px")
        for side in range(1, _LARGEST * spec.square_px // patch_px + 1)
    ]


_RESIZED: dict[str, Callable[[ModelSpec], list[ModelSpec]]] = {
    "width": _widths,
    "depth": _depths,
    "patch": _patches,
    "resolution": _resolutions,
}


def _reshaped(spec: ModelSpec, made: tuple[Shape, ...], what: str) -> ModelSpec:
    name = f"{spec.name} ({what})"
    if spec.whole is None:
        stages = zip(spec.stages, made, strict=True)
        return replace(
            spec,
            name=name,
            stages=tuple(replace(stage, depth=s.depth, dim=s.dim, heads=s.heads) for stage, s in stages),
        )
    (shape,) = made
    sizes = {"depth": shape.depth, "embed_dim": shape.dim, "num_heads": shape.heads}
    return replace(spec, name=name, whole=Part.of("timm", **(dict(spec.whole.options) | sizes)))


def _viewed(spec: ModelSpec, patch_px: int, image_px: int, what: str) -> ModelSpec:
    """With other patches or images. Options that follow from their number, such as Linformer's length, follow."""
    name = f"{spec.name} ({what})"
    if spec.whole is not None:
        options = dict(spec.whole.options) | {"patch_size": patch_px}
        return replace(spec, name=name, image_px=image_px, whole=Part.of("timm", **options))
    match = _NAMED.fullmatch(spec.name)
    if match and _has_its_name(spec):
        follows = resolve(f"{match['rest']}{patch_px}_{image_px}", in_chans=spec.in_chans, num_classes=spec.num_classes)
        return replace(follows, name=name)
    return replace(spec, name=name, patch_px=patch_px, image_px=image_px)


@cache
def _has_its_name(spec: ModelSpec) -> bool:
    """Whether the catalog makes this spec of its name, for its channels and classes."""
    try:
        return resolve(spec.name, in_chans=spec.in_chans, num_classes=spec.num_classes).key == spec.key
    except UserError:
        return False


def _patch_px(spec: ModelSpec) -> int:
    return spec.patch_px if spec.whole is None else _timm_shape(spec)[1]


@cache
def _timm_shape(spec: ModelSpec) -> tuple[Shape, int]:
    """Of a ViT of timm: its one stage, and the side of a patch in pixels."""
    from timm.models.vision_transformer import VisionTransformer

    model = build(spec, device="meta")
    if not isinstance(model, VisionTransformer):
        raise UserError(
            f"{spec.name} cannot be resized: only models on the skeleton and timm's VisionTransformers take sizes; "
            "name such a model first"
        )
    patch_px = model.patch_embed.patch_size[0]
    return Shape(len(model.blocks), model.embed_dim, model.blocks[0].attn.num_heads), patch_px
