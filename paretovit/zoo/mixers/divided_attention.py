"""Attention along one part of a video at a time: to the same place in other frames, or to other places in the frame.

Idea     A token that listens first through time and then through space hears of every other at a fraction of the cost
         of listening to all of them.
Paper    Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?" (TimeSformer), sec. 3;
         what becomes of the class token as in the authors' code.
Shapes   B videos, N tokens, D width, T frames, S patches of a frame, P class tokens, H heads, K width per head.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._softmax import attend_among_few
from paretovit.zoo.tokens import Layout, Tokens


class DividedAttention(Mixer):
    """Softmax attention among the tokens of one place through `along="time"`, or of one frame through `along="space"`.

    Time is the first axis of the grid. In space every frame has the class tokens with its own, and what they come to
    in each is averaged; in time they do not take part, and nothing is added to them. `out_map` puts a second linear
    map behind the projection.

    Raises `UserError` for another direction and for tokens off the grid.
    """

    family = "baseline"  # of TimeSformer, in the survey of Nauen et al. 2023
    needs_grid = True
    takes_time = True
    trials = ({"along": "time"}, {"along": "time", "out_map": True})

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        along: Literal["space", "time"] = "space",
        out_map: bool = False,
    ) -> None:
        super().__init__(dim, heads, layout)
        if along not in ("space", "time"):
            raise UserError(f"divided_attention: along must be 'space' or 'time', got {along!r}")
        assert layout.grid is not None
        self.along, self.frames = along, layout.grid[0]
        self.head_dim = head_dim_of(dim, heads, None)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.out_map = nn.Linear(dim, dim) if out_map else nn.Identity()

    def forward(self, tokens: Tokens) -> Tensor:
        class_BPD = tokens.x[:, : tokens.prefix]
        x_BTSD = tokens.x[:, tokens.prefix :].unflatten(1, (self.frames, -1))
        if self.along == "time":
            out = self._attended(x_BTSD.transpose(1, 2)).transpose(1, 2).flatten(1, 2)
            return torch.cat((torch.zeros_like(class_BPD, dtype=out.dtype), out), dim=1)
        in_each = class_BPD.unsqueeze(1).expand(-1, self.frames, -1, -1)
        out = self._attended(torch.cat((in_each, x_BTSD), dim=2))
        return torch.cat((out[:, :, : tokens.prefix].mean(1), out[:, :, tokens.prefix :].flatten(1, 2)), dim=1)

    def _attended(self, x: Tensor) -> Tensor:
        """Attention within the rows (B, groups, tokens, D)."""
        qkv = self.qkv(x.flatten(0, 1)).unflatten(-1, (3, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        out = self.proj(attend_among_few(*qkv.unbind(0)).transpose(1, 2).flatten(2))
        return self.out_map(out).unflatten(0, (len(x), -1))

    def reference(self, tokens: Tokens) -> Tensor:
        P, per_frame = tokens.prefix, self.layout.patches // self.frames
        q, k, v = (part.transpose(1, 2) for part in self.qkv(tokens.x).unflatten(-1, (3, self.heads, -1)).unbind(2))

        def heard(i: int, among: list[int]) -> Tensor:
            weights = (q[:, :, i : i + 1] * k[:, :, among]).sum(-1) / self.head_dim**0.5
            mixed = (weights.softmax(-1).unsqueeze(-1) * v[:, :, among]).sum(2)
            return self.out_map(self.proj(mixed.flatten(1)))

        out = torch.zeros_like(tokens.x)
        frames = [[P + t * per_frame + s for s in range(per_frame)] for t in range(self.frames)]
        for frame in frames:
            for s, i in enumerate(frame):
                through = list(range(P)) + frame if self.along == "space" else [other[s] for other in frames]
                out[:, i] = heard(i, through)
            for i in range(P if self.along == "space" else 0):
                out[:, i] += heard(i, list(range(P)) + frame) / self.frames
        return out

    def macs(self) -> int:
        n, d, t = self.layout.patches, self.dim, self.frames
        groups, size = (t, n // t + self.layout.prefix) if self.along == "space" else (n // t, t)
        maps = 5 if isinstance(self.out_map, nn.Linear) else 4
        return groups * (maps * size * d * d + 2 * size * size * d)
