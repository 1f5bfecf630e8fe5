"""Attention among tokens that lie in the same cluster, with clusters learned on the way.

Idea     A query's weight goes to the keys that point where it points. Directions are clustered, each cluster takes
         the tokens nearest to its centre, and only these hear each other: with sqrt(N) clusters the cost is N^1.5.
Paper    Roy et al. 2020, "Efficient Content-Based Sparse Attention with Routing Transformers", sec. 4 and algorithm 1.
Differs  As in the usual package directions are vectors over their length (the paper's layer norm also takes off the
         mean), and queries meet keys as they are, not normed: one cluster of all tokens is plain attention. Centres
         move to means, not sums, of what is nearest to them, and stay of length 1. Every head is routed.
Shapes   B images, N tokens, D width, H heads, K width per head, C clusters, W tokens in a cluster,
         P parts: the heads of queries, then those of keys; T = B N, M = B H C W.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._chosen import added_up, exactly, rows_of_heads
from paretovit.zoo.mixers._softmax import attend_among_few
from paretovit.zoo.tokens import Layout, Tokens


class Routing(Mixer):
    """Softmax attention inside clusters: of `window` queries each, to the `window` keys nearest to its centre.

    A token that several clusters take gets the mean of what it heard in each; one that no cluster takes gets
    zeros, so that only the residual carries it on. `clusters=None` means the root of N, rounded; `window=None` an
    equal share of the tokens, rounded up.

    In training mode the centres, one set per head, follow their tokens as `decay` says, and the mean squared
    distance of queries and keys to their nearest centre is added to `tokens.aux["routing_commitment"]`.
    """

    family = "sparse attention"
    rotates = True
    trials = ({"clusters": 1}, {"clusters": 4, "window": 5})
    centers: Tensor

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        clusters: int | None = None,
        window: int | None = None,
        decay: float = 0.999,
    ) -> None:
        super().__init__(dim, heads, layout)
        n = layout.num_tokens
        if min(1 if count is None else count for count in (clusters, window)) < 1:
            raise UserError(f"routing: needs a cluster and a token in it, got {clusters=}, {window=}")
        if not 0 <= decay <= 1:
            raise UserError(f"routing: decay must be between 0 and 1, got {decay}")
        self.head_dim = head_dim_of(dim, heads, None)
        self.clusters = max(1, round(n**0.5)) if clusters is None else clusters
        self.window = min(n, -(-n // self.clusters) if window is None else window)
        self.decay = decay
        self.qk, self.v = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("centers", F.normalize(torch.randn(heads, self.clusters, self.head_dim), dim=-1))

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        H, K, C, W = self.heads, self.head_dim, self.clusters, self.window
        with exactly(tokens.x):
            qk_BNPK = self.qk(tokens.x.to(self.qk.weight.dtype)).view(B, N, 2 * H, K)
            if self.rotation is not None:
                turned = self.rotated(tokens, *qk_BNPK.transpose(1, 2).chunk(2, dim=1))
                qk_BNPK = torch.cat(turned, dim=1).transpose(1, 2)
            qk_TPK = qk_BNPK.flatten(0, 1)
            length_TP = qk_TPK.norm(dim=-1).clamp(min=1e-12)
            near_PCT = self._nearness(qk_TPK.detach(), length_TP.detach())  # what is chosen has no gradient
            index_PCBW = near_PCT.unflatten(2, (B, N)).topk(W, dim=-1, sorted=False).indices
            if self.training:
                self._learn(tokens, qk_TPK, length_TP, near_PCT.max(1).indices.T)
        v_BNHK = self.v(tokens.x).view(B, N, H, K)
        at_PBCW = index_PCBW.transpose(1, 2) + N * torch.arange(B, device=index_PCBW.device).view(-1, 1, 1)
        q_at_HBCW, k_at_HBCW = at_PBCW.chunk(2)
        qk = qk_BNPK.reshape(-1, K).index_select(0, rows_of_heads(at_PBCW)).to(v_BNHK.dtype)
        v = v_BNHK.view(-1, K).index_select(0, rows_of_heads(k_at_HBCW))
        q, k, v = (part.view(H * B, C, W, K) for part in (*qk.chunk(2), v))
        out_MK = attend_among_few(q, k, v).reshape(-1, K)
        rows_M = rows_of_heads(q_at_HBCW)
        heard_BNHK = added_up(out_MK, rows_M, B * N * H).view(B, N, H, K)
        times_BNH1 = added_up(torch.ones_like(out_MK[:, 0]), rows_M, B * N * H).view(B, N, H, 1)
        return self.proj((heard_BNHK / times_BNH1.clamp(min=1)).view(B, N, D))

    def _nearness(self, qk_TPK: Tensor, length_TP: Tensor) -> Tensor:
        """Cosine of the angle between each centre and the queries, then the keys, (2 H, C, T)."""
        # qk turned is a view: one product per part over the tokens of all images
        product_PCT = self.centers.to(qk_TPK.dtype).repeat(2, 1, 1) @ qk_TPK.permute(1, 2, 0)
        return product_PCT.div_(length_TP.T.unsqueeze(1))

    def _learn(self, tokens: Tokens, qk_TPK: Tensor, length_TP: Tensor, nearest_TP: Tensor) -> None:
        H, C, K = self.centers.shape
        heads_P = torch.arange(H, device=nearest_TP.device).repeat(2)
        rows_M = (nearest_TP + C * heads_P).flatten()  # of the centres of all heads
        centers_TPK = self.centers.view(-1, K).index_select(0, rows_M).view_as(qk_TPK)
        cosine_TP = (qk_TPK * centers_TPK).sum(-1) / length_TP
        tokens.add_loss("routing_commitment", (2 - 2 * cosine_TP).mean())  # |a - b|^2 where both have length 1
        with torch.no_grad():
            directions_MK = (qk_TPK / length_TP.unsqueeze(-1)).flatten(0, 1)
            sums_HCK = added_up(directions_MK, rows_M, H * C).view(H, C, K)
            count_HC1 = added_up(torch.ones_like(directions_MK[:, 0]), rows_M, H * C).view(H, C, 1)
            means = torch.where(count_HC1 > 0, sums_HCK / count_HC1.clamp(min=1), self.centers)
            self.centers.copy_(F.normalize(self.decay * self.centers + (1 - self.decay) * means, dim=-1))

    def reference(self, tokens: Tokens) -> Tensor:
        B, N, _ = tokens.x.shape
        q, k = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qk(tokens.x).chunk(2, -1))
        q, k = self.rotated(tokens, q, k)
        v = self.v(tokens.x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        out = torch.zeros_like(v)
        for image in range(B):
            for head in range(self.heads):
                qh, kh, vh = q[image, head], k[image, head], v[image, head]
                heard: list[list[Tensor]] = [[] for _ in range(N)]
                for center in self.centers[head]:

                    def nearest(rows: Tensor, center: Tensor = center) -> list[int]:
                        near = [float(row @ center / row.norm()) for row in rows]
                        return sorted(range(N), key=near.__getitem__, reverse=True)[: self.window]

                    keys = nearest(kh)
                    for i in nearest(qh):
                        heard[i].append((kh[keys] @ qh[i] / self.head_dim**0.5).softmax(0) @ vh[keys])
                for i in range(N):
                    if heard[i]:
                        out[image, head, i] = torch.stack(heard[i]).mean(0)
        return self.proj(out.transpose(1, 2).flatten(2))

    def macs(self) -> int:
        n, d, c, w = self.layout.num_tokens, self.dim, self.clusters, self.window
        return 4 * n * d * d + 2 * n * c * d + 2 * c * w * w * d
