"""A mixture of experts in which every token goes to one.

Idea     Parameters grow with the number of experts while the work per token stays that of one.
Paper    Fedus et al. 2021, "Switch Transformers", sec. 2.
Differs  A routing group is one image, where the paper's is all tokens of a device: what becomes of an image does
         not depend on its neighbours in the batch. No noise is put on the router's input. The capacity factor is
         the same in training and inference.
Shapes   B images, N tokens, D width, E experts, C tokens that an expert takes of one image, M hidden width.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mlps import TokenMlp
from paretovit.zoo.tokens import Layout, Tokens


class Switch(TokenMlp):
    """The MLP of the likeliest of `experts` for each token, times its probability.

    Of one image an expert takes `capacity_factor` times its fair share of tokens, rounded up, in their order;
    what is too much gets zeros, so that only the residual carries it on. In training mode the load-balancing
    loss of the paper (eq. 4, without its factor alpha: the recipe weighs it) is added to
    `tokens.aux["switch_balance"]`; it is 1 where all experts are used alike. With one expert and a factor of 1
    this is the plain MLP.

    Raises `UserError` for less than one expert, or a capacity factor that is not positive.
    """

    family = "specialized parameters"
    alone = False  # masked tokens would take seats

    def __init__(
        self,
        dim: int,
        layout: Layout,
        *,
        experts: int = 8,
        capacity_factor: float = 1.25,
        ratio: float = 4.0,
        hidden: int | None = None,
    ) -> None:
        super().__init__(dim, layout)
        if experts < 1 or capacity_factor <= 0:
            raise UserError(f"switch: needs an expert and a capacity above 0, got {experts=}, {capacity_factor=}")
        self.experts, self.capacity_factor = experts, capacity_factor
        self.hidden = round(dim * ratio) if hidden is None else hidden
        self.router = nn.Linear(dim, experts, bias=False)
        self.weight1 = nn.Parameter(torch.empty(experts, dim, self.hidden))
        self.bias1 = nn.Parameter(torch.zeros(experts, 1, self.hidden))
        self.weight2 = nn.Parameter(torch.empty(experts, self.hidden, dim))
        self.bias2 = nn.Parameter(torch.zeros(experts, 1, dim))
        for weight in (self.weight1, self.weight2):
            trunc_normal_(weight, std=0.02)

    def capacity(self, num_tokens: int) -> int:
        """Tokens that an expert takes of an image of so many."""
        share = self.capacity_factor * num_tokens / self.experts
        return min(num_tokens, math.ceil(share - 1e-9))  # 1.1 x 80 / 8 is a hair above 11, and must not be 12

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        E, C = self.experts, self.capacity(N)
        probability_BNE = self._route(tokens.x)
        gate_BN, expert_BN = probability_BNE.max(dim=-1)
        chosen_BNE = F.one_hot(expert_BN, E)
        if self.training:
            self._add_balance(tokens, probability_BNE, chosen_BNE)

        # Where a token goes: to the next free seat of its expert, or, when all are taken, to the seat E * C that
        # nobody looks at. Shapes do not depend on the routing, so this compiles, and runs on tensors without storage.
        seat_BN = chosen_BNE.cumsum(dim=1).gather(2, expert_BN.unsqueeze(-1)).squeeze(-1) - 1
        seat_BN1 = torch.where(seat_BN < C, expert_BN * C + seat_BN, E * C).unsqueeze(-1)
        seats = tokens.x.new_zeros(B, E * C + 1, D).scatter(1, seat_BN1.expand(-1, -1, D), tokens.x)
        seats = seats[:, :-1].unflatten(1, (E, C)).transpose(0, 1).flatten(1, 2)  # (E, B * C, D)
        inner = F.gelu(torch.baddbmm(self.bias1, seats, self.weight1))
        worked = torch.baddbmm(self.bias2, inner, self.weight2).unflatten(1, (B, C)).transpose(0, 1).flatten(1, 2)
        worked = F.pad(worked, (0, 0, 0, 1))  # what lies on the last seat is zeros
        return worked.gather(1, seat_BN1.expand(-1, -1, D)) * gate_BN.unsqueeze(-1).to(worked.dtype)

    def _route(self, x_BND: Tensor) -> Tensor:
        """Probability of each expert (B, N, E), in single precision at least even under autocast (paper, sec. 2.4)."""
        device, dtype = x_BND.device.type, torch.promote_types(x_BND.dtype, torch.float32)
        exactly = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
        with exactly:
            return F.linear(x_BND.to(dtype), self.router.weight.to(dtype)).softmax(-1)

    def _add_balance(self, tokens: Tokens, probability_BNE: Tensor, chosen_BNE: Tensor) -> None:
        used_E = chosen_BNE.to(probability_BNE.dtype).mean((0, 1))
        loss = self.experts * (used_E * probability_BNE.mean((0, 1))).sum()
        tokens.aux["switch_balance"] = tokens.aux["switch_balance"] + loss if "switch_balance" in tokens.aux else loss

    def reference(self, tokens: Tokens) -> Tensor:
        out = torch.zeros_like(tokens.x)
        for image in range(len(tokens.x)):
            taken = [0] * self.experts
            for i, token in enumerate(tokens.x[image]):
                probability = (self.router.weight @ token).softmax(0)
                e = int(probability.argmax())
                taken[e] += 1
                if taken[e] <= self.capacity(tokens.x.shape[1]):
                    inner = token @ self.weight1[e] + self.bias1[e, 0]
                    gelu = inner * 0.5 * (1 + (inner / 2**0.5).erf())
                    out[image, i] = probability[e] * (gelu @ self.weight2[e] + self.bias2[e, 0])
        return out

    def macs(self) -> int:
        """The router, and two maps of every seat, taken or not."""
        n = self.layout.num_tokens
        return n * self.dim * self.experts + 2 * self.experts * self.capacity(n) * self.dim * self.hidden
