"""Distances of breakdowns: by hand, and as the paper prints them."""

from __future__ import annotations

import math

import pytest

from paretovit.analysis.breakdown import cosine_distance, cosine_distances

# Table 11 of "An Investigation on Hardware-Aware Vision Transformer Scaling": percent of DeiT-Tiny's cost; linear,
# norm, products of attention, softmax, reshape and transpose, gather, others. "< 0.01" is taken for 0.01.
PARTS = ("linear", "norm", "matmul", "softmax", "reshape", "gather", "other")
TABLE_11 = {
    "V100": (62.50, 8.95, 17.65, 3.48, 5.17, 0.01, 2.20),
    "TX2": (34.31, 6.38, 8.03, 5.75, 6.32, 36.38, 2.82),
    "Pixel3": (69.40, 1.59, 21.36, 3.20, 3.30, 0.01, 1.26),
}


def test_devices_are_as_far_apart_as_the_paper_says():
    v100, tx2, pixel3 = (dict(zip(PARTS, shares, strict=True)) for shares in TABLE_11.values())
    assert cosine_distance(v100, pixel3) < 0.02
    assert cosine_distance(tx2, v100) > 0.28
    assert cosine_distance(tx2, pixel3) > 0.28


def test_only_proportions_count_and_a_missing_part_is_nothing():
    assert cosine_distance({"a": 1, "b": 2}, {"a": 10, "b": 20, "c": 0}) == pytest.approx(0)
    assert cosine_distance({"a": 1}, {"b": 1}) == 1
    assert cosine_distance({"a": 3, "b": 4}, {"a": 4, "b": 3}) == pytest.approx(1 - 24 / 25)
    assert math.isnan(cosine_distance({"a": 0}, {"a": 1}))


def test_all_pairs_are_in_the_matrix():
    matrix = cosine_distances([{"a": 1}, {"b": 1}, {"a": 1, "b": 1}])
    assert matrix.shape == (3, 3)
    assert matrix[0, 1] == matrix[1, 0] == 1
    assert matrix[0, 2] == pytest.approx(1 - math.sqrt(0.5))
