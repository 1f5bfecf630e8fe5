from __future__ import annotations

import torch

from paretovit.zoo.mixers.linear_transformer import LinearTransformer
from paretovit.zoo.tokens import Layout, Tokens


def test_weighs_values_by_the_kernel_of_query_and_key() -> None:
    mixer = LinearTransformer(1, 1, Layout(None, 2, 0)).double()
    mixer.qkv.load_state_dict({"weight": torch.tensor([[1.0], [2.0], [3.0]]), "bias": torch.zeros(3)})
    mixer.proj.load_state_dict({"weight": torch.ones(1, 1), "bias": torch.zeros(1)})
    x = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    # keys 2 and -2 have the features 3 and exp(-2), values are 3 and -3; the query's one feature cancels
    low = torch.tensor(-2.0, dtype=torch.float64).exp()
    expected = (3 * 3 - 3 * low) / (3 + low)
    torch.testing.assert_close(mixer(Tokens(x)).flatten(), expected.expand(2), rtol=1e-5, atol=0)


def test_keys_that_are_all_alike_give_the_mean_of_the_values() -> None:
    torch.manual_seed(0)
    mixer = LinearTransformer(16, 2, Layout(None, 9, 0)).double()
    mixer.qkv.weight.data[16:32] = 0
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    mean = mixer.proj(mixer.qkv(x)[..., 32:].mean(1, keepdim=True)).expand(-1, 9, -1)
    torch.testing.assert_close(mixer(Tokens(x)), mean, rtol=1e-5, atol=1e-6)
