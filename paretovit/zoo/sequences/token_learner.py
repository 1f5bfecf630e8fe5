"""A few tokens learn to summarise all; the blocks after them work on the summary alone.

Paper    Ryoo et al. 2021, "TokenLearner: What Can 8 Learned Tokens Do for Images and Videos?", sec. 2, in the
         form that its authors call v1.1: weights from an MLP and a softmax over the tokens, no convolutions.
Differs  A class token, where there is one, passes by and stays in front.
Shapes   B images, N tokens, P patch tokens, D width, S summary tokens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.mixers.attention import logit_bias
from paretovit.zoo.sequences import Sequence
from paretovit.zoo.tokens import Layout, Tokens


class TokenLearner(Sequence):
    """Each of `tokens` new tokens is a mean of all patch tokens, under weights of its own that the patches choose.

    In the middle of a stage. Sizes and removal so far count in the means; the new tokens count once each.
    Raises `UserError` for more summary tokens than there are patches.
    """

    family = "summary tokens"
    where = "before"

    def __init__(self, dim: int, layout: Layout, *, tokens: int = 8, bottleneck: int = 64) -> None:
        super().__init__(dim, layout)
        if not 1 <= tokens <= layout.patches:
            raise UserError(f"token_learner: 1 to {layout.patches} tokens can summarise as many patches, not {tokens}")
        self.num_summaries = tokens
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, bottleneck)
        self.fc2 = nn.Linear(bottleneck, tokens)

    @classmethod
    def blocks(cls, depth: int) -> tuple[int, ...]:
        """Half-way: the second half of the blocks sees the summary."""
        return (depth // 2,)

    def after(self) -> Layout:
        return self.layout.without_grid(self.num_summaries)

    def forward(self, tokens: Tokens, answer: Tensor | None) -> Tokens:
        start = tokens.prefix
        patches_BPD = tokens.x[:, start:]
        logits_BSP = self.fc2(F.gelu(self.fc1(self.norm(patches_BPD)))).mT
        bias = logit_bias(tokens)
        weight_BSP = (logits_BSP if bias is None else logits_BSP + bias[:, 0, :, start:]).softmax(-1)
        place = tokens.place
        return replace(
            tokens,
            x=torch.cat((tokens.x[:, :start], weight_BSP @ patches_BPD), dim=1),
            grid=None,
            place=None if place is None else torch.cat((place[:, :start], weight_BSP @ place[:, start:]), dim=1),
            size=None,
            alive=None,
        )

    def macs(self, mixer: Mixer) -> int:
        per_patch = self.fc1.weight.numel() + self.fc2.weight.numel() + self.num_summaries * self.dim
        return self.layout.patches * per_patch
