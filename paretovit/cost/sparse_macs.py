"""What a spec says of its sparse layers: which blocks have them, and how many multiply-adds they leave."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from paretovit.cost.products import products_of
from paretovit.spec import ModelSpec
from paretovit.zoo.build import build
from paretovit.zoo.layers import block_of
from paretovit.zoo.patterns import TWO_OF_FOUR, Pattern

_SPARSE = "sparse"  # the file in `zoo/transforms`


def dense(spec: ModelSpec) -> ModelSpec:
    """The spec without its masks; itself if it has none."""
    kept = tuple(part for part in spec.transforms if part.name != _SPARSE)
    return spec if kept == spec.transforms else replace(spec, transforms=kept)


@lru_cache(maxsize=256)
def macs_left(spec: ModelSpec) -> float:
    """Of all multiply-adds of one image in matrix products and convolutions, those with a weight that is kept: of N:M
    sparse layers N of every M. What a device makes of the zeros is another matter.

    Raises as `products_of` does.
    """
    patterns = _patterns(spec)
    total = 0.0
    for product in products_of(spec):
        pattern = None if product.in_features is None else patterns.get(product.module)
        total += product.macs * (1.0 if pattern is None else pattern.kept / pattern.group)
    return total


@lru_cache(maxsize=256)
def told_layers(spec: ModelSpec) -> str:
    """Which blocks have sparse layers, and their pattern if it is not 2:4: "4-5", "all, 1:4"."""
    patterns, blocks = _patterns(spec), block_of(build(spec, device="meta"))
    numbers = sorted({blocks[name] for name in patterns if name in blocks})
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    spans = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    where = "all" if numbers and len(numbers) == 1 + max(blocks.values()) else ", ".join(spans)
    others = sorted({str(pattern) for pattern in patterns.values() if pattern != TWO_OF_FOUR})
    return ", ".join([where, *others])


def _patterns(spec: ModelSpec) -> dict[str, Pattern]:
    """The pattern of every sparse layer."""
    found: dict[str, Pattern] = {}
    for part in spec.transforms:
        if part.name == _SPARSE:
            options = dict(part.options)
            found |= dict.fromkeys(options["layers"], Pattern(options.get("kept", 2), options.get("group", 4)))
    return found
