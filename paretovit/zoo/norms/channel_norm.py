"""Every token divided by its standard deviation, to which a small number is added.

Paper    the norm of the CvT models in Jeevan and Sethi 2022, "Resource-efficient Hybrid X-formers for Vision";
         layer norm adds its small number to the variance instead, under the root.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.norms import Norm


class ChannelNorm(Norm):
    """(x - mean) / (deviation + eps), then a gain and a shift per channel."""

    def __init__(self, dim: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BND: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x_BND, dim=-1, correction=0, keepdim=True)
        return (x_BND - mean) / (variance.sqrt() + self.eps) * self.gain + self.shift
