"""Class tokens that hear of patches which they did not go with.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", sec. 3.3 and fig. 3.4b:
         the CLS mixer behind a stage of token mixers that work on the grid of patches alone.
Differs  The thesis prints no sizes. As its two layers are dense, the sum over tokens has the same weights in all
         channels; both have biases. With several class tokens each has a sum of its own.
Shapes   B images, N tokens of which the first P are class tokens, M the others, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.tokens import Layout


class ClassMixer(nn.Module):
    """Weighted sums of all tokens, one for each class token, and a linear map of their channels.

    `layout` is that of all tokens, the class tokens included.
    """

    def __init__(self, dim: int, layout: Layout) -> None:
        super().__init__()
        self.dim, self.layout = dim, layout
        self.over_tokens = nn.Linear(layout.num_tokens, layout.prefix)
        self.over_channels = nn.Linear(dim, dim)

    def forward(self, class_BPD: Tensor, patches_BMD: Tensor) -> Tensor:
        """The new class tokens (B, P, D)."""
        tokens_BND = torch.cat((class_BPD, patches_BMD), dim=1)
        return self.over_channels(self.over_tokens(tokens_BND.mT).mT)

    def macs(self) -> int:
        """Multiply-accumulates of one image; closed form."""
        return self.layout.prefix * self.dim * (self.layout.num_tokens + self.dim)
