"""Patch tokens that the class token hardly attends to are dropped, or fused into one.

Idea     The class token's attention says how much each patch matters to the answer, and that attention has
         been paid for already.
Paper    Liang et al. 2022, "Not All Patches are What You Need: Expediting Vision Transformers via Token
         Reorganizations", sec. 3.
Differs  The kept tokens stay in the order of their places; the paper's code sorts them by score, which
         attention cannot notice. The keep rate is fixed; the paper lowers it from 1 over the first epochs.
Shapes   B images, N tokens, H heads, D width, P patch tokens, of which K are kept and M dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.sequences import Sequence
from paretovit.zoo.tokens import Layout, Tokens


class Evit(Sequence):
    """Goes on with the share `keep` of the patch tokens, rounded up, that have the class token's attention.

    With `fuse` the dropped tokens go on as one patch token more, the last: their sum weighted by their scores,
    which do not add up to 1. It is as large as they were together, where sizes are tracked, and lies at their
    mean place. With `keep=1` the model is the plain ViT.

    Raises `UserError` for a share outside (0, 1], and in a model without a class token.
    """

    family = "token removal"
    family_by_option: ClassVar[dict[str, str]] = {"fuse=True": "token merging"}
    where = "between"
    ask = "class_row"

    def __init__(self, dim: int, layout: Layout, *, keep: float = 0.7, fuse: bool = False) -> None:
        super().__init__(dim, layout)
        if not 0 < keep <= 1:
            raise UserError(f"evit: keep is a share of the tokens, above 0 and at most 1, got {keep}")
        if not layout.prefix:
            raise UserError("evit: scores come from a class token; give the model the read-out 'class_token'")
        # 0.55 x 100 is a hair above 55 in floating point, and must not round up to 56
        self.kept = max(1, math.ceil(keep * layout.patches - 1e-9))
        self.fuse = fuse

    @classmethod
    def blocks(cls, depth: int) -> tuple[int, ...]:
        """The 4th, 7th and 10th block of 12, and the like in other depths; never the first unless it is alone."""
        return tuple(sorted({depth // 4, depth // 2, 3 * depth // 4} - {0})) or (0,)

    def after(self) -> Layout:
        if self.kept == self.layout.patches:
            return self.layout
        return self.layout.without_grid(self.kept + self.fuse)

    def forward(self, tokens: Tokens, answer: Tensor | None) -> Tokens:
        assert answer is not None
        if self.kept == self.layout.patches:
            return tokens
        score_BP = answer.mean(1)[:, tokens.prefix :]
        order_BP = score_BP.argsort(dim=1, descending=True)
        kept = tokens.keep(order_BP[:, : self.kept].sort(dim=1).values)
        return _with_fused(kept, tokens, order_BP[:, self.kept :], score_BP) if self.fuse else kept

    def macs(self, mixer: Mixer) -> int:
        """The weighted sum of the dropped."""
        return (self.layout.patches - self.kept) * self.dim if self.fuse else 0


def _with_fused(kept: Tokens, tokens: Tokens, dropped_BM: Tensor, score_BP: Tensor) -> Tokens:
    """`kept` and behind them one token for the patch tokens `dropped_BM` of `tokens`."""
    dropped, start = tokens.keep(dropped_BM), tokens.prefix
    weight_B1M = score_BP.gather(1, dropped_BM).unsqueeze(1).to(tokens.x.dtype)

    def behind(before: Tensor | None, values: Tensor | None, fused: Callable[[Tensor], Tensor]) -> Tensor | None:
        return None if before is None or values is None else torch.cat((before, fused(values[:, start:])), dim=1)

    return replace(
        kept,
        x=torch.cat((kept.x, weight_B1M @ dropped.x[:, start:]), dim=1),
        place=behind(kept.place, dropped.place, lambda place: (weight_B1M / weight_B1M.sum(2, True)) @ place),
        size=behind(kept.size, dropped.size, lambda size: size.sum(1, keepdim=True)),
        alive=behind(kept.alive, dropped.alive, lambda alive: alive.amax(1, keepdim=True)),
    )
