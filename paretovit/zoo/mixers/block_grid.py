"""Attention inside windows of the token grid, or among tokens that lie evenly spread over all of it.

Idea     Windows see what is near in full detail; a coarse grid of tokens, each a stride apart, sees the whole image at
         the same cost. One after the other, every token hears of every other.
Paper    Tu et al. 2022, "MaxViT: Multi-Axis Vision Transformer", secs. 3.1 and 3.2.
Differs  Where window or grid do not fit the sides, what fills the lower and right edge is not heard by anyone.
Shapes   B images, N tokens, D width, H heads, K width per head, W windows, M tokens in a window.
"""

from __future__ import annotations

from typing import Literal

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._windows import (
    NOBODY,
    attend_in_windows,
    deaf,
    offset_bias,
    offsets,
    places_of,
    window_slots,
)
from paretovit.zoo.tokens import Grid, Layout, Tokens


class BlockGrid(Mixer):
    """Softmax attention in groups of `window` x `window` tokens, with a learned bias for each offset in a group.

    With `partition="block"` a group is a window, with "grid" its tokens lie as far apart as they can; None takes
    the first in even blocks of a stage and the second in odd ones. A side shorter than the window is taken whole.
    """

    family = "sparse attention"
    takes_prefix = False
    needs_grid = True
    alternates = True
    rotates = True
    trials = ({"window": 2}, {"window": 4}, {"partition": "grid", "window": 3})
    into: Tensor
    back: Tensor
    offset: Tensor
    deaf: Tensor | None

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        partition: Literal["block", "grid"] | None = None,
        window: int = 7,
        block: int = 0,
    ) -> None:
        super().__init__(dim, heads, layout)
        if partition not in ("block", "grid", None) or window < 1:
            raise UserError(f"block_grid: partition is 'block' or 'grid', window above 0, got {partition=}, {window=}")
        self.grid = rows_and_columns(layout)
        self.head_dim = head_dim_of(dim, heads, None)
        self.partition = partition or ("grid" if block % 2 else "block")
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        with torch.device("cpu"):  # who sits where is worked out even where the model is built on "meta"
            if self.partition == "block":
                self.window: Grid = tuple(min(window, side) for side in self.grid)
                slots_WM = window_slots(self.grid, self.window, (0, 0))
            else:
                # as many in a group as the stride leaves, which may be fewer than asked for
                stride = [-(-side // min(window, side)) for side in self.grid]
                self.window = tuple(-(-side // step) for side, step in zip(self.grid, stride, strict=True))
                slots_WM = spread_slots(self.grid, self.window)
            apart = deaf(slots_WM, self.grid, (0, 0))
            index = {
                "into": slots_WM.flatten().clamp(min=0),
                "back": places_of(slots_WM.flatten(), layout.patches),
                "offset": offsets(self.window),
            }
        self.num_windows, self.slots = slots_WM.shape
        device = torch.get_default_device()
        for name, values in index.items():
            self.register_buffer(name, values.to(device), persistent=False)
        self.register_buffer("deaf", None if apart is None else apart.to(device), persistent=False)
        self.bias_table = nn.Parameter(torch.empty((2 * self.window[0] - 1) * (2 * self.window[1] - 1), heads))
        trunc_normal_(self.bias_table, std=0.02)

    def forward(self, tokens: Tokens) -> Tensor:
        x_BSD = tokens.x.index_select(1, self.into)
        qkv = self.qkv(x_BSD).unflatten(-1, (3, self.heads, self.head_dim)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in qkv)
        q, k = self.rotated(tokens, q, k, index=self.into)
        bias = offset_bias(self.bias_table, self.offset)
        if self.deaf is not None:
            bias = bias.masked_fill(self.deaf, float("-inf"))
        return self.proj(attend_in_windows(q, k, v, bias, self.back))

    def reference(self, tokens: Tokens) -> Tensor:
        rows, columns = self.grid
        high, wide = self.window
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens.x).chunk(3, -1))
        q, k = self.rotated(tokens, q, k)

        def group_and_seat(r: int, c: int) -> tuple[tuple[int, int], tuple[int, int]]:
            if self.partition == "block":
                return (r // high, c // wide), (r % high, c % wide)
            down, right = -(-rows // high), -(-columns // wide)
            return (r % down, c % right), (r // down, c // right)

        table = self.bias_table.view(2 * high - 1, 2 * wide - 1, self.heads)
        out = torch.zeros_like(v)
        places = [(r, c) for r in range(rows) for c in range(columns)]
        for i, place in enumerate(places):
            group, (y, x) = group_and_seat(*place)
            heard = [j for j, other in enumerate(places) if group_and_seat(*other)[0] == group]
            seats = [group_and_seat(*places[j])[1] for j in heard]
            bias = torch.stack([table[y - s + high - 1, x - t + wide - 1] for s, t in seats], dim=-1)
            logits = (q[:, :, i : i + 1] * k[:, :, heard]).sum(-1) / self.head_dim**0.5 + bias
            out[:, :, i] = (logits.softmax(-1).unsqueeze(-1) * v[:, :, heard]).sum(2)
        return self.proj(out.transpose(1, 2).flatten(2))

    def macs(self) -> int:
        n, d, filled = self.layout.patches, self.dim, self.num_windows * self.slots
        return 3 * filled * d * d + 2 * filled * self.slots * d + n * d * d


def spread_slots(grid: Grid, group: Grid) -> Tensor:
    """The token in each slot of each group, (W, M): those a stride apart sit together; `NOBODY` beyond the edge."""
    stride = [-(-side // size) for side, size in zip(grid, group, strict=True)]
    token = torch.full((group[0] * stride[0], group[1] * stride[1]), NOBODY)
    token[: grid[0], : grid[1]] = torch.arange(grid[0] * grid[1]).view(grid)
    seats = token.view(group[0], stride[0], group[1], stride[1])
    return seats.permute(1, 3, 0, 2).reshape(stride[0] * stride[1], group[0] * group[1])
