"""Layer norm that hands over to batch norm step by step, so that in the end no statistics are taken at inference.

Idea     Batch norm costs nothing at inference, as it folds into the linear map behind it, but transformers that start
         with it do not train; layer norm trains, but must look at every token. So one goes out as the other comes in.
Paper    Guo et al. 2024, "SLAB: Efficient Transformers with Simplified Linear Attention and Progressive
         Re-parameterized Batch Normalization", sec. 3.2.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.norms import Norm
from paretovit.zoo.norms.batch_norm import kept_gain_and_shift


class Prepbn(Norm):
    """share x LN(x) + (1 - share) x (BN(x) + eta x); the share falls to 0 in `steps` training passes, from 1 before.

    Outside training only the second term is left, whatever the share, as in the authors' code; with the statistics
    that were kept it is one gain and one shift per channel, which `zoo/fold.py` puts into the linear map behind it.

    Raises `UserError` for no steps.
    """

    repeatable = False
    left: Tensor

    def __init__(self, dim: int, *, steps: int = 300_000, eps: float = 1e-6) -> None:
        super().__init__()
        if steps < 1:
            raise UserError(f"prepbn: steps must be at least 1, got {steps}")
        self.steps = steps
        self.layer_norm = nn.LayerNorm(dim, eps=eps)
        self.batch_norm = nn.BatchNorm1d(dim)
        self.eta = nn.Parameter(torch.ones(1))
        self.register_buffer("left", torch.tensor(steps))

    def forward(self, x_BND: Tensor) -> Tensor:
        batch_normed = self.batch_norm(x_BND.flatten(0, -2)).view_as(x_BND) + self.eta * x_BND
        if not self.training:
            return batch_normed
        self.left.sub_(1).clamp_(min=0)
        share = self.left / self.steps  # below 1 from the first pass on, so that every parameter learns from it on
        return share * self.layer_norm(x_BND) + (1 - share) * batch_normed

    def gain_and_shift(self) -> tuple[Tensor, Tensor]:
        gain_D, shift_D = kept_gain_and_shift(self.batch_norm)
        return gain_D + self.eta, shift_D
