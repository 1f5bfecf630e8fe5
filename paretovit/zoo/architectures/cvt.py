"""CvT: convolutions between the stages of a vision transformer, and in its attention."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

_NORM = Part.of("layer_norm", eps=1e-5)


class Cvt(Macro):
    """Three stages of attention with convolved queries, keys and values; a class token joins the last. No places.

    Followed is the paper, sec. 3. Where its released code differs: logits are divided by the root of a
    head's width, there by that of all heads; the first convolution's padding is 3, there 2, which moves its view by a
    pixel; layer norms after convolutions add 1e-6 to the variance, there 1e-5. Keys have no bias, which changes
    nothing. The paper cuts its counts: by ours CvT-13 takes 4.57 billion multiply-accumulates (4.5 printed), CvT-21
    7.18 (7.1). Images of any size that 4 divides.
    """

    paper = "Wu et al. 2021, CvT: Introducing Convolutions to Vision Transformers"
    arxiv = "2103.15808"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [
            (_spec("cvt_13", (1, 2, 10)), Published(20, None, 81.6, "Wu et al. 2021: CvT-13")),
            (_spec("cvt_21", (1, 4, 16)), Published(32, 7.1, 82.5, "Wu et al. 2021: CvT-21")),
        ]


def _spec(name: str, depths: tuple[int, int, int]) -> ModelSpec:
    widths, heads = (64, 192, 384), (1, 3, 6)
    stages = [
        Stage(depth=depth, dim=dim, heads=count, mixer=Part("conv_attention"), between=Part("conv_embed"))
        for depth, dim, count in zip(depths, widths, heads, strict=True)
    ]
    stages[0] = Stage(depth=depths[0], dim=widths[0], heads=heads[0], mixer=Part("conv_attention"))
    return ModelSpec(
        name=name,
        stages=tuple(stages),
        stem=Part.of("conv", widths=(), kernel=7, norm="layer_norm"),
        position=Part("absent"),
        readout=Part.of("class_token", joins=2),
        norm=_NORM,
        final_norm=_NORM,
        init="truncated",
        patch_px=4,
    )
