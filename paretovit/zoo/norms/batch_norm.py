"""Every channel to mean 0 and variance 1 over all tokens of a batch (Ioffe and Szegedy 2015).

Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from paretovit.zoo.norms import Norm


class BatchNorm(Norm, nn.BatchNorm1d):
    """torch's batch norm, over images and tokens alike; in inference with the statistics it has kept."""

    repeatable = False

    def __init__(self, dim: int, *, eps: float = 1e-5) -> None:
        super().__init__(dim, eps=eps)

    def forward(self, x_BND: Tensor) -> Tensor:
        return super().forward(x_BND.flatten(0, -2)).view_as(x_BND)

    def gain_and_shift(self) -> tuple[Tensor, Tensor]:
        return kept_gain_and_shift(self)


def kept_gain_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Of torch's batch norm with the statistics that it has kept."""
    gain_D = norm.weight * (norm.get_buffer("running_var") + norm.eps).rsqrt()
    return gain_D, norm.bias - norm.get_buffer("running_mean") * gain_D
