"""The mean of the patch tokens speaks for the image."""

from __future__ import annotations

from torch import Tensor

from paretovit.zoo.readouts import Readout
from paretovit.zoo.tokens import Tokens


class Mean(Readout):
    """The mean of the patch tokens; a token that stands for s patches counts s times.

    The final norm comes after the mean, as in timm's `global_pool="avg"`, unless `norm_first`.
    """

    def __init__(self, dim: int, *, norm_first: bool = False) -> None:
        super().__init__(dim)
        self.norm_first = norm_first

    def forward(self, tokens: Tokens) -> Tensor:
        patches = tokens.x[:, tokens.prefix :]
        if tokens.size is None:
            return patches.mean(1)
        size_BN1 = tokens.size[:, tokens.prefix :, None]
        return (patches * size_BN1).sum(1) / size_BN1.sum(1)
