"""Full attention for the few queries that have something to choose; the others get the mean.

Idea     Most queries weigh all keys alike, so the mean of the values is their answer. Which do not is seen from a
         few keys drawn at random: there the largest product stands far above the mean.
Paper    Zhou et al. 2020, "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting",
         "Efficient Self-attention Mechanism" (sec. 3.2 of the preprint): ProbSparse self-attention.
Differs  The sample of keys is drawn when built, and again by `redraw`; the published code draws one for each query
         in every pass, also at test time.
Shapes   B images, N tokens, D width, H heads, K width per head, S sampled keys, U active queries.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._chosen import exactly, take
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens


class Informer(Mixer):
    """Softmax attention of the `factor` ceil(ln N) most decided queries of each head, the mean of all values for
    the others.

    How decided a query is, is its largest product less its mean one with as many keys, which all queries and heads
    share. With as many active queries as tokens this is plain attention.
    """

    family = "sparse attention"
    rotates = True
    trials = ({"factor": 1}, {"factor": 100})
    sample: Tensor

    def __init__(self, dim: int, heads: int, layout: Layout, *, factor: int = 5) -> None:
        super().__init__(dim, heads, layout)
        if factor < 1:
            raise UserError(f"informer: factor must be at least 1, got {factor}")
        n = layout.num_tokens
        self.head_dim = head_dim_of(dim, heads, None)
        self.active = min(n, factor * max(1, math.ceil(math.log(n))))
        self.qk, self.v = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("sample", self._drawn())

    def _drawn(self) -> Tensor:
        return torch.randperm(self.layout.num_tokens)[: self.active]

    def redraw(self) -> None:
        """Another sample of keys, in place."""
        self.sample.copy_(self._drawn())

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        H, K, U = self.heads, self.head_dim, self.active
        with exactly(tokens.x):
            qk_BNPK = self.qk(tokens.x.to(self.qk.weight.dtype)).view(B, N, 2 * H, K)
            q_BHNK, k_BHNK = self.rotated(tokens, *qk_BNPK.transpose(1, 2).chunk(2, dim=1))
            dots_BHNS = q_BHNK @ k_BHNK.index_select(2, self.sample).mT
            top_BHU = (dots_BHNS.amax(-1) - dots_BHNS.mean(-1)).topk(U, dim=-1, sorted=False).indices
        v_BNHK = self.v(tokens.x).view(B, N, H, K)
        q_BHUK = take(q_BHNK.transpose(1, 2), top_BHU).to(v_BNHK.dtype)
        out = attend(q_BHUK, k_BHNK.to(v_BNHK.dtype), v_BNHK.transpose(1, 2))

        # Only what differs from the mean is projected, head by head, and added where it belongs.
        mean_B1HK = v_BNHK.mean(1, keepdim=True)
        apart_HRK = (out.transpose(1, 2) - mean_B1HK).flatten(0, 1).transpose(0, 1)
        apart_HRD = apart_HRK @ self.proj.weight.view(D, H, K).permute(1, 2, 0)
        rows_BHU = top_BHU + N * torch.arange(B, device=top_BHU.device).view(-1, 1, 1)
        all_alike = self.proj(mean_B1HK.flatten(2)).expand(B, N, D).flatten(0, 1)
        mixed = all_alike.index_add(0, rows_BHU.permute(1, 0, 2).flatten(), apart_HRD.flatten(0, 1))
        return mixed.view(B, N, D)

    def reference(self, tokens: Tokens) -> Tensor:
        q, k = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qk(tokens.x).chunk(2, -1))
        q, k = self.rotated(tokens, q, k)
        v = self.v(tokens.x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        out = torch.zeros_like(v)
        for image in range(len(v)):
            for head in range(self.heads):
                qh, kh, vh = q[image, head], k[image, head], v[image, head]
                decided = []
                for query in qh:
                    products = [float(query @ kh[j]) for j in self.sample]
                    decided.append(max(products) - sum(products) / len(products))
                active = sorted(range(len(qh)), key=decided.__getitem__, reverse=True)[: self.active]
                for i in range(len(qh)):
                    weights = (kh @ qh[i] / self.head_dim**0.5).softmax(0)
                    out[image, head, i] = weights @ vh if i in active else vh.mean(0)
        return self.proj(out.transpose(1, 2).flatten(2))

    def macs(self) -> int:
        n, d, u = self.layout.num_tokens, self.dim, self.active
        return 3 * n * d * d + n * u * d + 2 * u * n * d + (1 + u) * d * d
