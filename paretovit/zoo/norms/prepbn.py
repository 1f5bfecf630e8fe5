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


class Prepbn(Norm):
    """share x LN(x) + (1 - share) x (BN(x) + eta x); the share falls to 0 in `steps` training passes, from 1 before.

    Outside training only the second term is left, whatever the share, as in the authors' code; with the statistics
    that were kept it is one gain and one shift per channel, which `folded` puts into a linear map.

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
        batch_normed = self.batch_norm(x_BND.flatten(0, 1)).view_as(x_BND) + self.eta * x_BND
        if not self.training:
            return batch_normed
        self.left.sub_(1).clamp_(min=0)
        share = self.left / self.steps  # below 1 from the first pass on, so that every parameter learns from it on
        return share * self.layer_norm(x_BND) + (1 - share) * batch_normed

    @torch.no_grad()
    def folded(self, linear: nn.Linear) -> nn.Linear:
        """One linear map that does what this norm, outside training, and then `linear` do."""
        norm = self.batch_norm
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        gain_D = norm.weight * (variance + norm.eps).rsqrt()
        shift_D = norm.bias - mean * gain_D
        both = nn.Linear(linear.in_features, linear.out_features)
        both.to(linear.weight)
        both.weight.copy_(linear.weight * (gain_D + self.eta))
        both.bias.copy_(linear.weight @ shift_D + (0 if linear.bias is None else linear.bias))
        return both
