"""SLAB on DeiT: linear attention with ReLU features, and norms that become batch norms while training."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

_SIZES = {
    "slab_deit_tiny": (192, 3, Published(6.2, None, 74.3, "Guo et al. 2024")),  # "about 1.1 to 1.2" billion
    "slab_deit_small": (384, 6, Published(23, 4.4, 80.0, "Guo et al. 2024")),
}


class SlabDeit(Macro):
    """DeiT without a class token."""

    paper = "Guo et al. 2024, SLAB: Simplified Linear Attention and Progressive Re-parameterized Batch Normalization"
    arxiv = "2405.11582"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [
            (
                ModelSpec(
                    name=name,
                    stages=(Stage(depth=12, dim=dim, heads=heads, mixer=Part("simplified_linear_attention")),),
                    readout=Part.of("mean", norm_first=True),
                    norm=Part("prepbn"),
                    final_norm=Part("prepbn"),
                    init="truncated",
                ),
                published,
            )
            for name, (dim, heads, published) in _SIZES.items()
        ]
