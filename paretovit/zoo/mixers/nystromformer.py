"""Softmax attention by way of a few landmarks.

Idea     Attention of N tokens to N tokens is a smooth matrix: attention to and from m landmark tokens, joined by
         the inverse of the landmarks' attention to each other, says nearly the same at a cost linear in N.
Paper    Xiong et al. 2021, "Nyströmformer", eqs. 12 to 14 and algorithm 1.
Differs  The iterative inverse starts from maxima of each matrix alone; maxima over the batch, as in the published
         code, would let images hear of each other. As there, m >= N means plain attention.
Shapes   B images, N tokens, D width, H heads, K width per head, I = H K, M landmarks, R rows: the tokens and those put
         before them.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._segments import segment_means
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class Nystromformer(Mixer):
    """Attention of every token to `landmarks` means of consecutive tokens, and of those to every token.

    Where the landmarks do not divide the tokens, the first segments are one token shorter than the last; with `pad`
    empty rows before the tokens fill them up instead, and are heard like tokens. With as many landmarks as rows it is
    plain attention. `conv` is the (odd) kernel of a depthwise convolution along the tokens that adds the values of
    neighbours, 0 for none; in images neighbours in the sequence are not the neighbours on the grid, so it is off
    unless asked for. `iterations` are those of the inverse.

    With `fused=False` the weights (B, H, N, M) are made and kept, the inverse is multiplied to those of the queries,
    and empty rows are carried to the end, as in the package nystrom-attention: the same numbers at another cost.
    """

    family = "low-rank attention"
    rotates = True
    trials = (
        {"landmarks": 4},
        {"landmarks": 3, "conv": 5, "iterations": 2},
        {"landmarks": 4, "conv": 5, "pad": True, "qkv_bias": False, "head_dim": 6},
        {"landmarks": 4, "conv": 5, "pad": True, "fused": False},
    )

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        landmarks: int = 64,
        conv: int = 0,
        iterations: int = 6,
        pad: bool = False,
        head_dim: int | None = None,
        qkv_bias: bool = True,
        fused: bool = True,
    ) -> None:
        super().__init__(dim, heads, layout)
        if landmarks < 1:
            raise UserError(f"nystromformer: landmarks must be at least 1, got {landmarks}")
        if conv < 0 or (conv and conv % 2 == 0):
            raise UserError(f"nystromformer: conv is an odd kernel size, or 0 for none, got {conv}")
        if iterations < 1:
            raise UserError(f"nystromformer: iterations must be at least 1, got {iterations}")
        self.head_dim = head_dim_of(dim, heads, head_dim)
        inner = heads * self.head_dim
        self.landmarks, self.kernel = min(landmarks, layout.num_tokens), conv
        self.iterations, self.fused = iterations, fused
        self.front = -layout.num_tokens % self.landmarks if pad else 0
        self.qkv = nn.Linear(dim, 3 * inner, bias=qkv_bias)
        self.proj = nn.Linear(inner, dim)
        self.conv = None
        if conv:
            self.conv = nn.Conv2d(heads, heads, (conv, 1), padding=(conv // 2, 0), groups=heads, bias=False)

    def forward(self, tokens: Tokens) -> Tensor:
        x_BRD = F.pad(tokens.x, (0, 0, self.front, 0)) if self.front else tokens.x
        B, R, _ = x_BRD.shape
        qkv = self.qkv(x_BRD)
        q_BHRK, k_BHRK, v_BHRK = qkv.view(B, R, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q_BHRK, k_BHRK = self.rotated(tokens, q_BHRK, k_BHRK)
        dropped = self.front if self.fused else 0  # empty rows need not ask, once they are in the landmarks
        asking = q_BHRK[:, :, dropped:]
        if self.landmarks == R:
            out_BHRK = attention(asking, k_BHRK, v_BHRK, fused=self.fused)
        else:
            means = (segment_means(part, self.landmarks) for part in (q_BHRK, k_BHRK))
            out_BHRK = nystrom_attention(asking, k_BHRK, v_BHRK, *means, iterations=self.iterations, fused=self.fused)
        out_BRI = out_BHRK.transpose(1, 2).flatten(2)
        if self.conv is not None:
            out_BRI = out_BRI + self._neighbours(qkv[..., -out_BRI.shape[-1] :])[:, dropped:]
        return self.proj(out_BRI)[:, self.front - dropped :]

    def _neighbours(self, v_BRI: Tensor) -> Tensor:
        """The convolution along the tokens, of rows with their channels side by side.

        As a depthwise one of I channels, each with its head's weights: of H channels, K columns wide, which is what
        the weights are made for, a CPU takes 4 to 20 times as long.
        """
        assert self.conv is not None
        weight_I1R1 = self.conv.weight.repeat_interleave(self.head_dim, dim=0)
        map_BIR1 = as_map(v_BRI, (v_BRI.shape[1], 1))
        return as_tokens(F.conv2d(map_BIR1, weight_I1R1, padding=self.conv.padding, groups=len(weight_I1R1)))

    def reference(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        M, K, R = self.landmarks, self.head_dim, self.front + N
        short, long = divmod(R, M)
        lengths = [short + (segment >= M - long) for segment in range(M)]
        rows = torch.cat((tokens.x.new_zeros(B, self.front, D), tokens.x), dim=1)
        q, k, v = (part.unflatten(-1, (self.heads, K)).transpose(1, 2) for part in self.qkv(rows).chunk(3, dim=-1))
        q, k = self.rotated(tokens, q, k)
        images = []
        for image in range(B):
            outs = []
            for head in range(self.heads):
                qh, kh, vh = q[image, head], k[image, head], v[image, head]
                if M == R:
                    out = (qh @ kh.T / K**0.5).softmax(-1) @ vh
                else:
                    ql = torch.stack([segment.mean(0) for segment in qh.split(lengths)])
                    kl = torch.stack([segment.mean(0) for segment in kh.split(lengths)])
                    a = (ql @ kl.T / K**0.5).softmax(-1)
                    one = torch.eye(M).to(a)
                    z = a.T / (a.sum(0).max() * a.sum(1).max())
                    for _ in range(self.iterations):
                        z = z @ (13 * one - a @ z @ (15 * one - a @ z @ (7 * one - a @ z))) / 4
                    out = (qh @ kl.T / K**0.5).softmax(-1) @ z @ (ql @ kh.T / K**0.5).softmax(-1) @ vh
                if self.conv is not None:
                    half = self.kernel // 2
                    padded = torch.cat((vh.new_zeros(half, K), vh, vh.new_zeros(half, K)))
                    out = out + sum(self.conv.weight[head, 0, i, 0] * padded[i : i + R] for i in range(self.kernel))
                outs.append(out[self.front :])
            images.append(torch.cat(outs, dim=-1))
        return self.proj(torch.stack(images))

    def macs(self) -> int:
        m, inner = self.landmarks, self.heads * self.head_dim
        rows = self.front + self.layout.num_tokens
        asking = self.layout.num_tokens if self.fused else rows
        attended = 2 * asking * rows * inner
        if m < rows:
            joined = m * m * inner if self.fused else self.heads * asking * m * m
            inverted = m * m * inner + 4 * self.iterations * m**3 * self.heads
            attended = 2 * (rows + asking) * m * inner + inverted + joined
        return (3 * rows + asking) * self.dim * inner + attended + rows * inner * self.kernel


def attention(q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, *, fused: bool = True) -> Tensor:
    """Softmax attention; its weights (B, H, N, M) are made and kept unless `fused`."""
    if fused:
        return attend(q_BHNK, k_BHMK, v_BHMK)
    return weights(q_BHNK, k_BHMK) @ v_BHMK


def weights(q_BHNK: Tensor, k_BHMK: Tensor) -> Tensor:
    """Softmax attention's weights (B, H, N, M)."""
    return (q_BHNK * q_BHNK.shape[-1] ** -0.5 @ k_BHMK.mT).softmax(-1)


def nystrom_attention(
    q_BHNK: Tensor,
    k_BHNK: Tensor,
    v_BHNK: Tensor,
    q_BHMK: Tensor,
    k_BHMK: Tensor,
    *,
    iterations: int = 6,
    fused: bool = True,
) -> Tensor:
    """Attention of `q` to `k` through the landmarks `q_BHMK`, `k_BHMK` (paper, eq. 13).

    Two of its three factors only ever meet values, so both can be fused attentions that keep no N x M matrix.
    """
    heard_BHMK = attention(q_BHMK, k_BHNK, v_BHNK, fused=fused)
    inverse_BHMM = pseudo_inverse(weights(q_BHMK, k_BHMK), iterations).to(heard_BHMK.dtype)
    if fused:
        return attention(q_BHNK, k_BHMK, inverse_BHMM @ heard_BHMK)
    return weights(q_BHNK, k_BHMK) @ inverse_BHMM @ heard_BHMK


def pseudo_inverse(a_BHMM: Tensor, iterations: int = 6) -> Tensor:
    """The Moore-Penrose inverse by steps of the paper's eq. 14, each matrix on its own.

    Half precision would lose what the iteration gains: it runs in single precision at least, and autocast does
    not reach it.
    """
    kind = a_BHMM.device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        a = a_BHMM.flatten(0, 1).to(torch.promote_types(a_BHMM.dtype, torch.float32))
        one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).unsqueeze(0)
        # rows of a softmax sum to 1, so only the columns' sums are needed
        z = a.mT / a.sum(-2).amax(-1)[:, None, None]
        for _ in range(iterations):
            az = a @ z
            inner = torch.baddbmm(15 * one, az, 7 * one - az, alpha=-1)
            z = 0.25 * z @ torch.baddbmm(13 * one, az, inner, alpha=-1)
        return z.view_as(a_BHMM)
