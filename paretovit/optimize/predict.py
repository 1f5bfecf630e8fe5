"""How long a plain vision transformer takes on a device, foretold from a few dozen that were measured there.

A call takes time for arithmetic, for moving what it reads and writes, and for starting each operator: a sum of a few
closed terms of the six factors whose prices differ from device to device. The prices are fitted, none below zero
(Lawson and Hanson 1974), so that relative errors are least. What the sum misses is smooth in the logarithms of the
factors and of all weights (caches, blocks of a library), so a Gaussian process on these corrects it near what was
measured, and fades away from it. How far it reaches along each of them is found by the likelihood (Rasmussen and
Williams 2006, sec. 5.1, automatic relevance determination): least far along all weights and the tokens.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling" measures every model; that a
         latency can be looked up or predicted per device is usual in architecture search (Cai et al. 2019,
         "ProxylessNAS", app. B; Zhang et al. 2021, "nn-Meter").
Interval by conformal prediction: the error that the wanted share of measured models stays below when they are foretold
         by the others (Vovk et al. 2005; Barber et al. 2021, sec. on K-fold CV).

Letters  L layers, H heads, D width, M hidden width of the MLP, n patches, N tokens, P pixels of a patch, C channels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import threadpool_limits

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.zoo.factors import Factors, factors_of, with_factors

FEWEST = 12  # measured models that a predictor is fitted on at least: there are as many prices
_FOLDS = 10
_PREFIX = {"mean": 0, "distilled": 2}  # tokens besides those of patches; any other read-out has one
_REACH = (1.0, 10.0)  # bounds of the correction's, in standard deviations of each place
_RESOLUTION = 0.01  # of the logarithm of a time; what the sum misses by less is nothing to be corrected
_REWEIGHTED = 8

Floats = NDArray[np.float64]


class Prediction(NamedTuple):
    """A cost, and the interval that it lies in with the predictor's `level`; in the unit that was fitted."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LatencyPredictor:
    """Foretells seconds per call, or per image, of models that differ in the six factors alone.

    prices     seconds per unit of each of `TERMS`
    level      share of new models whose cost the interval is to hold
    margin     half of the interval, of the logarithm
    """

    family: ModelSpec
    prices: Floats
    level: float
    margin: float
    _correction: _Correction

    @classmethod
    def fit(
        cls, specs: Sequence[ModelSpec], seconds: Sequence[float], *, level: float = 0.9, seed: int = 0
    ) -> LatencyPredictor:
        """From measured times above zero. The `seed` is that of the folds, and so of the interval alone.

        Raises `UserError` for fewer than `FEWEST` models, for those that differ in more than the six factors or do not
        have them, and for a time that is not above zero.
        """
        if len(specs) != len(seconds) or len(specs) < FEWEST:
            raise UserError(f"a predictor takes at least {FEWEST} measured models, got {min(len(specs), len(seconds))}")
        times = np.asarray(seconds, float)
        if not (np.isfinite(times).all() and (times > 0).all()):
            raise UserError("a predictor takes times above zero")
        family = _family(specs[0])
        other = next((spec for spec in specs if _family(spec) != family), None)
        if other is not None:
            raise UserError(f"{other.name} and {specs[0].name} differ in more than the six factors")
        factors = np.array([factors_of(spec) for spec in specs], float)
        prices, correction = _fitted(factors, family, times)
        margin = _margin(factors, family, times, level, seed)
        return cls(family, prices, level, margin, correction)

    def predict(self, spec: ModelSpec) -> Prediction:
        """Raises `UserError` for a model that differs in more than the six factors from those that were measured."""
        value, low, high = self.predict_all([spec])[0]
        return Prediction(float(value), float(low), float(high))

    def predict_all(self, specs: Sequence[ModelSpec]) -> Floats:
        """(models, 3): value, low and high of each."""
        for spec in specs:
            if _family(spec) != self.family:
                raise UserError(f"{spec.name} differs from {self.family.name} in more than the six factors")
        return self.predict_factors(np.array([factors_of(spec) for spec in specs], float).reshape(-1, 6))

    def predict_factors(self, factors: Floats) -> Floats:
        """The same of factors (models, 6), in the order of `Factors`."""
        value = _foretold(factors, self.family, self.prices, self._correction)
        return value[:, None] * np.exp([0.0, -self.margin, self.margin])


# what time is spent on, one column each of `_terms`; "per call" is what a call takes that does nothing
TERMS = (
    "per call",
    "operators",
    "heads",
    "linear macs",
    "narrow linear macs",
    "attention macs",
    "narrow attention macs",
    "scores",
    "hidden values",
    "tokens' values",
    "weights",
    "patch macs",
)


def _terms(factors: Floats, family: ModelSpec) -> Floats:
    """(models, terms), from factors (models, 6)."""
    L, H, K, ratio, image, P = factors.T
    D, n = H * K, np.ceil(image / P) ** 2
    M, N = D * ratio, n + _PREFIX.get(family.readout.name, 1)
    weights = 4 * D**2 + 2 * D * M
    columns = [
        np.ones_like(L),
        L,
        L * H,
        L * N * weights,
        L * N * weights / D,  # short sums and few rows keep arithmetic units waiting
        L * N**2 * D,
        L * N**2 * H,
        L * H * N,
        L * N * M,
        L * N * D,
        L * weights + D * family.num_classes,
        n * P**2 * D * family.in_chans,
    ]
    return np.stack(columns, axis=1)


def _places(factors: Floats, family: ModelSpec) -> Floats:
    """(models, 7): where the correction takes models to lie, logarithms of what the terms are made of. All weights are
    among them, though the others make them up: what a cache holds and what it does not is a matter of one axis then."""
    L, H, K, ratio, image, P = factors.T
    n = np.ceil(image / P) ** 2
    weights = L * (H * K) ** 2 * (4 + 2 * ratio)
    return np.log(np.stack([L, H, K, ratio, n + _PREFIX.get(family.readout.name, 1), P, weights], axis=1))


@dataclass(frozen=True)
class _Correction:
    """Of the logarithm: the mean of a Gaussian process in the places, each over its deviation among those measured."""

    process: GaussianProcessRegressor
    scale: Floats
    unit: float

    @classmethod
    def fit(cls, places: Floats, missed: Floats) -> _Correction:
        scale, unit = np.maximum(places.std(axis=0), 1e-3), max(float(missed.std()), _RESOLUTION)
        smooth = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(places.shape[1], 2.0), _REACH, nu=2.5)
        process = GaussianProcessRegressor(smooth + WhiteKernel(0.1, (1e-4, 1.0)))
        # matrices of a hundred rows: threads cost more than they bring, many times so where cores are busy
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # a reach at its bound is an answer
            process.fit(places / scale, missed / unit)
        return cls(process, scale, unit)

    def __call__(self, places: Floats) -> Floats:
        missed: Floats = self.unit * self.process.predict(places / self.scale)
        return missed


def _fitted(factors: Floats, family: ModelSpec, seconds: Floats) -> tuple[Floats, _Correction]:
    terms = _terms(factors, family)
    prices = _prices(terms, seconds)
    return prices, _Correction.fit(_places(factors, family), np.log(seconds / (terms @ prices)))


def _prices(terms: Floats, seconds: Floats) -> Floats:
    """Non-negative prices whose sums have least absolute logarithmic errors, nearly: relative least squares, weighted
    anew so that models that fit badly count less."""
    scale = terms.max(axis=0)
    weight = np.ones_like(seconds)
    prices = np.zeros(terms.shape[1])
    for _ in range(_REWEIGHTED):
        rows = terms / scale / seconds[:, None] * weight[:, None]
        prices, _ = nnls(rows, weight, maxiter=50 * terms.shape[1])
        missed = np.abs(np.log(np.maximum(terms / scale @ prices / seconds, 1e-6)))
        weight = 1 / np.sqrt(np.maximum(missed, 0.02))
    return prices / scale


def _foretold(factors: Floats, family: ModelSpec, prices: Floats, correction: _Correction) -> Floats:
    value: Floats = _terms(factors, family) @ prices * np.exp(correction(_places(factors, family)))
    return value


def _margin(factors: Floats, family: ModelSpec, seconds: Floats, level: float, seed: int) -> float:
    """The error of the logarithm that `level` of the models stay below when foretold by those of other folds."""
    count = len(seconds)
    order = np.random.default_rng(seed).permutation(count)
    errors = np.empty(count)
    for fold in np.array_split(order, min(_FOLDS, count)):
        others = np.setdiff1d(order, fold)
        fitted = _fitted(factors[others], family, seconds[others])
        errors[fold] = np.abs(np.log(seconds[fold] / _foretold(factors[fold], family, *fitted)))
    rank = min(math.ceil(level * (count + 1)), count)
    return float(np.sort(errors)[rank - 1])


def _family(spec: ModelSpec) -> ModelSpec:
    """What models have in common that differ in the six factors alone."""
    return replace(with_factors(spec, Factors(1, 1, 1, 1, 1, 1)), name="")
