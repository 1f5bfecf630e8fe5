"""Successive halving, in whatever order the trainings come in."""

from __future__ import annotations

import math
from random import Random

import pytest

from paretovit.optimize.halving import HALVED_AT, Asked, Halving
from paretovit.zoo.catalog import resolve
from paretovit.zoo.factors import Factors, with_factors

START = resolve("vit_pico_patch4_8", in_chans=1, num_classes=10)
SPECS = [with_factors(START, Factors(1, 1, 8 + 2 * more, 2, 8, 4)) for more in range(24)]
EPOCHS = 16
AT = [round(share * EPOCHS) for share in HALVED_AT]


def by_rounds(curves: dict[str, dict[int, float]]) -> dict[str, int]:
    """How far each is trained when all wait for the end of each round."""
    left, reached = sorted(curves), {}
    for until in AT:
        if len(left) < 3:
            break
        ranked = sorted(left, key=lambda key: (-curves[key][until], key))
        reached |= dict.fromkeys(ranked[math.ceil(len(left) / 2) :], until)
        left = ranked[: math.ceil(len(left) / 2)]
    return reached | dict.fromkeys(left, EPOCHS)


@pytest.mark.parametrize("models", [1, 2, 3, 4, 6, 7, 24])
def test_any_order_leaves_those_that_rounds_would(models):
    random = Random(models)
    for _ in range(30):
        specs = SPECS[:models]
        # few values, so that some are tied
        curves = {spec.key: {until: random.randrange(6) / 8 for until in AT} for spec in specs}
        halving = Halving(specs, EPOCHS, halved=True)
        waiting, reached, dropped = list(halving.asked), {}, []
        while waiting:
            spec, until = waiting.pop(random.randrange(len(waiting)))
            assert reached.get(spec.key, 0) < (until or EPOCHS)  # each part of a training once
            reached[spec.key] = until or EPOCHS
            if until is not None:
                further, late = halving.take(spec, until, curves[spec.key][until])
                waiting += further
                dropped += [one.key for one in late]
        assert reached == by_rounds(curves)
        assert dropped == list(halving.dropped)
        assert set(dropped) == {key for key, epochs in reached.items() if epochs < EPOCHS}
        assert halving.finalists == sum(epochs == EPOCHS for epochs in reached.values())


def test_who_is_sure_to_be_in_the_better_half_goes_on_at_once():
    halving = Halving(SPECS[:3], EPOCHS, halved=True)
    assert halving.take(SPECS[0], 4, 0.2) == ([], [])  # two may be better
    assert halving.take(SPECS[1], 4, 0.5) == ([Asked(SPECS[1])], [])  # one more may be, and two go on
    assert halving.dropped == {}
    assert halving.take(SPECS[2], 4, 0.3) == ([Asked(SPECS[2])], [SPECS[0]])
    assert halving.dropped == {SPECS[0].key: "in the worse half after 4 of 16 epochs, top-1 20.0%"}


def test_without_halving_all_are_trained_to_the_end():
    halving = Halving(SPECS[:5], EPOCHS, halved=False)
    assert halving.asked == [Asked(spec) for spec in SPECS[:5]]
    assert halving.finalists == 5
