"""Attention among tokens that hash alike.

Idea     Softmax weights go to the keys nearest to the query. Random projections put near vectors in the same bucket
         more often than not; sorted by bucket, tokens need only hear those beside them, and a few rounds with other
         projections find who was missed.
Paper    Kitaev et al. 2020, "Reformer", sec. 2: queries are keys, chunks of sorted tokens look one chunk back,
         rounds are joined by their normalisers. Its reversible layers are no part of a mixer.
Differs  Logits are divided by the root of a head's width, and keys have length 1, as in the paper; in the authors' code
         that root is their length, which takes the division back. As in the usual package all of the two chunks is
         heard, whatever its bucket, and a pair that meets in two rounds counts twice. The first chunk of a round looks
         back to the last one of the same round. Projections are drawn when built, and again by `redraw`; all heads
         share them. Where many buckets are needed a token's bucket is made of two smaller hashes, as in the authors'
         code, else hashing itself would be quadratic.
Shapes   B images, N tokens, D width, H heads, K width per head, R rounds, M chunks, C tokens in a chunk, S = M x C
         slots, T keys that a chunk hears.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._chosen import exactly, take
from paretovit.zoo.tokens import Layout, Tokens

LOW = -1e4  # a token hears itself only if there is nobody else; half precision can say so
SINGLE_HASH = 64  # buckets that one hash makes; from there on two hashes share the work


class Reformer(Mixer):
    """Softmax attention of every token to the sorted tokens beside it, but not to itself, in `rounds` rounds.

    `chunk` is the most tokens of a chunk; all have as many, and the slots that the last leaves empty are not heard.
    There are twice as many buckets as chunks, as in the paper. Keys are the queries at length 1. Where a single
    chunk holds all tokens there is nothing to hash, and one round.
    """

    family = "sparse attention"
    rotates = True
    trials = ({"chunk": 8, "rounds": 3}, {"chunk": 2, "rounds": 2}, {"chunk": 15, "rounds": 1})
    projections: Tensor | None
    unheard: Tensor

    def __init__(self, dim: int, heads: int, layout: Layout, *, chunk: int = 32, rounds: int = 4) -> None:
        super().__init__(dim, heads, layout)
        if chunk < 1 or rounds < 1:
            raise UserError(f"reformer: needs a token in a chunk and a round, got {chunk=}, {rounds=}")
        n = layout.num_tokens
        self.head_dim = head_dim_of(dim, heads, None)
        self.chunks = -(-n // chunk)
        self.chunk = -(-n // self.chunks)
        self.rounds = rounds if self.chunks > 1 else 1
        self.buckets = bucket_factors(2 * self.chunks) if self.chunks > 1 else ()
        self.qk, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("projections", self._drawn() if self.buckets else None)

        # what a slot does not hear, for all images, heads and rounds: itself, nearly, and empty slots, not at all
        empty = torch.zeros(self.chunks, 1, self.chunk)
        empty[-1, :, n - (self.chunks - 1) * self.chunk :] = float("-inf")
        unheard = empty + LOW * torch.eye(self.chunk)
        if self.chunks > 1:
            back = empty.roll(1, dims=0).expand(-1, self.chunk, -1)
            unheard = torch.cat((back, unheard), dim=-1)
        self.register_buffer("unheard", unheard, persistent=False)

    def _drawn(self) -> Tensor:
        return torch.randn(self.head_dim, self.rounds * sum(self.buckets) // 2)

    @torch.no_grad()
    def redraw(self) -> None:
        """Other random projections, in place."""
        if self.projections is not None:
            self.projections.copy_(self._drawn())

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, _ = tokens.x.shape
        H, K, R, M, C = self.heads, self.head_dim, self.rounds, self.chunks, self.chunk
        with exactly(tokens.x):
            qk_BNHK = self.qk(tokens.x.to(self.qk.weight.dtype)).view(B, N, H, K)
            if self.rotation is not None:
                (turned,) = self.rotated(tokens, qk_BNHK.transpose(1, 2))
                qk_BNHK = turned.transpose(1, 2)
            order_BHRN = self._order(qk_BNHK)
            keys_BNHK = F.normalize(qk_BNHK, dim=-1) * K**-0.5
        v_BNHK = self.v(tokens.x).view(B, N, H, K)

        slots = F.pad(order_BHRN, (0, M * C - N)).view(B, H, R, M, C)
        heard = slots if M == 1 else torch.cat((slots.roll(1, dims=3), slots), dim=-1)
        q_GCK = take(qk_BNHK, slots.flatten(2)).view(-1, C, K)
        k_GTK, v_GTK = (take(part, heard.flatten(2)).view(B * H * R * M, -1, K) for part in (keys_BNHK, v_BNHK))
        logits = (q_GCK @ k_GTK.mT).view(-1, M, C, k_GTK.shape[1])
        unheard = self.unheard.to(k_GTK.dtype)
        # nothing else reads the logits: fresh memory costs more than the sums, but more still a gradient through a view
        logits = logits + unheard if logits.requires_grad else logits.add_(unheard)
        largest = logits.detach().amax(-1, keepdim=True)
        weights = logits.sub_(largest).exp_()
        total = weights.sum(-1, keepdim=True)
        out = weights.to(v_GTK.dtype).flatten(0, 1) @ v_GTK
        return self._joined(out.view(B, H, R, M * C, K), largest.view(B, H, R, -1), total.view(B, H, R, -1), order_BHRN)

    def _order(self, qk_BNHK: Tensor) -> Tensor:
        """Tokens sorted by bucket, then by place, (B, H, R, N)."""
        B, N, H, _ = qk_BNHK.shape
        place = torch.arange(N, device=qk_BNHK.device)
        if self.projections is None:
            return place.expand(B, H, 1, N)
        dots = (qk_BNHK.detach() @ self.projections.to(qk_BNHK.dtype)).unflatten(-1, (self.rounds, -1))
        bucket_BNHR = torch.zeros_like(dots[..., 0], dtype=torch.long)
        for count, part in zip(self.buckets, dots.split([count // 2 for count in self.buckets], dim=-1), strict=True):
            # the largest of (part, -part), which is not written out
            largest = part.abs().argmax(-1, keepdim=True)
            bucket_BNHR = bucket_BNHR * count + (largest + (part.gather(-1, largest) < 0) * (count // 2)).squeeze(-1)
        return (bucket_BNHR.permute(0, 2, 3, 1) * N + place).argsort(-1)

    def _joined(self, out_BHRSK: Tensor, largest_BHRS: Tensor, total_BHRS: Tensor, order_BHRN: Tensor) -> Tensor:
        """Weighted sums of each round and the totals of their weights, in one softmax over all rounds, (B, N, D)."""
        B, H, R, N = order_BHRN.shape
        S, K = out_BHRSK.shape[3:]
        slot_BHRN = order_BHRN.argsort(-1)
        largest_BHRN, total_BHRN = largest_BHRS.gather(-1, slot_BHRN), total_BHRS.gather(-1, slot_BHRN)
        share_BHRN = (largest_BHRN - largest_BHRN.amax(2, keepdim=True)).exp()
        share_BHRN = share_BHRN / (share_BHRN * total_BHRN).sum(2, keepdim=True)
        # rows of the sums seen as a table, read in the order (image, token, head, round) that the output needs
        round_R1 = torch.arange(B * H * R, device=order_BHRN.device).view(B, H, R, 1) * S
        rows_BNHR = (round_R1 + slot_BHRN).permute(0, 3, 1, 2)
        out_BNHRK = out_BHRSK.reshape(-1, K).index_select(0, rows_BNHR.flatten()).view(B, N, H, R, K)
        share_BNHR1 = share_BHRN.permute(0, 3, 1, 2).unsqueeze(-1).to(out_BNHRK.dtype)
        return self.proj((out_BNHRK * share_BNHR1).sum(3).flatten(2))

    def reference(self, tokens: Tokens) -> Tensor:
        N = tokens.x.shape[1]
        qk, v = (linear(tokens.x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in (self.qk, self.v))
        (qk,) = self.rotated(tokens, qk)
        out = torch.zeros_like(v)
        for image in range(len(v)):
            for head in range(self.heads):
                q, vh = qk[image, head], v[image, head]
                k = q / q.norm(dim=1, keepdim=True)
                met: list[list[int]] = [[] for _ in range(N)]
                for r in range(self.rounds):
                    order = sorted(range(N), key=lambda i, q=q, r=r: (self._bucket(q[i], r), i))  # type: ignore[misc]
                    chunks = [order[start : start + self.chunk] for start in range(0, N, self.chunk)]
                    for m, chunk in enumerate(chunks):
                        for i in chunk:
                            met[i] += chunk + (chunks[m - 1] if len(chunks) > 1 else [])
                for i in range(N):
                    heard = [j for j in met[i] if j != i] or [i]
                    out[image, head, i] = (k[heard] @ q[i] / self.head_dim**0.5).softmax(0) @ vh[heard]
        return self.proj(out.transpose(1, 2).flatten(2))

    def _bucket(self, vector: Tensor, r: int) -> int:
        """The bucket of a query in a round, for `reference`."""
        bucket, start = 0, r * sum(self.buckets) // 2
        for count in self.buckets:
            assert self.projections is not None
            dots = [float(vector @ self.projections[:, start + i]) for i in range(count // 2)]
            both = dots + [-dot for dot in dots]
            bucket, start = bucket * count + both.index(max(both)), start + count // 2
        return bucket

    def macs(self) -> int:
        n, d, slots = self.layout.num_tokens, self.dim, self.chunks * self.chunk
        keys = self.chunk * min(2, self.chunks)
        hashing = n * d * self.rounds * sum(self.buckets) // 2
        return 3 * n * d * d + hashing + 2 * self.rounds * slots * keys * d


def bucket_factors(buckets: int) -> tuple[int, ...]:
    """Sizes of the hashes, even as each must be, that together make at least so many buckets."""
    if buckets <= SINGLE_HASH:
        return (buckets,)
    first = 2 * math.ceil(buckets**0.5 / 2)
    return first, 2 * math.ceil(buckets / first / 2)
