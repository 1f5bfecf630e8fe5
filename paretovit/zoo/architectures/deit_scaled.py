"""Plain ViTs scaled step by step against a cost: by depth, heads, width per head, MLP ratio, image and patch. No torch.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", tables 1, 2, 5, 12 and 13;
         distilled as DeiT is: the printed multiply-accumulates are those of models with a second token and classifier.
"""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.factors import Factors
from paretovit.zoo.taxonomy import Published

__all__ = ["FACTORS", "DeitScaled", "Factors", "plain"]

# where the search starts, where it leads to when macs are its cost, and what random permutation (RP) makes of that
FACTORS = {
    "start": Factors(6, 2, 64, 4, 160),
    "tiny": Factors(14, 4, 64, 4, 160),
    "small": Factors(20, 4, 64, 4, 256),
    "base": Factors(20, 6, 64, 4, 320),
    "tiny_rp": Factors(17, 4, 60, 5, 171, 19),
    "small_rp": Factors(21, 4, 68, 5, 210, 15),
    # where it leads to when the cost is measured on a device
    "v100": Factors(13, 5, 64, 4, 160),
    "tx2_a": Factors(6, 4, 64, 16, 160),
    "tx2_b": Factors(10, 4, 64, 16, 160),
    "pixel3_a": Factors(16, 2, 108, 4, 160),
    "pixel3_b": Factors(16, 2, 142, 4, 160),
}

_SOURCE = "Hardware-Aware Vision Transformer Scaling 2021, table"
_PUBLISHED = {
    "start": Published(None, 0.15, None, f"{_SOURCE} 1"),
    "tiny": Published(None, 1.22, 76.4, f"{_SOURCE} 2"),
    "small": Published(None, 4.79, 81.6, f"{_SOURCE} 2"),
    "base": Published(None, 16.82, 83.8, f"{_SOURCE} 2"),
    "tiny_rp": Published(None, 1.22, 76.9, f"{_SOURCE} 13"),
    "small_rp": Published(None, 4.79, 82.0, f"{_SOURCE} 13"),
    "v100": Published(None, None, 78.10, f"{_SOURCE} 12"),
    "tx2_a": Published(None, None, 74.0, f"{_SOURCE} 5"),
    "tx2_b": Published(None, None, 78.17, f"{_SOURCE} 12"),
    "pixel3_a": Published(None, None, 74.8, f"{_SOURCE} 5"),
    "pixel3_b": Published(None, None, 77.5, f"{_SOURCE} 5"),
}


class DeitScaled(Macro):
    """`deit_scaled_tiny` and its like, with the distillation token of DeiT."""

    paper = "Anonymous 2021, An Investigation on Hardware-Aware Vision Transformer Scaling"
    arxiv = "2012.12877"  # of DeiT, which it scales; the paper itself has none

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [(plain(f"deit_scaled_{name}", factors), _PUBLISHED[name]) for name, factors in FACTORS.items()]


def plain(name: str, factors: Factors) -> ModelSpec:
    """The distilled ViT of those factors."""
    stage = Stage(
        depth=factors.layers,
        dim=factors.heads * factors.head_dim,
        heads=factors.heads,
        mlp=Part.of("mlp", ratio=float(factors.ratio)),
    )
    return ModelSpec(
        name=name,
        stages=(stage,),
        readout=Part("distilled"),
        image_px=factors.image_px,
        patch_px=factors.patch_px,
    )
