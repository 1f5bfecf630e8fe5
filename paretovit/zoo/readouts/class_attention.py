"""A class vector that comes last and asks all tokens for the image.

Paper    Touvron et al. 2021, "Going deeper with Image Transformers" (CaiT), sec. 3; with the mean of the
         tokens to begin with in Yao et al. 2022, "Wave-ViT", released code.
Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import Part
from paretovit.zoo.folders import MLPS, make
from paretovit.zoo.mixers import head_dim_of
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.mixers.attention import logit_bias
from paretovit.zoo.norms.layer_norm import LayerNorm
from paretovit.zoo.readouts import Readout
from paretovit.zoo.readouts.mean import Mean
from paretovit.zoo.tokens import Layout, Tokens


class ClassAttention(Readout):
    """The mean of the tokens, after `depth` blocks in which it alone asks and is worked on.

    A block is softmax attention of the one vector to itself and the tokens, in `heads`, and an MLP `ratio` times as
    wide, each behind a layer norm and with a residual; the tokens stay as they are. The final norm comes after.

    Raises `UserError` for less than one block and for heads that do not divide the width.
    """

    norm_first = False

    def __init__(self, dim: int, *, heads: int, depth: int = 1, ratio: float = 4.0) -> None:
        super().__init__(dim)
        if depth < 1:
            raise UserError(f"class_attention: depth must be at least 1, got {depth}")
        self.mean = Mean(dim)
        self.blocks = nn.ModuleList(_ClassBlock(dim, heads, ratio) for _ in range(depth))

    def forward(self, tokens: Tokens) -> Tensor:
        class_B1D = self.mean(tokens).unsqueeze(1)
        for block in self.blocks:
            class_B1D = block(class_B1D, tokens)
        return class_B1D.squeeze(1)

    def macs(self, layout: Layout) -> int:
        return sum(block.macs(layout) for block in self.blocks if isinstance(block, _ClassBlock))


class _ClassBlock(nn.Module):
    """The class vector (B, 1, D), once it has heard the tokens and was worked on."""

    def __init__(self, dim: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.dim, self.heads, self.head_dim = dim, heads, head_dim_of(dim, heads, None)
        self.norm1, self.norm2 = LayerNorm(dim), LayerNorm(dim)
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.mlp = make(MLPS, Part.of("mlp", ratio=ratio), dim, Layout(None, 1, 0))

    def forward(self, class_B1D: Tensor, tokens: Tokens) -> Tensor:
        normed = self.norm1(torch.cat((class_B1D, tokens.x), dim=1))
        q_BH1K = self.q(normed[:, :1]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k_BHMK, v_BHMK = self.kv(normed).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = logit_bias(tokens)
        if bias is not None:
            bias = torch.cat((torch.zeros_like(bias[..., :1]), bias), dim=-1)  # the class vector counts once
        heard = attend(q_BH1K, k_BHMK, v_BHMK, bias).transpose(1, 2).flatten(2)
        class_B1D = class_B1D + self.proj(heard)
        return class_B1D + self.mlp(Tokens(self.norm2(class_B1D)))

    def macs(self, layout: Layout) -> int:
        d, m = self.dim, layout.num_tokens + 1
        return 2 * d * d + 2 * m * d * d + 2 * m * d + self.mlp.macs()
