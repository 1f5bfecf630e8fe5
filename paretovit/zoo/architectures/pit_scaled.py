"""PiT with what scaling a plain ViT has taught: image size, depth and heads carried over. No torch.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", appendix A, table 8, on
         Heo et al. 2021, "Rethinking Spatial Dimensions of Vision Transformers" (PiT); distilled as DeiT is.
"""

from __future__ import annotations

from typing import NamedTuple

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published


class Factors(NamedTuple):
    """Image in pixels, layers of the three stages, heads h of the first (2h and 4h follow), width per head."""

    image_px: int
    layers: tuple[int, int, int]
    heads: int
    head_dim: int


FACTORS = {
    "tiny": Factors(160, (2, 7, 4), 3, 32),
    "xs": Factors(160, (2, 6, 4), 3, 48),
    "small": Factors(256, (3, 10, 6), 2, 48),
}
# what they were scaled from: Heo et al. 2021, table 2, as table 8 prints them again
UNSCALED = {
    "tiny": Factors(224, (2, 6, 4), 2, 32),
    "xs": Factors(224, (2, 6, 4), 2, 48),
    "small": Factors(224, (2, 6, 4), 3, 48),
}

_SOURCE = "Hardware-Aware Vision Transformer Scaling 2021, table 8"
_PUBLISHED = {
    "tiny": Published(None, 0.70, 76.7, _SOURCE),
    "xs": Published(None, 1.38, 79.5, _SOURCE),
    "small": Published(None, 3.04, 81.8, _SOURCE),
}


class PitScaled(Macro):
    """`pit_scaled_tiny`, `pit_scaled_xs` and `pit_scaled_small`."""

    paper = "Anonymous 2021, An Investigation on Hardware-Aware Vision Transformer Scaling"
    arxiv = "2103.16302"  # of PiT, which it scales; the paper itself has none

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [(pit(f"pit_scaled_{name}", factors), _PUBLISHED[name]) for name, factors in FACTORS.items()]


def pit(name: str, factors: Factors) -> ModelSpec:
    """The distilled PiT of those factors: patches of 16 pixels every 8, three stages, each half as wide a grid and
    twice as wide tokens as the one before."""
    width = factors.heads * factors.head_dim
    stages = tuple(
        Stage(
            depth=layers,
            dim=width << i,
            heads=factors.heads << i,
            between=Part("conv_pool") if i else Part("straight"),
        )
        for i, layers in enumerate(factors.layers)
    )
    return ModelSpec(
        name=name,
        stages=stages,
        stem=Part.of("patch", stride=8),
        position=Part.of("learned", prefix=False),
        readout=Part("distilled"),
        image_px=factors.image_px,
        patch_px=16,
    )
