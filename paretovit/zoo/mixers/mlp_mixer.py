"""A perceptron along the tokens, the same for every channel.

Paper    Tolstikhin et al. 2021, "MLP-Mixer: An all-MLP Architecture for Vision", eq. 1, token mixing.
Shapes   B images, N tokens, D width, F hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Layout, Tokens


class MlpMixer(Mixer):
    """N to `hidden`, GELU, back to N, for each channel by itself.

    `hidden` is half the width of a token unless told otherwise, as in the paper, or `ratio` x N. `heads` is not used.
    """

    family = "non-attention shuffling"
    takes_prefix = False
    trials = ({"ratio": 1.0}, {"hidden": 7})

    def __init__(
        self, dim: int, heads: int, layout: Layout, *, hidden: int | None = None, ratio: float | None = None
    ) -> None:
        super().__init__(dim, heads, layout)
        if hidden is not None and ratio is not None:
            raise UserError(f"mlp_mixer: state hidden or ratio, not both; got {hidden} and {ratio}")
        tokens = layout.num_tokens
        if hidden is None:
            hidden = dim // 2 if ratio is None else round(ratio * tokens)
        if hidden < 1:
            raise UserError(f"mlp_mixer: hidden must be at least 1, got {hidden}")
        self.hidden = hidden
        self.fc1, self.fc2 = nn.Linear(tokens, hidden), nn.Linear(hidden, tokens)

    def forward(self, tokens: Tokens) -> Tensor:
        # the maps multiply from the left: no copy is turned, neither of the tokens nor of what comes out
        inner_BFD = F.gelu(_from_left(self.fc1, tokens.x))
        return _from_left(self.fc2, inner_BFD)

    def reference(self, tokens: Tokens) -> Tensor:
        channels = []
        for x_BN in tokens.x.unbind(-1):
            inner = x_BN @ self.fc1.weight.T + self.fc1.bias
            channels.append(inner * 0.5 * (1 + (inner / 2**0.5).erf()) @ self.fc2.weight.T + self.fc2.bias)
        return torch.stack(channels, dim=-1)

    def macs(self) -> int:
        return 2 * self.layout.num_tokens * self.hidden * self.dim


def _from_left(linear: nn.Linear, x_BND: Tensor) -> Tensor:
    """The map along the tokens instead of the channels."""
    return torch.baddbmm(linear.bias.unsqueeze(1), linear.weight.expand(len(x_BND), -1, -1), x_BND)
