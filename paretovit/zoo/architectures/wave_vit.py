"""Wave-ViT: attention to wavelet sub-bands where maps are large, to all tokens where they are small."""

from __future__ import annotations

from typing import NamedTuple

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

_MLP_RATIOS = (8.0, 8.0, 4.0, 4.0)
_EMBED = Part.of("conv_embed", norm_first="layer_norm")
_PATCHES = Part.of("conv", widths=(), kernel=7, norm="layer_norm")


class _Size(NamedTuple):
    """Width, heads and blocks of the four stages."""

    widths: tuple[int, ...]
    heads: tuple[int, ...]
    depths: tuple[int, ...]


_SMALL = _Size((64, 128, 320, 448), (2, 4, 10, 14), (3, 4, 6, 3))
_BASE = _Size((64, 128, 320, 512), (2, 4, 10, 16), (3, 4, 12, 3))
_LARGE = _Size((96, 192, 384, 512), (3, 6, 12, 16), (3, 6, 18, 3))


class WaveVit(Macro):
    """Four stages, the first two with wavelet attention; MLPs with a depthwise convolution tell places.

    `wave_vit_small` cuts patches by one convolution and ends with the mean of the tokens: so follow the parameters and
    multiply-accumulates that the paper prints for its plain form. Those with `_ca` are the form of its released code:
    four convolutions at the beginning, a block of class attention at the end. Not here is their second head, which
    learns a label for every token (0.45 M parameters of the small one, 0.51 M of the others): with it follow the
    printed 22.7, 33.5 and 57.5 M. By our count `wave_vit_small_ca` takes 4.60 billion multiply-accumulates, 4.62 with
    that head, where 4.7 is printed. Images of any size that 4 divides.
    """

    paper = "Yao et al. 2022, Wave-ViT: Unifying Wavelet and Transformers for Visual Representation Learning"
    arxiv = "2207.04978"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [
            (
                _spec("wave_vit_small", _SMALL),
                Published(19.8, 4.3, 82.7, "Yao et al. 2022: Wave-ViT-S without token labels"),
            ),
            (
                _spec("wave_vit_small_ca", _SMALL, stem_width=32),
                Published(None, None, 83.9, "Yao et al. 2022: Wave-ViT-S with token labels"),
            ),
            (
                _spec("wave_vit_base_ca", _BASE, stem_width=64),
                Published(None, 7.2, 84.8, "Yao et al. 2022: Wave-ViT-B with token labels"),
            ),
            (
                _spec("wave_vit_large_ca", _LARGE, stem_width=64),
                Published(None, 14.8, 85.5, "Yao et al. 2022: Wave-ViT-L with token labels"),
            ),
        ]


def _spec(name: str, size: _Size, *, stem_width: int | None = None) -> ModelSpec:
    mixers = (Part.of("wavelet_attention", ratio=4), Part.of("wavelet_attention", ratio=2), *[Part("attention")] * 2)
    stages = [
        Stage(
            depth=depth,
            dim=size.widths[i],
            heads=size.heads[i],
            mixer=mixers[i],
            mlp=Part.of("conv_mlp", ratio=_MLP_RATIOS[i]),
            between=_EMBED if i else Part("straight"),
        )
        for i, depth in enumerate(size.depths)
    ]
    convs = Part.of(
        "conv",
        widths=(stem_width,) * 3,
        strides=(2, 1, 1, 2),
        kernel=(7, 3, 3, 3),
        batch_norm=True,
        act="relu",
        bare_last=True,
        norm="layer_norm",
    )
    plain = stem_width is None
    return ModelSpec(
        name=name,
        stages=tuple(stages),
        stem=_PATCHES if plain else convs,
        position=Part("absent"),
        readout=Part("mean") if plain else Part.of("class_attention", heads=size.heads[-1]),
        init="truncated",
        patch_px=4,
    )
