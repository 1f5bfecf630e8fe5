from __future__ import annotations

import pytest
import torch
from timm.models.metaformer import Pooling as TimmsPooling

from paretovit.errors import UserError
from paretovit.zoo.mixers.pooling import Pooling
from paretovit.zoo.tokens import Layout, Tokens


def test_edges_average_the_tokens_that_are_there() -> None:
    x = torch.tensor([[1.0, 2.0, 6.0], [3.0, 4.0, 8.0]]).view(1, 6, 1)
    mixed = Pooling(1, 1, Layout.of_grid((2, 3)))(Tokens(x, (2, 3)))
    left, middle, right = (1 + 2 + 3 + 4) / 4, 24 / 6, (2 + 6 + 4 + 8) / 4
    expected = torch.tensor([left, middle, right, left, middle, right]) - x.flatten()
    torch.testing.assert_close(mixed.flatten(), expected)


def test_agrees_with_timms_poolformer() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 30, 16)
    expected = TimmsPooling()(x.mT.unflatten(2, (6, 5))).flatten(2).mT
    torch.testing.assert_close(Pooling(16, 4, Layout.of_grid((6, 5)))(Tokens(x, (6, 5))), expected)


@pytest.mark.parametrize("size", [0, 2])
def test_refuses_a_size_without_a_middle(size: int) -> None:
    with pytest.raises(UserError, match="size must be odd"):
        Pooling(16, 4, Layout.of_grid((6, 5)), size=size)
