"""ResT: attention to a reduced map, heads that hear each other, places told by a convolution."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

_RATIOS, _HEADS = (8, 4, 2, 1), (1, 2, 4, 8)
_EMBED = Part.of("conv_embed", bias=False, norm="batch_norm", position="pixel_attention")
_NORM = Part.of("layer_norm", eps=1e-5)

# name: width of the first stage, depths, millions of parameters, top-1, name in the paper
_SIZES = {
    "rest_lite": (64, (2, 2, 2, 2), 10.5, 77.2, "ResT-Lite"),
    "rest_small": (64, (2, 2, 6, 2), 13.7, 79.6, "ResT-Small"),
    "rest_base": (96, (2, 2, 6, 2), 30.3, 81.6, "ResT-Base"),
    "rest_large": (96, (2, 2, 18, 2), 51.6, 83.6, "ResT-Large"),
}


class Rest(Macro):
    """Four stages of spatial-reduction attention; each begins with a convolution and pixel attention.

    Followed is the released code, whose stem is three convolutions. The numbers that the paper prints are of the other
    stem in that code, a 7 x 7 convolution and max-pooling, and leave out the products of attention: then all their
    digits follow (10.49, 13.66, 30.28, 51.63 M; 1.4, 1.9, 4.3, 7.9 G). By our count the four models here take
    1.53, 2.09, 4.63 and 8.36 G. Images of any size that 4 divides.
    """

    paper = "Zhang & Yang 2021, ResT: An Efficient Transformer for Visual Recognition"
    arxiv = "2105.13677"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [
            (_spec(name, width, depths), Published(params_m, None, top1, f"Zhang & Yang 2021: {printed}"))
            for name, (width, depths, params_m, top1, printed) in _SIZES.items()
        ]


def _spec(name: str, width: int, depths: tuple[int, ...]) -> ModelSpec:
    stages = [
        Stage(
            depth=depth,
            dim=width * 2**i,
            heads=_HEADS[i],
            mixer=Part.of("spatial_reduction", ratio=_RATIOS[i]),
            between=_EMBED if i else Part("straight"),
        )
        for i, depth in enumerate(depths)
    ]
    stem = Part.of(
        "conv",
        widths=(width // 2, width // 2),
        strides=(2, 1, 2),
        bias=False,
        batch_norm=True,
        act="relu",
        bare_last=True,
    )
    return ModelSpec(
        name=name,
        stages=tuple(stages),
        stem=stem,
        position=Part("pixel_attention"),
        readout=Part("mean"),
        norm=_NORM,
        final_norm=_NORM,
        init="truncated",
        patch_px=4,
    )
