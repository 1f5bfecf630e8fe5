"""A small network predicts which patch tokens matter, and the rest are dropped, in a few blocks on the way.

Idea     Which patches matter can be learnt: while training, a token is dropped by masking it, so that gradients tell
         what keeping it would have been good for.
Paper    Rao et al. 2021, "DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification", sec. 3.
Differs  A removed token does not hear itself while training; nobody hears it, so only its own fate differs. The
         paper's two distillation losses need a teacher and are no part of the model but of the recipe: up to a factor,
         its sum of labels, teacher's probabilities, teacher's tokens and ratio, weighed 1, 0.5, 0.5 and 2, is
         `distill_alpha` 1/3, `distill_tokens` 1/3 and a weight of 4/3 of `dynamic_vit_ratio`.
Shapes   B images, N tokens, D width, P patch tokens, of which K are kept.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.sequences import Sequence, Turn
from paretovit.zoo.sequences.evit import Evit
from paretovit.zoo.tokens import Layout, Tokens


class DynamicVit(Sequence):
    """Goes on with the share `keep` of the stage's patch tokens, `keep` ** 2 after the second of its blocks, and so on.

    The numbers are rounded down. In training mode every token that is left is kept or dropped at random by its
    predicted probability (a straight-through Gumbel softmax), stays in the sequence, and is marked in
    `tokens.alive`. The squared difference between the share to keep and the share kept of each image, averaged over
    images and blocks, is `tokens.aux["dynamic_vit_ratio"]`. With `keep=1` the model is the plain ViT.

    Raises `UserError` for a share outside (0, 1], and in a model without a class token.
    """

    family = "token removal"
    where = "before"
    counts = True

    def __init__(self, dim: int, layout: Layout, turn: Turn, *, keep: float = 0.7) -> None:
        super().__init__(dim, layout)
        if not 0 < keep <= 1:
            raise UserError(f"dynamic_vit: keep is a share of the tokens, above 0 and at most 1, got {keep}")
        if not layout.prefix:
            raise UserError(
                "dynamic_vit: what is removed stays in the sequence while training, where a mean would count it; give "
                "the model the read-out 'class_token'"
            )
        self.turn, self.share = turn, keep ** (turn.index + 1)
        # 0.7 ** 2 x 100 is a hair below 49 in floating point, and must not round down to 48
        self.kept = max(1, int(self.share * turn.start.patches + 1e-9))
        self.norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, dim)
        self.fc1 = nn.Linear(dim, dim // 2)
        self.fc2 = nn.Linear(dim // 2, dim // 4)
        self.fc3 = nn.Linear(dim // 4, 2)

    @classmethod
    def blocks(cls, depth: int) -> tuple[int, ...]:
        """Those of EViT, which took them from here: the 4th, 7th and 10th block of 12."""
        return Evit.blocks(depth)

    def after(self) -> Layout:
        if self.kept == self.layout.patches:
            return self.layout
        return replace(self.layout.without_grid(self.kept), masked=True)

    def forward(self, tokens: Tokens, answer: Tensor | None) -> Tokens:
        if self.kept == self.layout.patches:
            return tokens
        start = tokens.prefix
        alive_BP = None if tokens.alive is None else tokens.alive[:, start:]
        log_BP2 = self._predict(tokens.x[:, start:], alive_BP)
        if self.training:
            return self._mark(tokens, log_BP2, alive_BP)
        score_BP = log_BP2[..., 0]
        if alive_BP is not None:
            score_BP = score_BP.masked_fill(alive_BP < 0.5, float("-inf"))
        order_BP = score_BP.argsort(dim=1, descending=True)
        return tokens.keep(order_BP[:, : self.kept].sort(dim=1).values)

    def _predict(self, x_BPD: Tensor, alive_BP: Tensor | None) -> Tensor:
        """Log-probabilities of keeping and of dropping (B, P, 2), from each token and the mean of those alive."""
        inner = F.gelu(self.inner(self.norm(x_BPD)))
        local, shared = inner.split((self.dim - self.dim // 2, self.dim // 2), dim=-1)
        if alive_BP is None:
            mean = shared.mean(1, keepdim=True)
        else:
            weight_BP1 = alive_BP.unsqueeze(-1)
            mean = (shared * weight_BP1).sum(1, keepdim=True) / weight_BP1.sum(1, keepdim=True).clamp(min=1)
        both = torch.cat((local, mean.expand_as(shared)), dim=-1)
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(both))))).log_softmax(-1)

    def _mark(self, tokens: Tokens, log_BP2: Tensor, alive_BP: Tensor | None) -> Tokens:
        """The same tokens, some of them no longer alive."""
        kept_BP = F.gumbel_softmax(log_BP2, hard=True)[..., 0]
        if alive_BP is not None:
            kept_BP = kept_BP * alive_BP
        miss_B = kept_BP.mean(1) - self.share
        tokens.add_loss("dynamic_vit_ratio", miss_B.square().mean() / self.turn.count)
        before = torch.ones_like(kept_BP[:, :1]) if tokens.alive is None else tokens.alive[:, : tokens.prefix]
        return replace(tokens, grid=None, alive=torch.cat((before.expand(-1, tokens.prefix), kept_BP), dim=1))

    def macs(self, mixer: Mixer) -> int:
        """The predictor, for every token that is left."""
        if self.kept == self.layout.patches:
            return 0
        return self.layout.patches * sum(fc.weight.numel() for fc in (self.inner, self.fc1, self.fc2, self.fc3))
