"""A few semantic tokens per window stand for the image while blocks work on them; then the image tokens hear of them.

Idea     A handful of tokens that know what is in the image is all that most blocks need. Made from windows, they keep
         their places; heard by the tokens that they came from, they leave a full grid behind, as detectors want it.
Paper    Chang et al. 2023, "Making Vision Transformers Efficient from A Token Sparsification View", sec. 3.4: STViT-R,
         whose blocks come in groups: one on the image tokens, the two here, those on the semantic tokens, recovery.
         In what the paper leaves open (where norms and LayerScale are, that the pooled tokens are not added to what
         their attention gives) this follows the released code, without the learned global tokens, as its logs do.
Differs  No stochastic depth in the three blocks here. Windows of keys are spread evenly over any grid.
Shapes   B images, N tokens, D width, W windows, S semantic tokens in a window, M keys, H heads, K width per head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from timm.layers import LayerScale
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.mlps.mlp import Mlp
from paretovit.zoo.norms.layer_norm import LayerNorm
from paretovit.zoo.sequences import Sequence, Turn
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class Stvit(Sequence):
    """Before the first block of the stage semantic tokens are made; behind the last the tokens come back.

    The largest values of the parts of a window, `tokens` x `tokens` of them, attend to themselves and to the tokens
    around the window, up to `reach` x `reach`; what comes out then attends to all semantic tokens and all tokens. The
    blocks of the stage work on these. At the end each token attends to the semantic tokens. There are as many windows
    as fit the grid, at least one, a little longer than `window` where they leave a rest; `heads` is the number of heads
    of all three.

    Raises `UserError` for a stage of one block, for class tokens, and for tokens off the grid.
    """

    family = "summary tokens"
    where: Literal["before", "between", "after"] = "before"
    counts = True
    trials = ({"window": 3, "tokens": 2, "reach": 4},)
    keys: Tensor

    def __init__(
        self,
        dim: int,
        layout: Layout,
        turn: Turn,
        *,
        heads: int = 1,
        window: int = 7,
        tokens: int = 3,
        reach: int = 10,
        ratio: float = 4.0,
        layer_scale: float = 1e-5,
    ) -> None:
        super().__init__(dim, layout)
        if turn.count != 2:
            raise UserError("stvit: give the stage at least two blocks, one to make semantic tokens, one to return")
        start = turn.start
        if start.grid is None or len(start.grid) != 2 or start.prefix or start.masked:
            raise UserError("stvit needs tokens on a grid of rows and columns, without class tokens: read-out 'mean'")
        if min(window, tokens) < 1 or reach < window:
            raise UserError(f"stvit: window and tokens must be at least 1, reach at least {window}, got {reach}")
        self.start, self.turn = start, turn
        self.windows = tuple(max(1, side // window) for side in start.grid)
        self.parts = tuple(min(tokens, side // count) for side, count in zip(start.grid, self.windows, strict=True))
        self.summary = Layout.of_grid(tuple(c * p for c, p in zip(self.windows, self.parts, strict=True)))
        if turn.last:
            self.where = "after"
            self.recover = _CrossBlock(dim, heads, ratio, layer_scale)
            return
        self.gather = _CrossBlock(dim, heads, ratio, layer_scale, residual=False)
        self.spread = _CrossBlock(dim, heads, ratio, layer_scale)
        with torch.device("cpu"):
            keys_WM = _around(start.grid, self.windows, reach)
        self.register_buffer("keys", keys_WM.to(torch.get_default_device()), persistent=False)

    @classmethod
    def blocks(cls, depth: int) -> tuple[int, ...]:
        return (0,) if depth == 1 else (0, depth - 1)

    def after(self) -> Layout:
        return self.start if self.turn.last else self.summary

    def forward(self, tokens: Tokens, answer: Tensor | None) -> Tokens:
        if self.turn.last:
            assert tokens.aside is not None
            return replace(tokens.aside, x=self.recover(tokens.aside.x, tokens.x), aux=tokens.aux)
        x_BND = tokens.x
        assert self.start.grid is not None
        (down, right), (high, wide) = self.windows, self.parts
        sides = (down * high, right * wide)
        pooled = F.adaptive_max_pool2d(as_map(x_BND, self.start.grid), sides).permute(0, 2, 3, 1)
        pooled = pooled.unflatten(2, (right, wide)).unflatten(1, (down, high))  # (B, down, high, right, wide, D)
        pooled_BWSD = pooled.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        heard_BWMD = torch.cat((pooled_BWSD, x_BND[:, self.keys]), dim=2)
        made = self.gather(pooled_BWSD.flatten(0, 1), heard_BWMD.flatten(0, 1))
        made = made.view(-1, down, right, high, wide, self.dim).transpose(2, 3).reshape(len(x_BND), -1, self.dim)
        semantic = self.spread(made, torch.cat((made, x_BND), dim=1))
        place = tokens.place
        if place is not None:
            place = as_tokens(F.adaptive_avg_pool2d(as_map(place, self.start.grid), sides))
        return Tokens(semantic, grid=self.summary.grid, place=place, aux=tokens.aux, aside=tokens)

    def macs(self, mixer: Mixer) -> int:
        n, s = self.start.patches, self.summary.patches
        if self.turn.last:
            return self.recover.macs(n, s)
        W, M = self.keys.shape
        in_window = s // W
        return W * self.gather.macs(in_window, in_window + M) + self.spread.macs(s, s + n)


class _CrossBlock(nn.Module):
    """A pre-norm block whose queries are some tokens and whose keys and values are others, under the same norm."""

    def __init__(self, dim: int, heads: int, ratio: float, layer_scale: float, *, residual: bool = True) -> None:
        super().__init__()
        self.dim, self.heads, self.head_dim = dim, heads, head_dim_of(dim, heads, None)
        self.residual = residual
        self.norm1, self.norm2 = LayerNorm(dim), LayerNorm(dim)
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.scale1, self.scale2 = LayerScale(dim, layer_scale), LayerScale(dim, layer_scale)
        self.mlp = Mlp(dim, Layout(None, 1, 0), ratio=ratio)

    def forward(self, x_BND: Tensor, y_BMD: Tensor) -> Tensor:
        heads = (self.heads, self.head_dim)
        q_BHNK = self.q(self.norm1(x_BND)).unflatten(-1, heads).transpose(1, 2)
        k_BHMK, v_BHMK = self.kv(self.norm1(y_BMD)).unflatten(-1, (2, *heads)).permute(2, 0, 3, 1, 4)
        mixed = self.scale1(self.proj(attend(q_BHNK, k_BHMK, v_BHMK).transpose(1, 2).flatten(2)))
        x_BND = x_BND + mixed if self.residual else mixed
        return x_BND + self.scale2(self.mlp(Tokens(self.norm2(x_BND))))

    def macs(self, queries: int, keys: int) -> int:
        d = self.dim
        return 2 * (queries + keys) * d * d + 2 * queries * keys * d + queries * self.mlp.macs()


def _around(grid: tuple[int, ...], windows: tuple[int, ...], reach: int) -> Tensor:
    """The tokens that each window hears, (W, M): as many windows of `reach` a side, spread evenly over the grid."""
    lines = []
    for side, count in zip(grid, windows, strict=True):
        wide = min(reach, side)
        first = [round(i * (side - wide) / max(count - 1, 1)) for i in range(count)]
        lines.append(torch.tensor(first).unsqueeze(1) + torch.arange(wide))
    rows, columns = lines  # (windows, reach) each
    token = rows[:, None, :, None] * grid[1] + columns[None, :, None, :]
    return token.flatten(2).flatten(0, 1)
