"""Blocks of another width than the tokens that come to them.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", sec. 3.4.2, where a new
         stage has other widths than the layers whose place it takes.
Differs  The thesis maps the new stage's features to the width of the old ones for the distillation loss. The layers
         behind want that width, too, so one map at the end of the stage serves both.
Shapes   B images, N tokens, D width of the model, W width of the blocks.
"""

from __future__ import annotations

from torch import nn

from paretovit.zoo.tokens import Layout


class Projection(nn.Module):
    """Linear maps of every token: `into` the blocks of a stage, D to W, and `out` of them, W to D.

    `layout` is that of the tokens that go through the blocks, all of which leave them.
    """

    def __init__(self, dim: int, width: int, layout: Layout) -> None:
        super().__init__()
        self.dim, self.width, self.layout = dim, width, layout
        self.into, self.out = nn.Linear(dim, width), nn.Linear(width, dim)

    def macs(self) -> int:
        """Multiply-accumulates of one image; closed form."""
        return 2 * self.layout.num_tokens * self.dim * self.width
