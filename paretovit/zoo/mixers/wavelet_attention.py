"""Attention to the sub-bands of a wavelet transform, which shrinks the map and loses nothing.

Idea     Keys and values of a quarter of the places, yet with the fine detail that pooling would throw away: it lies in
         the sub-bands beside the mean. Transformed back, they add a wide local view to what attention says.
Paper    Yao et al. 2022, "Wave-ViT: Unifying Wavelet and Transformers for Visual Representation Learning", sec. 3;
         what happens between the transforms and after as in its released code.
Differs  Convolutions before a batch norm have no bias: the norm takes it away. Maps of an odd side are possible.
Shapes   B images, N tokens, M keys, D width, H heads, K width per head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._haar import haar, inverse_haar
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class WaveletAttention(Mixer):
    """Softmax attention of every token to the wavelet sub-bands of the map.

    A linear map to a quarter of the width, batch norm and ReLU; the Haar transform; a 3 x 3 convolution across all
    sub-bands, batch norm and ReLU. Of that come keys and values, shrunk once more `ratio` times by a convolution of
    that stride (with zeros where they do not divide), and, transformed back, a quarter of what the last linear map
    sees.

    Raises `UserError` for a width that 4 does not divide.
    """

    family = "sparse attention"
    takes_prefix = False
    needs_grid = True
    trials = ({"ratio": 2},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, ratio: int = 1) -> None:
        super().__init__(dim, heads, layout)
        self.grid, self.ratio = rows_and_columns(layout), ratio
        if dim % 4 or ratio < 1:
            raise UserError(
                f"wavelet_attention: needs a width that 4 divides and a ratio of 1 or more, {dim=}, {ratio=}"
            )
        self.head_dim = head_dim_of(dim, heads, None)
        self.bands = (-(-self.grid[0] // 2), -(-self.grid[1] // 2))
        self.keys = (-(-self.bands[0] // ratio), -(-self.bands[1] // ratio))
        self.narrow = nn.Conv2d(dim, dim // 4, 1, bias=False)
        self.narrow_norm = nn.BatchNorm2d(dim // 4)
        self.filter = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.filter_norm = nn.BatchNorm2d(dim)
        self.shrink = nn.Conv2d(dim, dim, ratio, ratio) if ratio > 1 else None
        self.q = nn.Linear(dim, dim)
        self.kv_norm = nn.LayerNorm(dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim + dim // 4, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        narrow_BChw = self.narrow_norm(self.narrow(as_map(tokens.x, self.grid))).relu()
        bands_BDhw = self.filter_norm(self.filter(haar(narrow_BChw))).relu()
        back_BNC = as_tokens(inverse_haar(bands_BDhw, *self.grid))
        heard_BMD = self.kv_norm(as_tokens(self._shrunk(bands_BDhw)))
        q_BHNK = self.q(tokens.x).view(B, N, self.heads, self.head_dim).transpose(1, 2)
        k_BHMK, v_BHMK = self.kv(heard_BMD).view(B, -1, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        out_BND = attend(q_BHNK, k_BHMK, v_BHMK).transpose(1, 2).reshape(B, N, D)
        return self.proj(torch.cat((out_BND, back_BNC.to(out_BND.dtype)), dim=-1))

    def _shrunk(self, bands_BDhw: Tensor) -> Tensor:
        if self.shrink is None:
            return bands_BDhw
        below, right = (keys * self.ratio - side for keys, side in zip(self.keys, self.bands, strict=True))
        return self.shrink(F.pad(bands_BDhw, (0, right, 0, below)) if below or right else bands_BDhw)

    def reference(self, tokens: Tokens) -> Tensor:
        (rows, columns), (h, w), ratio = self.grid, self.bands, self.ratio
        narrow = _active(tokens.x @ self.narrow.weight[:, :, 0, 0].T, self.narrow_norm).unflatten(1, self.grid)
        bands = {}
        for r in range(h):
            for c in range(w):
                below, right = min(2 * r + 1, rows - 1), min(2 * c + 1, columns - 1)
                a, b = narrow[:, 2 * r, 2 * c], narrow[:, 2 * r, right]
                d, e = narrow[:, below, 2 * c], narrow[:, below, right]
                bands[r, c] = torch.cat((a + b + d + e, a + b - d - e, a - b + d - e, a - b - d + e), dim=-1) / 2
        filtered = {}
        for r, c in bands:
            total = torch.zeros_like(tokens.x[:, 0])
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    if (r + i, c + j) in bands:
                        total = total + bands[r + i, c + j] @ self.filter.weight[:, :, i + 1, j + 1].T
            filtered[r, c] = _active(total, self.filter_norm)
        back = []
        for r in range(rows):
            for c in range(columns):
                mean, vertical, horizontal, diagonal = filtered[r // 2, c // 2].chunk(4, dim=-1)
                up, left = 1 - 2 * (r % 2), 1 - 2 * (c % 2)
                back.append((mean + up * vertical + left * horizontal + up * left * diagonal) / 2)
        heard = list(filtered.values())
        if self.shrink is not None:
            assert self.shrink.bias is not None
            heard = []
            for r in range(0, h, ratio):
                for c in range(0, w, ratio):
                    total = self.shrink.bias.expand(len(tokens.x), -1)
                    for i in range(min(ratio, h - r)):
                        for j in range(min(ratio, w - c)):
                            total = total + filtered[r + i, c + j] @ self.shrink.weight[:, :, i, j].T
                    heard.append(total)
        k, v = self.kv(self.kv_norm(torch.stack(heard, dim=1))).chunk(2, dim=-1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.q(tokens.x), k, v))
        outs = [(q[:, i] @ k[:, i].mT / self.head_dim**0.5).softmax(-1) @ v[:, i] for i in range(self.heads)]
        return self.proj(torch.cat((*outs, torch.stack(back, dim=1)), dim=-1))

    def macs(self) -> int:
        n, d, bands, m = self.layout.patches, self.dim, math.prod(self.bands), math.prod(self.keys)
        shrunk = m * self.ratio**2 * d * d if self.shrink is not None else 0
        convolved = n * d * (d // 4) + 9 * bands * d * d + shrunk
        return convolved + n * d * d + 2 * m * d * d + 2 * n * m * d + n * (d + d // 4) * d


def _active(x_BND: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch norm with the statistics it has kept, and ReLU; of `reference`."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    return ((x_BND - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias).clamp(min=0)
