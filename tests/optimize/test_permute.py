"""Channel orders: the function stays, and more is kept."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paretovit.optimize.permute import Pair, _gains, kept, pairs, permute, search
from paretovit.spec import ModelSpec, Stage
from paretovit.zoo.build import build
from paretovit.zoo.layers import weight_matrices
from paretovit.zoo.patterns import Pattern

SPEC = ModelSpec(
    name="small", stages=(Stage(depth=2, dim=24, heads=3),), image_px=8, patch_px=4, in_chans=1, num_classes=5
)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return build(SPEC).eval()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(["2:4", "1:4", "4:8", "1:2"]), st.sampled_from([1, 2]))
def test_an_order_is_a_permutation_within_spans_and_keeps_no_less(seed, text, spans):
    pattern = Pattern.of(text)
    scores = torch.rand(5, 32, generator=torch.Generator().manual_seed(seed)) ** 3
    order = search(scores, pattern, spans=spans)
    assert sorted(order.tolist()) == list(range(32))
    assert kept(scores[:, order], pattern) >= kept(scores, pattern)
    width = 32 // spans
    assert (order // width).tolist() == [span for span in range(spans) for _ in range(width)]


def test_two_groups_are_ordered_as_well_as_by_trying_all_ways():
    scores = torch.tensor([[9.0, 8, 7, 6, 1, 1, 1, 1], [1, 1, 1, 1, 5, 6, 7, 8]])
    pattern = Pattern(2, 4)
    best = max(
        kept(scores[:, [*half, *(i for i in range(8) if i not in half)]], pattern)
        for half in itertools.combinations(range(8), 4)
    )
    assert kept(scores[:, search(scores, pattern)], pattern) == pytest.approx(best)
    assert best > kept(scores, pattern) + 0.1


@pytest.mark.parametrize("text", ["2:4", "1:4", "4:8", "3:4"])
def test_the_gain_of_an_exchange_is_what_is_kept_more_after_it(text):
    pattern = Pattern.of(text)
    M = pattern.group
    scores = torch.rand(6, 2 * M, generator=torch.Generator().manual_seed(0))
    gains, now = _gains(scores.mT.unflatten(0, (2, M)), torch.tensor([0]), torch.tensor([1]), pattern)
    total = scores.sum()
    assert now / total == pytest.approx(kept(scores, pattern), rel=1e-5)
    for i, j in itertools.product(range(M), repeat=2):
        order = torch.arange(2 * M)
        order[i], order[M + j] = M + j, i
        after = kept(scores[:, order], pattern) * total
        assert gains[0, i, j].item() == pytest.approx((after - now).item(), abs=1e-4)


def test_a_models_pairs_are_the_mlps_hidden_channels_and_the_values_within_heads(model):
    found = pairs(model, SPEC, list(weight_matrices(model)))
    assert found == [
        pair
        for block in range(2)
        for pair in (
            Pair(f"stages.0.{block}.mixer.qkv", f"stages.0.{block}.mixer.proj", spans=3),
            Pair(f"stages.0.{block}.mlp.fc1", f"stages.0.{block}.mlp.fc2"),
        )
    ]


class WithNorm(nn.Module):
    """What lies between `first` and `second` tells the channels apart; between `third` and `fourth` it does not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(64, 16), nn.Linear(16, 8)
        self.inner = nn.ModuleDict({"third": nn.Linear(8, 12), "fourth": nn.Linear(12, 4)})
        self.weight = nn.Parameter(torch.rand(16) + 1)

    def forward(self, image):
        x = self.second(self.first(image.flatten(1)).relu() * self.weight)
        return self.inner["fourth"](self.inner["third"](x).relu())


def test_a_pair_that_would_change_the_function_is_not_among_them():
    model = WithNorm()
    found = pairs(model, SPEC, list(weight_matrices(model)))
    assert found == [Pair("inner.third", "inner.fourth")]


def test_a_permuted_model_gives_what_it_gave(model):
    image = torch.randn(2, 1, 8, 8)
    expected = model(image)
    trial = build(SPEC).eval()
    trial.load_state_dict(model.state_dict())
    for pair in pairs(trial, SPEC, list(weight_matrices(trial))):
        matrix = weight_matrices(trial)[pair.consumer]
        order = search(matrix.abs(), Pattern(2, 4), spans=pair.spans)
        assert order.tolist() != sorted(order.tolist())
        permute(trial, pair, order)
    torch.testing.assert_close(trial(image), expected, rtol=1e-5, atol=1e-6)


def test_numbers_that_are_added_exactly_come_out_the_same_bit_for_bit():
    layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    for parameter in layers.parameters():
        parameter.data = torch.randint(-8, 9, parameter.shape).float()
    image = torch.randint(-8, 9, (5, 4)).float()
    expected = layers(image)
    permute(layers, Pair("0", "2"), torch.randperm(8))
    assert torch.equal(layers(image), expected)
