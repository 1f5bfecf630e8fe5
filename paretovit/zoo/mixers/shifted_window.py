"""Attention inside windows of the token grid, which shift by half a window in every second block.

Paper    Liu et al. 2021, "Swin Transformer", secs. 3.2 and 3.3.
Differs  Where windows do not fit the grid, what fills the lower and right edge is not heard by anyone; the
         published code lets tokens attend to it.
Shapes   B images, N tokens, D width, H heads, K width per head, W windows, M tokens in a window.
"""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._windows import attend_in_windows, deaf, offset_bias, offsets, places_of, window_slots
from paretovit.zoo.tokens import Layout, Tokens


class ShiftedWindow(Mixer):
    """Softmax attention among the tokens of a `window` x `window` window, with a learned bias for each offset.

    Odd blocks of a stage shift the windows by half a window; those cut by the edge are packed in pairs whose
    parts do not hear each other. A side that fits in one window has one, as long as the side, and no shift.
    """

    family = "sparse attention"
    takes_prefix = False
    needs_grid = True
    alternates = True
    rotates = True
    trials = ({"window": 2}, {"window": 3}, {"window": 4})
    into: Tensor
    back: Tensor
    offset: Tensor
    deaf: Tensor | None

    def __init__(self, dim: int, heads: int, layout: Layout, *, window: int = 7, block: int = 0) -> None:
        super().__init__(dim, heads, layout)
        if window < 1:
            raise UserError(f"shifted_window: window must be at least 1, got {window}")
        self.grid = grid = rows_and_columns(layout)
        self.head_dim = head_dim_of(dim, heads, None)
        self.window = tuple(min(window, side) for side in grid)
        self.shift = tuple(w // 2 if block % 2 and w < side else 0 for w, side in zip(self.window, grid, strict=True))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

        rows, columns = self.window
        self.bias_table = nn.Parameter(torch.empty((2 * rows - 1) * (2 * columns - 1), heads))
        trunc_normal_(self.bias_table, std=0.02)
        with torch.device("cpu"):  # what hears what is worked out even where the model is built on "meta"
            slots_WM = window_slots(grid, self.window, self.shift)
            apart = deaf(slots_WM, grid, self.shift)
            # moving tokens into windows is one look-up each way, whatever is cut, shifted or filled up; an
            # empty slot takes token 0, which nobody in the window hears
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

    def _bias(self) -> Tensor:
        """What is added to the logits: (1, H, M, M), or (W, H, M, M) where some must not hear others."""
        bias_1HMM = offset_bias(self.bias_table, self.offset)
        return bias_1HMM if self.deaf is None else bias_1HMM.masked_fill(self.deaf, float("-inf"))

    def forward(self, tokens: Tokens) -> Tensor:
        x_BSD = tokens.x.index_select(1, self.into)
        qkv = self.qkv(x_BSD).unflatten(-1, (3, self.heads, self.head_dim)).unbind(2)
        q_BHSK, k_BHSK, v_BHSK = (part.transpose(1, 2) for part in qkv)
        q_BHSK, k_BHSK = self.rotated(tokens, q_BHSK, k_BHSK, index=self.into)
        return self.proj(attend_in_windows(q_BHSK, k_BHSK, v_BHSK, self._bias(), self.back))

    def reference(self, tokens: Tokens) -> Tensor:
        B, _, D = tokens.x.shape
        (rows, columns), (high, wide), (down, right) = self.grid, self.window, self.shift
        qkv = self.qkv(tokens.x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heads = (*self.rotated(tokens, qkv[0], qkv[1]), qkv[2])
        q, k, v = (part.transpose(1, 2).reshape(B, rows, columns, D) for part in heads)
        out = torch.zeros_like(q)
        places = [(r, c) for r in range(rows) for c in range(columns)]
        for r, c in places:
            # the windows' borders lie at `shift` and every window's length from there
            mine = ((r - down) // high, (c - right) // wide)
            heard = [(i, j) for i, j in places if ((i - down) // high, (j - right) // wide) == mine]
            for head in range(self.heads):
                at = slice(head * self.head_dim, (head + 1) * self.head_dim)
                logits = [
                    q[:, r, c, at].mul(k[:, i, j, at]).sum(-1) / self.head_dim**0.5
                    + self.bias_table[(r - i + high - 1) * (2 * wide - 1) + c - j + wide - 1, head]
                    for i, j in heard
                ]
                weights = torch.stack(logits, dim=-1).softmax(-1)
                values = torch.stack([v[:, i, j, at] for i, j in heard], dim=1)
                out[:, r, c, at] = (weights[..., None] * values).sum(1)
        return self.proj(out.view(B, -1, D))

    def macs(self) -> int:
        n, d, filled = self.layout.patches, self.dim, self.num_windows * self.slots
        return 3 * filled * d * d + 2 * filled * self.slots * d + n * d * d
