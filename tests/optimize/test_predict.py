"""The predictor on made-up devices, whose latency follows from operators that the predictor does not see."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from paretovit.analysis.correlate import coefficient
from paretovit.errors import UserError
from paretovit.optimize.predict import FEWEST, TERMS, LatencyPredictor, _terms
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.factors import Factors, factors_of, with_factors

START = ModelSpec(name="start", stages=(Stage(depth=2, dim=32, heads=2),), image_px=32, patch_px=8, num_classes=10)
GRID = [
    with_factors(START, Factors(*factors))
    for factors in itertools.product((2, 3, 6, 9, 12), (2, 3, 6, 8, 12), (16, 32, 48), (2, 4, 8), (32, 48, 64), (4, 8))
]


class Abacus:
    """Adds up matrix products and row-wise operators, each as long as the longer of its arithmetic and its bytes, or
    longer where rows do not fill blocks of `block`; caches hold `cache` bytes, beyond which memory is half as fast. Of
    a model whose weights take more than `held` bytes all are read from further away, at a quarter."""

    def __init__(
        self,
        peak: float,
        bandwidth: float,
        start_s: float,
        block: int,
        cache: float,
        noise: float,
        held: float = math.inf,
    ) -> None:
        self.peak, self.bandwidth, self.start_s, self.block, self.cache = peak, bandwidth, start_s, block, cache
        self.noise, self.held = noise, held

    def __call__(self, spec: ModelSpec) -> float:
        d, h, e, r, image, patch = factors_of(spec)
        width, n = h * e, (image // patch) ** 2
        tokens, seconds = n + 1, self._product(n, 3 * patch**2, width)
        for rows, inner, columns in ((tokens, width, 3 * width), (tokens, width, width)):
            seconds += d * self._product(rows, inner, columns)
        seconds += d * (self._product(tokens, width, r * width) + self._product(tokens, r * width, width))
        seconds += d * h * (self._product(tokens, e, tokens) + self._product(tokens, tokens, e))
        for elements in (tokens * width,) * 4 + (tokens * r * width, h * tokens**2):
            seconds += d * (self.start_s + self._bytes(8 * elements))
        weights = 4 * d * width**2 * (4 + 2 * r)
        if weights > self.held:
            seconds += 4 * weights / self.bandwidth
        return seconds * math.exp(self.noise * Random(spec.key).gauss(0, 1))

    def _product(self, rows: int, inner: int, columns: int) -> float:
        full = math.ceil(columns / self.block) * self.block
        moved = 4 * (rows * inner + inner * columns + rows * columns)
        return self.start_s / 4 + max(rows * inner * full / self.peak, self._bytes(moved))

    def _bytes(self, moved: float) -> float:
        return moved / self.bandwidth * (1 if moved < self.cache else 2)


DEVICES = {
    "compute": Abacus(1e11, 2e10, 5e-6, 16, 1e6, 0.01),
    "memory": Abacus(2e12, 5e9, 2e-6, 8, 4e6, 0.01),
    "starts": Abacus(1e12, 5e10, 5e-5, 16, 1e7, 0.01),
    "far weights": Abacus(1e12, 5e10, 5e-6, 16, 1e7, 0.01, held=8e6),
}


@pytest.mark.parametrize("device", DEVICES)
def test_a_hundred_measured_models_foretell_the_others(device):
    cost = DEVICES[device]
    chosen = Random(0).sample(GRID, 300)
    fitted, others = chosen[:100], chosen[100:]
    predictor = LatencyPredictor.fit(fitted, [cost(spec) for spec in fitted])
    true = np.array([cost(spec) for spec in others])
    value, low, high = predictor.predict_all(others).T
    assert coefficient(value, true, "kendall") >= 0.95
    assert np.median(np.abs(value / true - 1)) <= 0.05
    assert np.mean((low <= true) & (true <= high)) >= 0.84  # 90% are meant; of 200 in fewer than one draw of a hundred
    assert (low < value).all()
    assert (value < high).all()


def test_what_is_a_sum_of_the_terms_is_foretold_far_away_too():
    """Prices that are known are found again in what they foretell, ten times beyond what was measured."""
    prices = np.array([1e-4, 2e-5, 1e-6, 1e-11, 0, 1e-11, 0, 0, 1e-9, 0, 1e-10, 1e-11])
    assert len(prices) == len(TERMS)

    def cost(specs):
        return _terms(np.array([factors_of(spec) for spec in specs], float), START) @ prices

    near = [spec for spec in GRID if factors_of(spec).layers <= 6 and factors_of(spec).heads <= 6]
    chosen = Random(1).sample(near, 80)
    predictor = LatencyPredictor.fit(chosen, cost(chosen))
    far = [with_factors(START, Factors(48, 12, 48, 8, 64, 4)), with_factors(START, Factors(12, 24, 48, 4, 128, 8))]
    assert predictor.predict_all(far)[:, 0] == pytest.approx(cost(far), rel=0.02)


def test_the_terms_are_those_of_a_model_counted_by_hand():
    """Two layers of two heads of width 4, MLP ratio 3, 16 px in patches of 8: five tokens of width 8, hidden 24."""
    term = dict(zip(TERMS, _terms(np.array([[2, 2, 4, 3, 16, 8]], float), START)[0], strict=True))
    weights = 4 * 8 * 8 + 2 * 8 * 24
    assert term == {
        "per call": 1,
        "operators": 2,
        "heads": 4,
        "linear macs": 2 * 5 * weights,
        "narrow linear macs": 2 * 5 * weights / 8,
        "attention macs": 2 * 25 * 8,
        "narrow attention macs": 2 * 25 * 2,
        "scores": 2 * 2 * 5,
        "hidden values": 2 * 5 * 24,
        "tokens' values": 2 * 5 * 8,
        "weights": 2 * weights + 8 * 10,
        "patch macs": 4 * 64 * 8 * 3,
    }


def test_the_interval_is_as_wide_as_the_noise():
    quiet, noisy = (Abacus(1e11, 2e10, 5e-6, 16, 1e6, noise) for noise in (0.01, 0.2))
    chosen = Random(2).sample(GRID, 80)
    narrow, wide = (LatencyPredictor.fit(chosen, [cost(spec) for spec in chosen]) for cost in (quiet, noisy))
    assert narrow.margin < 0.15 < 0.25 < wide.margin < 0.6


def test_models_one_by_one_are_foretold_a_thousand_times_a_second():
    chosen = Random(3).sample(GRID, 100)
    predictor = LatencyPredictor.fit(chosen, [DEVICES["compute"](spec) for spec in chosen])
    all_at_once = predictor.predict_all(GRID[:300])
    start = time.process_time()
    one_by_one = [predictor.predict(spec) for spec in GRID[:300]]
    assert 300 / (time.process_time() - start) >= 1000
    assert np.allclose(one_by_one, all_at_once)


def test_fits_are_the_same_twice():
    chosen = Random(4).sample(GRID, 40)
    first, second = (LatencyPredictor.fit(chosen, [DEVICES["memory"](s) for s in chosen], seed=1) for _ in range(2))
    assert (first.predict_all(GRID[:50]) == second.predict_all(GRID[:50])).all()


def test_what_cannot_be_fitted_or_foretold_says_why():
    specs = GRID[:FEWEST]
    with pytest.raises(UserError, match=f"at least {FEWEST} measured models, got 3"):
        LatencyPredictor.fit(specs[:3], [1.0] * 3)
    with pytest.raises(UserError, match="above zero"):
        LatencyPredictor.fit(specs, [0.0] * FEWEST)
    mean = replace(specs[0], readout=Part("mean"), name="averaged")
    with pytest.raises(UserError, match=r"averaged and .* differ in more than the six factors"):
        LatencyPredictor.fit([*specs, mean], [1.0] * (FEWEST + 1))
    predictor = LatencyPredictor.fit(specs, [DEVICES["compute"](spec) for spec in specs])
    with pytest.raises(UserError, match="averaged differs"):
        predictor.predict(mean)
