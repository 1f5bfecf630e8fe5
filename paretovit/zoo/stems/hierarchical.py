"""Small patches that are worked on and merged inside the unit that becomes one token.

Idea     Hierarchical models gain little from attention among small patches. Without it the small patches of a unit
         never hear those of another, so what came before the plain transformer is a stem: it can be run for the units
         that a masked image keeps, and for no other.
Paper    Zhang et al. 2022, "HiViT: A Simpler and More Efficient Design of Hierarchical Vision Transformer", sec. 3.2.
Differs  No stochastic depth in the stem.
"""

from __future__ import annotations

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import Pixels
from paretovit.zoo.between.patch_merging import PatchMerging
from paretovit.zoo.mlps.mlp import Mlp
from paretovit.zoo.norms.layer_norm import LayerNorm
from paretovit.zoo.stems import Stem, cut
from paretovit.zoo.stems.patch import Patch
from paretovit.zoo.tokens import Layout, Tokens


class Hierarchical(Stem):
    """One level per entry of `depths`: as many residual MLPs, `ratio` times as wide inside, then 2 x 2 merging.

    Every level doubles the width and halves the sides, so that with two of them a patch of 16 starts as 4 x 4 patches
    of 4 pixels and a quarter of the width.

    Raises `UserError` for a patch or a width that cannot be halved as often.
    """

    first_conv = "patch.proj"

    def __init__(
        self,
        in_chans: int,
        dim: int,
        image_px: Pixels,
        patch_px: int,
        *,
        depths: tuple[int, ...] = (2, 2),
        ratio: float = 3.0,
    ) -> None:
        super().__init__()
        cut(image_px, patch_px)
        parts = 2 ** len(depths)
        if patch_px % parts or dim % parts:
            raise UserError(
                f"hierarchical stem: {len(depths)} levels need a patch and a width divisible by {parts}, "
                f"got {patch_px} and {dim}; state fewer depths"
            )
        width = dim // parts
        self.patch = Patch(in_chans, width, image_px, patch_px // parts)
        self.norm = LayerNorm(width)
        layout = Layout.of_grid(self.patch.grid)
        levels = []
        for depth in depths:
            works = [_ResidualMlp(width, layout, ratio) for _ in range(depth)]
            merging = PatchMerging(width, 2 * width, layout)
            levels += [*works, merging]
            layout, width = merging.after(), 2 * width
        self.levels = nn.ModuleList(levels)
        assert layout.grid is not None
        self.grid = layout.grid

    def forward(self, image: Tensor) -> Tensor:
        tokens = Tokens(self.norm(self.patch(image)), grid=self.patch.grid)
        for part in self.levels:
            tokens = part(tokens)
        return tokens.x

    def macs(self) -> int:
        parts = [part for part in self.levels if isinstance(part, _ResidualMlp | PatchMerging)]
        return self.patch.macs() + sum(part.macs() for part in parts)


class _ResidualMlp(nn.Module):
    """Tokens plus an MLP of their layer norm."""

    def __init__(self, dim: int, layout: Layout, ratio: float) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.mlp = Mlp(dim, layout, ratio=ratio)

    def forward(self, tokens: Tokens) -> Tokens:
        return tokens.with_x(tokens.x + self.mlp(tokens.with_x(self.norm(tokens.x))))

    def macs(self) -> int:
        return self.mlp.macs()
