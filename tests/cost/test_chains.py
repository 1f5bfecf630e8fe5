"""Chains of dependent operators and arithmetic intensity, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from paretovit.cost.count import count as count_rows
from paretovit.cost.counting import Count, count
from paretovit.zoo.catalog import resolve


def counted(function) -> Count:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return function(x, self.weight)

    return count(Model, (4, 8))


@pytest.mark.parametrize(
    ("function", "depth", "products"),
    [
        (lambda x, w: x.exp().sin().cos(), 3, 0),
        (lambda x, w: x.exp() + x.sin() + x.cos(), 3, 0),  # two sums wait for each other, the three do not
        (lambda x, w: x @ w @ w, 2, 2),
        (lambda x, w: (x @ w) + (x @ w), 2, 1),  # side by side
        (lambda x, w: (x @ w).view(2, 16).view(4, 8).T.T @ w, 2, 2),  # views are no steps
        (lambda x, w: x.clone().add_(1).mul_(2), 3, 0),
        (lambda x, w: torch.cat([x.exp().sin(), x]).relu(), 4, 0),
        (lambda x, w: torch.stack([x[:2].exp(), x[2:].exp()])[0].sin(), 3, 0),
        (lambda x, w: torch.zeros(4, 8).add_(x.exp()), 2, 0),
        (lambda x, w: torch.empty_like(x).copy_(x), 1, 0),  # room is no step
    ],
)
def test_only_what_waits_for_another_is_longer(function, depth, products):
    found = counted(function)
    assert (found.chain_depth, found.macs_chain_depth) == (depth, products)


def test_a_vit_is_as_deep_as_its_blocks():
    rows = {row.indicator: row.value for row in count_rows(["vit_tiny_patch16_224"])}
    # stem and head; in each block: queries, keys and values, attention, projection, two products of the MLP
    assert rows["macs_chain_depth"] == 2 + 12 * 5
    # stem, class token, positions, last norm, head; in each block: two norms, the five products, GELU, two sums
    assert rows["chain_depth"] == 5 + 12 * 10


def test_width_makes_no_chain_longer_and_depth_does():
    depths = {
        name: next(row.value for row in count_rows([name]) if row.indicator == "macs_chain_depth")
        for name in ("vit_tiny_patch16_224", "vit_base_patch16_224", "vit_large_patch16_224")
    }
    assert depths["vit_tiny_patch16_224"] == depths["vit_base_patch16_224"] == 62
    assert depths["vit_large_patch16_224"] == 2 + 24 * 5


def test_what_is_written_out_differently_waits_as_long():
    # a mixer that torch takes apart with views which share no schema (`_unsafe_view`)
    name = "performer_pico_patch4_32"
    (depth,) = (row.value for row in count_rows([name]) if row.indicator == "macs_chain_depth")
    assert depth == 2 + resolve(name).stages[0].depth * 7


def test_intensity_is_multiply_accumulates_per_byte():
    found = counted(lambda x, w: x @ w)
    assert found.arithmetic_intensity == (4 * 8 * 8) / (4 * (4 * 8 + 8 * 8 + 4 * 8))
    rows = {row.indicator: row for row in count_rows(["vit_pico_patch2_8"])}
    assert rows["arithmetic_intensity"].unit == "MAC/B"
    assert rows["arithmetic_intensity"].value == rows["macs"].value / rows["bytes_moved"].value
