"""Parameters of layers."""

from __future__ import annotations

import torch
from torch import nn

from paretovit.papers._parameters import layer_parameters
from paretovit.zoo.norms.layer_norm import LayerNorm


class _Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)  # 20
        self.plain = nn.Linear(5, 2, bias=False)  # 10
        self.conv = nn.Conv2d(4, 6, 3, groups=2)  # 6 x 2 x 9 + 6 = 114
        self.line = nn.Conv1d(7, 2, 1)  # 16
        self.norms = nn.Sequential(LayerNorm(4), nn.BatchNorm2d(5), nn.BatchNorm1d(3, affine=False))  # 8 + 10
        self.table = nn.Parameter(torch.zeros(9, 9))
        self.named_like_a_layers = nn.ParameterDict({"weight": torch.zeros(3)})


def test_weights_and_biases_of_layers_count_and_bare_tensors_do_not():
    assert layer_parameters(_Mixed()) == 20 + 10 + 114 + 16 + 8 + 10


def test_a_shared_weight_counts_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert layer_parameters(nn.Sequential(first, second, first)) == 16 + 4 + 4


def test_nothing_is_allocated():
    assert layer_parameters(nn.Linear(10**6, 10**6, bias=False, device="meta")) == 10**12
