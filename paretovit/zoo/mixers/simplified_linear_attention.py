"""Attention with the kernel relu(q) . relu(k), its values convolved beside it.

Idea     A positive part is the cheapest feature map there is. What it blurs, as all tokens are summed up in one matrix,
         a depthwise convolution of the values keeps apart.
Paper    Guo et al. 2024, "SLAB: Efficient Transformers with Simplified Linear Attention and Progressive
         Re-parameterized Batch Normalization", sec. 3.3; places added to the keys as in the authors' code.
Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._kernelized import kernelized, kernelized_macs
from paretovit.zoo.tokens import Layout, Tokens

EPS = 1e-6  # added to the sum that divides, as in the authors' code


class SimplifiedLinearAttention(Mixer):
    """relu(q) (relu(k)^T v) / (relu(q) . sum of relu(k)) + conv(v); keys have a learned place each.

    The convolution, `kernel` x `kernel` and depthwise, is the same for all heads.

    Raises `UserError` for an even kernel.
    """

    family = "kernel attention"
    takes_prefix = False
    needs_grid = True
    rotates = True
    enters = "qkv"
    trials = ({"kernel": 3},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, kernel: int = 5) -> None:
        super().__init__(dim, heads, layout)
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"simplified_linear_attention: kernel must be odd, got {kernel}")
        self.grid, self.kernel = rows_and_columns(layout), kernel
        self.head_dim = head_dim_of(dim, heads, None)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.place = nn.Parameter(torch.zeros(1, layout.patches, dim))
        self.conv = nn.Conv2d(self.head_dim, self.head_dim, kernel, padding=kernel // 2, groups=self.head_dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        q_BND, k_BND, v_BND = self.qkv(tokens.x).chunk(3, dim=-1)
        heads = (q_BND, k_BND + self.place, v_BND)
        q_BHNK, k_BHNK, v_BHNK = (part.reshape(B, N, self.heads, -1).transpose(1, 2).contiguous() for part in heads)
        q_BHNK, k_BHNK = self.rotated(tokens, q_BHNK, k_BHNK)
        out_BHNK = kernelized(q_BHNK.relu(), k_BHNK.relu(), v_BHNK, eps=EPS)
        maps = v_BHNK.flatten(0, 1).mT.unflatten(2, self.grid)
        near_BHNK = self.conv(maps).flatten(2).mT.unflatten(0, (B, self.heads))
        return self.proj((out_BHNK + near_BHNK).transpose(1, 2).reshape(B, N, D))

    def reference(self, tokens: Tokens) -> Tensor:
        (rows, columns), half = self.grid, self.kernel // 2
        q, k, v = self.qkv(tokens.x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        k = k + self.place.unflatten(-1, (self.heads, -1))
        q, k = (
            part.transpose(1, 2).clamp(min=0) for part in self.rotated(tokens, q.transpose(1, 2), k.transpose(1, 2))
        )
        out = torch.zeros_like(v)
        for i in range(rows * columns):
            weights = (q[:, i, None] * k).sum(-1, keepdim=True)
            out[:, i] = (weights * v).sum(1) / (weights.sum(1) + EPS) + self.conv.get_parameter("bias")
            r, c = divmod(i, columns)
            for y in range(max(r - half, 0), min(r + half + 1, rows)):
                for x in range(max(c - half, 0), min(c + half + 1, columns)):
                    tap = self.conv.weight[:, 0, y - r + half, x - c + half]
                    out[:, i] += tap * v[:, y * columns + x]
        return self.proj(out.flatten(2))

    def macs(self) -> int:
        n, d = self.layout.patches, self.dim
        attended = kernelized_macs(n, self.heads, self.head_dim, self.head_dim)
        return 4 * n * d * d + attended + self.kernel**2 * n * d
