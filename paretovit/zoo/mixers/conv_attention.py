"""Attention whose queries, keys and values have looked at their neighbours first.

Paper    Wu et al. 2021, "CvT: Introducing Convolutions to Vision Transformers", sec. 3.2.
Differs  Logits are divided by the root of a head's width, as in the paper; its code divides by that of all heads.
         Keys have no bias: one that all keys share changes no weight.
Shapes   B images, N tokens, M keys, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.depthwise import strided
from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens


class ConvAttention(Mixer):
    """Softmax attention; each of query, key and value is a depthwise convolution, batch norm and a linear map.

    Keys and values are convolved with `stride`, so there are about `stride`^2 times fewer of them, and on other
    places than the tokens: only with stride 1 can rotary positions turn them. `shared_kv` makes both from one
    convolution. Class tokens have no neighbours: they pass the convolutions by.
    """

    family = "hybrid attention"
    needs_grid = True
    rotates = True
    trials = ({"kernel": 5, "stride": 1}, {"shared_kv": True, "qkv_bias": False, "head_dim": 6})

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        kernel: int = 3,
        stride: int = 2,
        shared_kv: bool = False,
        head_dim: int | None = None,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__(dim, heads, layout)
        if kernel < 1 or kernel % 2 == 0 or stride < 1:
            raise UserError(f"conv_attention: kernel must be odd and stride at least 1, got {kernel} and {stride}")
        self.head_dim = head_dim_of(dim, heads, head_dim)
        inner = heads * self.head_dim
        self.grid = rows_and_columns(layout)
        self.kernel, self.stride = kernel, stride
        self.rotates = stride == 1
        self.conv_q = _Convolved(dim, kernel, 1)
        self.conv_k = _Convolved(dim, kernel, stride)
        self.conv_v = None if shared_kv else _Convolved(dim, kernel, stride)
        self.q = nn.Linear(dim, inner, bias=qkv_bias)
        self.k = nn.Linear(dim, inner, bias=False)
        self.v = nn.Linear(dim, inner, bias=qkv_bias)
        self.proj = nn.Linear(inner, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        prefix_BPD, patches = tokens.x[:, : tokens.prefix], tokens.x[:, tokens.prefix :]
        image = patches.mT.unflatten(2, self.grid)

        def seen(conv: nn.Module) -> Tensor:
            x_BMD = conv(image).flatten(2).mT
            return torch.cat((prefix_BPD.to(x_BMD), x_BMD), dim=1) if tokens.prefix else x_BMD

        def heads(linear: nn.Module, x: Tensor) -> Tensor:
            return linear(x).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

        for_keys = seen(self.conv_k)
        for_values = for_keys if self.conv_v is None else seen(self.conv_v)
        q_BHNK, k_BHMK = self.rotated(tokens, heads(self.q, seen(self.conv_q)), heads(self.k, for_keys))
        v_BHMK = heads(self.v, for_values)
        return self.proj(attend(q_BHNK, k_BHMK, v_BHMK).transpose(1, 2).flatten(2))

    def reference(self, tokens: Tokens) -> Tensor:
        def heads(conv: _Convolved, linear: nn.Linear) -> Tensor:
            norm, stride, half = conv.norm, conv.conv.stride[0], self.kernel // 2
            mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
            rows, columns = self.grid
            seen = [tokens.x[:, i] for i in range(tokens.prefix)]
            for r in range(0, rows, stride):
                for c in range(0, columns, stride):
                    total = torch.zeros_like(tokens.x[:, 0])
                    for i in range(max(r - half, 0), min(r + half + 1, rows)):
                        for j in range(max(c - half, 0), min(c + half + 1, columns)):
                            tap = conv.conv.weight[:, 0, i - r + half, j - c + half]
                            total = total + tap * tokens.x[:, tokens.prefix + i * columns + j]
                    normed = (total - mean) / (variance + norm.eps).sqrt()
                    seen.append(normed * norm.weight + norm.bias)
            return linear(torch.stack(seen, dim=1)).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k = self.rotated(tokens, heads(self.conv_q, self.q), heads(self.conv_k, self.k))
        v = heads(self.conv_k if self.conv_v is None else self.conv_v, self.v)
        outs = [(q[:, h] @ k[:, h].mT / self.head_dim**0.5).softmax(-1) @ v[:, h] for h in range(self.heads)]
        return self.proj(torch.cat(outs, dim=-1))

    def macs(self) -> int:
        rows, columns = self.grid
        n, d, inner, prefix = self.layout.num_tokens, self.dim, self.heads * self.head_dim, self.layout.prefix
        strided = -(-rows // self.stride) * -(-columns // self.stride)
        keys = strided + prefix
        convolved = self.kernel**2 * d * (rows * columns + strided * (1 if self.conv_v is None else 2))
        return convolved + 2 * (n + keys) * d * inner + 2 * n * keys * inner


class _Convolved(nn.Module):
    """Depthwise convolution and batch norm, (B, D, rows, columns) to as many channels."""

    def __init__(self, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel, stride, padding=kernel // 2, groups=dim, bias=False)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(strided(self.conv, image))
