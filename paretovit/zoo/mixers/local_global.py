"""Attention inside windows in one block, among all tokens in the next.

Paper    Chu et al. 2021, "Twins: Revisiting the Design of Spatial Attention in Vision Transformers", sec. 3.2; in this
         order on semantic tokens in Chang et al. 2023, "Making Vision Transformers Efficient from A Token
         Sparsification View".
Shapes   B images, N tokens, D width, H heads, K width per head, W windows, M tokens in a window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._windows import attend_in_windows, deaf, places_of, window_slots
from paretovit.zoo.tokens import Layout, Tokens


class LocalGlobal(Mixer):
    """Softmax attention in windows of `window` x `window` in even blocks of a stage, over all tokens in odd ones.

    A side shorter than the window is taken whole; where windows do not fit the grid, what fills the lower and right
    edge is not heard by anyone. Unlike `shifted_window` it knows nothing of places.
    """

    family = "sparse attention"
    takes_prefix = False
    needs_grid = True
    alternates = True
    rotates = True
    trials = ({"window": 2},)
    into: Tensor
    back: Tensor
    bias: Tensor

    def __init__(self, dim: int, heads: int, layout: Layout, *, window: int = 7, block: int = 0) -> None:
        super().__init__(dim, heads, layout)
        self.grid = rows_and_columns(layout)
        self.head_dim = head_dim_of(dim, heads, None)
        self.window = self.grid if block % 2 else tuple(min(window, side) for side in self.grid)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        with torch.device("cpu"):  # who sits where is worked out even where the model is built on "meta"
            slots_WM = window_slots(self.grid, self.window, (0, 0))
            apart = deaf(slots_WM, self.grid, (0, 0))
            slots = slots_WM.shape[1]
            unheard = torch.zeros(1, 1, slots, slots) if apart is None else torch.where(apart, float("-inf"), 0.0)
            index = {"into": slots_WM.flatten().clamp(min=0), "back": places_of(slots_WM.flatten(), layout.patches)}
        self.num_windows, self.slots = slots_WM.shape
        for name, values in (index | {"bias": unheard}).items():
            self.register_buffer(name, values.to(torch.get_default_device()), persistent=False)

    def forward(self, tokens: Tokens) -> Tensor:
        qkv = self.qkv(tokens.x.index_select(1, self.into)).unflatten(-1, (3, self.heads, self.head_dim))
        q_BHSK, k_BHSK, v_BHSK = (part.transpose(1, 2) for part in qkv.unbind(2))
        q_BHSK, k_BHSK = self.rotated(tokens, q_BHSK, k_BHSK, index=self.into)
        return self.proj(attend_in_windows(q_BHSK, k_BHSK, v_BHSK, self.bias, self.back))

    def reference(self, tokens: Tokens) -> Tensor:
        columns, (high, wide) = self.grid[1], self.window
        q, k, v = (part.transpose(1, 2) for part in self.qkv(tokens.x).unflatten(-1, (3, self.heads, -1)).unbind(2))
        q, k = self.rotated(tokens, q, k)
        window = [(i // columns // high, i % columns // wide) for i in range(self.layout.patches)]
        out = torch.zeros_like(v)
        for i, mine in enumerate(window):
            heard = [j for j, other in enumerate(window) if other == mine]
            weights = (q[:, :, i : i + 1] * k[:, :, heard]).sum(-1) / self.head_dim**0.5
            out[:, :, i] = (weights.softmax(-1).unsqueeze(-1) * v[:, :, heard]).sum(2)
        return self.proj(out.transpose(1, 2).flatten(2))

    def macs(self) -> int:
        n, d, filled = self.layout.patches, self.dim, self.num_windows * self.slots
        return 3 * filled * d * d + 2 * filled * self.slots * d + n * d * d
