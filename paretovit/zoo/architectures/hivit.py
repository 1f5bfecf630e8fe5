"""HiViT: small patches merged without attention, then a plain transformer."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

# residual MLPs in each of the stem's two levels, depth, width, heads
_SIZES = {
    "hivit_tiny": (2, 10, 384, 6, Published(19.2, 4.6, 82.1, "repository")),
    "hivit_small": (4, 20, 384, 6, Published(37.5, 9.1, 83.5, "paper")),
    "hivit_base": (4, 20, 512, 8, Published(66.4, 15.9, 83.8, "paper")),
}


class Hivit(Macro):
    """The first two stages are the stem here: nothing in them passes from one token of the third to another."""

    paper = "Zhang et al. 2022, HiViT: A Simpler and More Efficient Design of Hierarchical Vision Transformer"
    arxiv = "2205.14949"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [
            (
                ModelSpec(
                    name=name,
                    stages=(Stage(depth=depth, dim=dim, heads=heads, mixer=Part("relative_attention")),),
                    stem=Part.of("hierarchical", depths=(before, before), ratio=3.0),
                    readout=Part("mean"),
                    init="truncated",
                ),
                published,
            )
            for name, (before, depth, dim, heads, published) in _SIZES.items()
        ]
