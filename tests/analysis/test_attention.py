"""Distances and stripes of attention maps, by hand and by loops."""

from __future__ import annotations

import numpy as np
import pytest

from paretovit.analysis.attention import even_distance, mean_distance, stripe_score


def test_a_patch_that_attends_to_itself_alone_looks_nowhere():
    assert mean_distance(np.eye(6), (2, 3), 16.0) == 0


def test_the_distance_is_that_of_patch_centres_by_weight():
    # a grid of 1 x 3: the first looks at the last, the middle at both sides, the last half at itself
    weights = [[0, 0, 1], [0.5, 0, 0.5], [0.25, 0.25, 0.5]]
    assert mean_distance(weights, (1, 3), 10.0) == pytest.approx(10 * (2 + 1 + 0.75) / 3)


def test_the_distance_agrees_with_a_loop_over_all_pairs_whatever_class_tokens_took():
    weights = np.random.default_rng(0).random((2, 3, 12, 12))
    grid, found = (3, 4), np.zeros((2, 3))
    for image, head in np.ndindex(2, 3):
        for i in range(12):
            row = weights[image, head, i] / sum(weights[image, head, i])
            for j in range(12):
                down, right = i // 4 - j // 4, i % 4 - j % 4
                found[image, head] += row[j] * (down**2 + right**2) ** 0.5 * 8 / 12
    np.testing.assert_allclose(mean_distance(weights, grid, 8.0), found)


def test_even_attention_is_at_the_mean_distance_of_all_pairs():
    assert mean_distance(np.full((6, 6), 1 / 6), (2, 3), 4.0) == pytest.approx(even_distance((2, 3), 4.0))


def test_stripes_are_1_where_all_queries_agree_and_0_where_no_key_stands_out():
    stripes = np.tile([0.7, 0.1, 0.2], (3, 1))
    np.testing.assert_allclose(stripe_score([stripes, np.eye(3), np.full((3, 3), 1 / 3)]), [1, 0, 0])


def test_half_of_the_variance_between_columns_is_one_half():
    # columns of mean 3 and 1, each entry 1 off its column's mean: between and within are alike
    assert stripe_score([[4.0, 0.0], [2.0, 2.0]]) == pytest.approx(0.5)
