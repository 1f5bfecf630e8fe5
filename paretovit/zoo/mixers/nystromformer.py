"""Softmax attention by way of a few landmarks.

Idea     Attention of N tokens to N tokens is a smooth matrix: attention to and from m landmark tokens, joined by
         the inverse of the landmarks' attention to each other, says nearly the same at a cost linear in N.
Paper    Xiong et al. 2021, "Nyströmformer", eqs. 12 to 14 and algorithm 1.
Differs  The iterative inverse starts from maxima of each matrix alone; maxima over the batch, as in the published
         code, would let images hear of each other. As there, m >= N means plain attention.
Shapes   B images, N tokens, D width, H heads, K width per head, M landmarks.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.tokens import Layout, Tokens

ITERATIONS = 6


class Nystromformer(Mixer):
    """Attention of every token to `landmarks` means of consecutive tokens, and of those to every token.

    Where the landmarks do not divide the tokens, the first segments are one token shorter than the last. With
    as many landmarks as tokens it is plain attention. `conv` is the (odd) kernel of a depthwise convolution
    along the tokens that adds the values of neighbours, 0 for none; in images neighbours in the sequence are
    not the neighbours on the grid, so it is off unless asked for.
    """

    family = "low-rank attention"
    trials = ({"landmarks": 4}, {"landmarks": 3, "conv": 5})

    def __init__(self, dim: int, heads: int, layout: Layout, *, landmarks: int = 64, conv: int = 0) -> None:
        super().__init__(dim, heads, layout)
        if landmarks < 1:
            raise UserError(f"nystromformer: landmarks must be at least 1, got {landmarks}")
        if conv < 0 or (conv and conv % 2 == 0):
            raise UserError(f"nystromformer: conv is an odd kernel size, or 0 for none, got {conv}")
        self.head_dim = head_dim_of(dim, heads, None)
        self.landmarks, self.kernel = min(landmarks, layout.num_tokens), conv
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.conv = None
        if conv:
            self.conv = nn.Conv2d(heads, heads, (conv, 1), padding=(conv // 2, 0), groups=heads, bias=False)

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        qkv_BNPHK = self.qkv(tokens.x).view(B, N, 3, self.heads, self.head_dim)
        q_BHNK, k_BHNK, v_BHNK = qkv_BNPHK.permute(2, 0, 3, 1, 4).unbind(0)
        if self.landmarks == N:
            out_BHNK = F.scaled_dot_product_attention(q_BHNK, k_BHNK, v_BHNK)
        else:
            means = segment_means(qkv_BNPHK[:, :, :2], self.landmarks)
            out_BHNK = nystrom_attention(q_BHNK, k_BHNK, v_BHNK, *means.permute(2, 0, 3, 1, 4).unbind(0))
        if self.conv is not None:
            out_BHNK = out_BHNK + self.conv(v_BHNK)
        return self.proj(out_BHNK.transpose(1, 2).reshape(B, N, D))

    def reference(self, tokens: Tokens) -> Tensor:
        B, N, _ = tokens.x.shape
        M, K = self.landmarks, self.head_dim
        short, long = divmod(N, M)
        lengths = [short + (segment >= M - long) for segment in range(M)]
        q, k, v = self.qkv(tokens.x).chunk(3, dim=-1)
        images = []
        for image in range(B):
            outs = []
            for head in range(self.heads):
                at = slice(head * K, (head + 1) * K)
                qh, kh, vh = q[image, :, at], k[image, :, at], v[image, :, at]
                if M == N:
                    out = (qh @ kh.T / K**0.5).softmax(-1) @ vh
                else:
                    ql = torch.stack([segment.mean(0) for segment in qh.split(lengths)])
                    kl = torch.stack([segment.mean(0) for segment in kh.split(lengths)])
                    a = (ql @ kl.T / K**0.5).softmax(-1)
                    one = torch.eye(M).to(a)
                    z = a.T / (a.sum(0).max() * a.sum(1).max())
                    for _ in range(ITERATIONS):
                        z = z @ (13 * one - a @ z @ (15 * one - a @ z @ (7 * one - a @ z))) / 4
                    out = (qh @ kl.T / K**0.5).softmax(-1) @ z @ (ql @ kh.T / K**0.5).softmax(-1) @ vh
                if self.conv is not None:
                    half = self.kernel // 2
                    padded = torch.cat((vh.new_zeros(half, K), vh, vh.new_zeros(half, K)))
                    out = out + sum(self.conv.weight[head, 0, i, 0] * padded[i : i + N] for i in range(self.kernel))
                outs.append(out)
            images.append(torch.cat(outs, dim=-1))
        return self.proj(torch.stack(images))

    def macs(self) -> int:
        n, d, m = self.layout.num_tokens, self.dim, self.landmarks
        attended = 2 * n * n * d if m == n else 4 * n * m * d + 2 * m * m * d + 4 * ITERATIONS * m**3 * self.heads
        return 4 * n * d * d + attended + n * d * self.kernel


def segment_means(x: Tensor, segments: int) -> Tensor:
    """Means of consecutive tokens (B, N, ...) to (B, segments, ...); later segments are longer by one at most."""
    short, num_long = divmod(x.shape[1], segments)
    split = (segments - num_long) * short
    means = x[:, :split].unflatten(1, (-1, short)).mean(2)
    if not num_long:
        return means
    return torch.cat((means, x[:, split:].unflatten(1, (-1, short + 1)).mean(2)), dim=1)


def nystrom_attention(q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, q_BHMK: Tensor, k_BHMK: Tensor) -> Tensor:
    """Attention of `q` to `k` through the landmarks `q_BHMK`, `k_BHMK` (paper, eq. 13).

    Two of its three factors only ever meet values, so both are fused attentions and no N x M matrix is kept.
    """
    scale: float = q_BHNK.shape[-1] ** -0.5
    heard_BHMK = F.scaled_dot_product_attention(q_BHMK, k_BHNK, v_BHNK)
    inverse_BHMM = pseudo_inverse((q_BHMK * scale @ k_BHMK.mT).softmax(-1)).to(heard_BHMK.dtype)
    return F.scaled_dot_product_attention(q_BHNK, k_BHMK, inverse_BHMM @ heard_BHMK)


def pseudo_inverse(a_BHMM: Tensor) -> Tensor:
    """The Moore-Penrose inverse by six steps of the paper's eq. 14, each matrix on its own.

    Half precision would lose what the iteration gains: it runs in single precision at least, and autocast does
    not reach it.
    """
    kind = a_BHMM.device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        a = a_BHMM.flatten(0, 1).to(torch.promote_types(a_BHMM.dtype, torch.float32))
        one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).unsqueeze(0)
        # rows of a softmax sum to 1, so only the columns' sums are needed
        z = a.mT / a.sum(-2).amax(-1)[:, None, None]
        for _ in range(ITERATIONS):
            az = a @ z
            inner = torch.baddbmm(15 * one, az, 7 * one - az, alpha=-1)
            z = 0.25 * z @ torch.baddbmm(13 * one, az, inner, alpha=-1)
        return z.view_as(a_BHMM)
