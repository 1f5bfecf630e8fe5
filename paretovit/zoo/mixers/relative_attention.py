"""Attention over the whole grid with a learned bias for each offset between two tokens.

Paper    Shaw et al. 2018, "Self-Attention with Relative Position Representations", as a bias per head and offset on two
         axes in Liu et al. 2021, "Swin Transformer", eq. 4; over all tokens in Zhang et al. 2022, "HiViT".
Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.mixers._windows import offsets
from paretovit.zoo.tokens import Layout, Tokens


class RelativeAttention(Mixer):
    """Softmax attention of every token to every token, with a bias for how far down and right the other lies."""

    family = "hybrid attention"
    attends = True
    takes_prefix = False
    needs_grid = True
    rotates = True
    offset: Tensor

    def __init__(self, dim: int, heads: int, layout: Layout) -> None:
        super().__init__(dim, heads, layout)
        self.grid = rows, columns = rows_and_columns(layout)
        self.head_dim = head_dim_of(dim, heads, None)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.bias_table = nn.Parameter(torch.empty((2 * rows - 1) * (2 * columns - 1), heads))
        trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("offset", offsets(self.grid), persistent=False)

    def forward(self, tokens: Tokens) -> Tensor:
        qkv = self.qkv(tokens.x).unflatten(-1, (3, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        q_BHNK, k_BHNK = self.rotated(tokens, qkv[0], qkv[1])
        bias_1HNN = self.bias_table[self.offset].permute(2, 0, 1).unsqueeze(0).to(q_BHNK.dtype)
        out_BNHK = attend(q_BHNK, k_BHNK, qkv[2], bias=bias_1HNN).transpose(1, 2)
        if torch.compiler.is_exporting():  # attention taken apart lays its output out otherwise than as one operator
            out_BNHK = out_BNHK.clone(memory_format=torch.contiguous_format)
        return self.proj(out_BNHK.flatten(2))

    def reference(self, tokens: Tokens) -> Tensor:
        rows, columns = self.grid
        q, k, v = (part.transpose(1, 2) for part in self.qkv(tokens.x).unflatten(-1, (3, self.heads, -1)).unbind(2))
        q, k = self.rotated(tokens, q, k)
        table = self.bias_table.view(2 * rows - 1, 2 * columns - 1, self.heads)
        outs = []
        for i in range(rows * columns):
            logits = (q[:, :, i : i + 1] * k).sum(-1) / self.head_dim**0.5
            for j in range(rows * columns):
                down, right = i // columns - j // columns, i % columns - j % columns
                logits[:, :, j] += table[down + rows - 1, right + columns - 1]
            outs.append((logits.softmax(-1).unsqueeze(-1) * v).sum(2).flatten(1))
        return self.proj(torch.stack(outs, dim=1))

    def macs(self) -> int:
        n, d = self.layout.patches, self.dim
        return 4 * n * d * d + 2 * n * n * d
