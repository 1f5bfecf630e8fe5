"""A small ViT scaled in depth and, for comparison, in width. No torch.

Paper    Dehghani et al. 2021, "The Efficiency Misnomer", table 2 and figure 4.
Differs  From the printed configurations, to meet the printed costs: the MLPs of the deep models are 1,536 wide and not
         1,024, patches have 32 pixels at an image of 224, and the 18,291 classes are those of JFT-300M.
"""

from __future__ import annotations

from typing import NamedTuple

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published


class Shape(NamedTuple):
    """Blocks, hidden width of the MLP, width, heads."""

    layers: int
    hidden: int
    dim: int
    heads: int


SHAPES = {
    **{f"d{layers}": Shape(layers, 1536, 384, 6) for layers in (6, 8, 16, 24, 32, 48)},
    "w768": Shape(12, 768, 192, 3),
    "w1024": Shape(12, 1024, 384, 6),
    "w1536": Shape(12, 1536, 512, 8),
    "w3072": Shape(12, 3072, 768, 12),
    "w4096": Shape(12, 4096, 1024, 16),
}
JFT_CLASSES = 18_291

_SOURCE = "Dehghani et al. 2021, table 2"
_PUBLISHED = {
    "d6": Published(18.89, 0.61, None, _SOURCE),
    "d8": Published(22.44, 0.79, None, _SOURCE),
    "d16": Published(36.63, 1.52, None, _SOURCE),
    "d24": Published(50.83, 2.25, None, _SOURCE),
    "d32": Published(65.03, 2.98, None, _SOURCE),
    "d48": Published(93.42, 4.43, None, _SOURCE),
    "w768": Published(9.47, 0.31, None, _SOURCE),
    "w1024": Published(24.81, 0.92, None, _SOURCE),
    "w1536": Published(42.51, 1.70, None, _SOURCE),
    "w3072": Published(101.52, 4.44, None, _SOURCE),
    "w4096": Published(173.10, 7.80, None, _SOURCE),
}


class DepthWidth(Macro):
    """`vit_d6_patch32_224` to `vit_d48_patch32_224` by blocks, `vit_w768_patch32_224` to `vit_w4096_patch32_224` by the
    width of the MLP."""

    paper = "Dehghani et al. 2021, The Efficiency Misnomer"
    arxiv = "2110.12894"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [(_spec(f"vit_{name}_patch32_224", shape), _PUBLISHED[name]) for name, shape in SHAPES.items()]


def _spec(name: str, shape: Shape) -> ModelSpec:
    stage = Stage(depth=shape.layers, dim=shape.dim, heads=shape.heads, mlp=Part.of("mlp", hidden=shape.hidden))
    return ModelSpec(name=name, stages=(stage,), patch_px=32, num_classes=JFT_CLASSES)
