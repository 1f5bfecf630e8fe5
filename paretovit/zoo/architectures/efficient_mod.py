"""EfficientMod: modulation blocks, with a few of attention behind them in the last two stages."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

# width, modulation blocks, attention blocks and MLP ratio of these in each stage; ratio of the modulation. Sizes as in
# the released code: the last MLPs of `s` are 5 times as wide as its tokens, which the paper's table does not say.
_SIZES = {
    "efficient_mod_xxs": (
        ((32, 2, 0, 4), (64, 2, 0, 4), (128, 6, 1, 4), (256, 2, 2, 4)),
        6,
        Published(4.7, 0.6, 76.0, "paper"),
    ),
    "efficient_mod_xs": (
        ((32, 3, 0, 4), (64, 3, 0, 4), (144, 4, 3, 4), (288, 2, 3, 4)),
        4,
        Published(6.6, 0.8, 78.3, "paper"),
    ),
    "efficient_mod_s": (
        ((32, 4, 0, 4), (64, 4, 0, 4), (144, 8, 4, 4), (312, 4, 4, 5)),
        6,
        Published(12.9, 1.4, 81.0, "paper"),
    ),
}
_HEADS = 8


class EfficientMod(Macro):
    """Attention has 8 heads of at least 32, no bias on queries, keys and values, and no LayerScale."""

    paper = "Ma et al. 2024, Efficient Modulation for Vision Networks"
    arxiv = "2403.19963"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [(_spec(name, sizes, ratio), published) for name, (sizes, ratio, published) in _SIZES.items()]


def _spec(name: str, sizes: tuple[tuple[int, int, int, int], ...], ratio: int) -> ModelSpec:
    stages = []
    for i, (dim, modulated, attended, mlp_ratio) in enumerate(sizes):
        stages.append(
            Stage(
                depth=modulated,
                dim=dim,
                heads=_HEADS,
                mixer=Part.of("efficient_modulation", ratio=ratio),
                mlp=None,
                between=Part("conv_embed") if i else Part("straight"),
                layer_scale=1e-4,
            )
        )
        if attended:
            attention = Part.of("attention", head_dim=max(dim // _HEADS, 32), qkv_bias=False)
            mlp = Part.of("mlp", ratio=mlp_ratio)
            stages.append(Stage(depth=attended, dim=dim, heads=_HEADS, mixer=attention, mlp=mlp))
    return ModelSpec(
        name=name,
        stages=tuple(stages),
        stem=Part.of("conv", widths=(), kernel=7, norm="layer_norm"),
        position=Part("absent"),
        readout=Part.of("mean", norm_first=True),
        init="truncated",
        patch_px=4,
    )
