"""One factor of a plain vision transformer grown until a cost is met, or all of them drawn at random at that cost.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", sec. 3.1 and algorithm 1.
Differs  There a factor stops at the first value that costs the target or more. Here it stops at the value whose cost is
         nearest to the target, below or above, and is out of reach if that is not near enough: only models of equal
         cost can be told apart by their accuracy. Patches get smaller, for that is what makes them cost more. Where a
         patch does not divide the image, the image is rounded up to the next size that it divides, as the 171 px of
         table 13 are the 160 of table 2 for patches of 19.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from paretovit.errors import Unmeasurable
from paretovit.optimize.bracket import Ratio, carried_out, guess, nearest
from paretovit.spec import ModelSpec
from paretovit.zoo.factors import Factors, factors_of, with_factors

_LARGEST = 16  # times its value that a factor is grown to at most; images are as many patches in all
_HEAD_STEP = 2  # a head's width stays even, as all that the paper prints are
_MEASURED = 5  # values of a factor that are measured at most until the target is met
_CLOSE = 0.05  # share by which a measured cost may miss it without another value being tried
_SPREAD = 4 / 3  # times which a permuted factor may be larger or smaller: table 13 has 14 to 17 layers and less
_DRAWS = 60  # per permuted model, before the search for one is given up

_WIDEST = 2.0  # times a factor that the models of a predictor have at most; heads its square, layers four
_NEAR_ENOUGH = 0.25  # how far such a model may be from where it was to lie


@dataclass(frozen=True)
class Grown:
    """A model with one factor changed, and its cost over that of the search's start; `ratio` is NaN and `why` says so
    where no value makes a model that can be measured."""

    factor: str
    spec: ModelSpec
    ratio: float
    why: str = ""


def larger(factors: Factors, factor: str) -> Iterator[Factors]:
    """The same with one factor changed, in the order of growing cost."""
    now, patch_px = getattr(factors, factor), factors.patch_px
    if factor == "image_px":
        side = -(-now // patch_px)
        yield from (factors._replace(image_px=n * patch_px) for n in range(side + 1, math.isqrt(_LARGEST) * side + 1))
    elif factor == "patch_px":
        least = max(1, math.ceil(patch_px / math.isqrt(_LARGEST)))
        yield from (
            factors._replace(patch_px=px, image_px=-(-factors.image_px // px) * px)
            for px in range(patch_px - 1, least - 1, -1)
        )
    else:
        step = _HEAD_STEP if factor == "head_dim" else 1
        yield from (factors._replace(**{factor: value}) for value in range(now + step, _LARGEST * now + 1, step))


def grown(base: Grown, factor: str, target: float, cost: Ratio, foretold: Ratio) -> Grown:
    """`base` with one factor so large that its cost is as near to the target as whole numbers allow.

    `cost` and `foretold` are over those of the search's start; `foretold` is exact and takes no time, such as
    multiply-accumulates. A cost that is another one is asked for a few times only: where the foretold cost, carried
    over by a line through what is known so far (logarithms of both), says that the target is, until it is near.
    """
    return carried_out(growing(base, factor, target, cost, foretold))


def growing(base: Grown, factor: str, target: float, cost: Ratio, foretold: Ratio) -> Generator[ModelSpec, None, Grown]:
    """`grown` as a search that says whose cost it asks for next, so that several can be measured side by side."""
    sizes = [with_factors(base.spec, factors) for factors in larger(factors_of(base.spec), factor)]
    return _nearest(base, factor, sizes, target, cost, foretold)


def _nearest(
    base: Grown, factor: str, sizes: Sequence[ModelSpec], target: float, cost: Ratio, foretold: Ratio
) -> Generator[ModelSpec, None, Grown]:
    none = Grown(factor, base.spec, math.nan, "no value makes a model")
    if cost is foretold:
        found = nearest(sizes, lambda spec: cost(spec) / target)
        return none if found is None else Grown(factor, sizes[found[0]], found[1] * target)
    known = [(math.log(foretold(base.spec)), math.log(base.ratio))]
    tried: dict[int, float] = {}
    while len(tried) < _MEASURED:
        place = guess(sizes, foretold, known, target)
        if place is None:
            return none
        if place in tried:
            break
        yield sizes[place]
        try:
            tried[place] = cost(sizes[place])
        except Unmeasurable as error:
            none = replace(none, spec=sizes[place], why=str(error))
            break
        if abs(tried[place] / target - 1) <= _CLOSE:
            break
        known.append((math.log(foretold(sizes[place])), math.log(tried[place])))
    if not tried:
        return none
    best = min(tried, key=lambda place: (abs(math.log(tried[place] / target)), place))
    return Grown(factor, sizes[best], tried[best])


def permuted(
    base: Grown,
    number: int,
    *,
    cost: Ratio,
    foretold: Ratio,
    tolerance: float,
    least_px: int,
    random: Random,
    tell: Callable[[Grown], None] = lambda made: None,
) -> list[Grown]:
    """`number` different models of the same cost as `base`, all factors drawn at random (the paper's sec. 4.1).

    Every factor but the layers is drawn within a third of its value, and the number of layers is what then gives the
    cost within `tolerance`. Images are not below `least_px`. There may be fewer, where sixty draws in a row find none.
    """
    own, found = factors_of(base.spec), {base.spec.key: base}
    for _ in range(number):
        for _ in range(_DRAWS):
            patch_px = _near(own.patch_px, random)
            image_px = max(patch_px, least_px, _near(own.image_px, random))
            drawn = Factors(
                own.layers,
                _near(own.heads, random),
                _HEAD_STEP * _near(-(-own.head_dim // _HEAD_STEP), random),
                _near(own.ratio, random),
                -(-image_px // patch_px) * patch_px,
                patch_px,
            )
            sizes = [with_factors(base.spec, drawn._replace(layers=d)) for d in range(1, 4 * own.layers + 1)]
            made = carried_out(_nearest(base, "all", sizes, base.ratio, cost, foretold))
            if abs(made.ratio / base.ratio - 1) <= tolerance and made.spec.key not in found:
                found[made.spec.key] = made
                tell(made)
                break
    return list(found.values())[1:]


def scattered(base: Grown, number: int, most: float, foretold: Ratio, random: Random) -> list[Grown]:
    """Different models of all sizes from the cost of `base` to `most` times it, evenly by its logarithm, all factors
    drawn at random; `foretold` takes no time. There may be fewer than `number`, where sixty draws find none."""
    own, found = factors_of(base.spec), {base.spec.key: base}
    for place in range(number):
        target = base.ratio * most ** ((place + random.random()) / number)
        for _ in range(_DRAWS):
            patch_px = max(1, round(own.patch_px / _WIDEST ** random.random()))
            image_px = round(own.image_px * _WIDEST ** random.random())
            drawn = Factors(
                own.layers,
                round(own.heads * _WIDEST ** (2 * random.random())),
                _HEAD_STEP * round(-(-own.head_dim // _HEAD_STEP) * _WIDEST ** random.random()),
                round(own.ratio * _WIDEST ** random.random()),
                -(-image_px // patch_px) * patch_px,
                patch_px,
            )
            sizes = [with_factors(base.spec, drawn._replace(layers=d)) for d in range(1, 4 * own.layers + 1)]
            made = carried_out(_nearest(base, "all", sizes, target, foretold, foretold))
            if abs(made.ratio / target - 1) <= _NEAR_ENOUGH and made.spec.key not in found:
                found[made.spec.key] = made
                break
    return list(found.values())[1:]


def _near(value: int, random: Random) -> int:
    return max(1, round(value * _SPREAD ** random.uniform(-1, 1)))
