"""STViT-R on Swin: in the third stage most blocks work on nine semantic tokens per window."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

_BLOCKS_IN_GROUP = 6  # of which one works on the image tokens, and three are in the sequence method

# width, heads of the first stage, depth of the third
_SIZES = {
    "stvit_swin_tiny": (96, 3, 6, Published(None, None, 80.8, "Chang et al. 2023")),
    "stvit_swin_small": (96, 3, 18, Published(49.63, 5.83, None, "log in the repository")),
    "stvit_swin_base": (128, 4, 18, Published(87.81, 10.26, None, "log in the repository")),
}


class StvitSwin(Macro):
    """Two convolutions for the stem; windows of 7, shifted in every second block but for the third stage."""

    paper = "Chang et al. 2023, Making Vision Transformers Efficient from A Token Sparsification View: STViT-R"
    arxiv = "2303.08685"
    family = "summary tokens"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        return [(_spec(name, *size), published) for name, (*size, published) in _SIZES.items()]


def _spec(name: str, dim: int, heads: int, depth: int) -> ModelSpec:
    window, merge = Part.of("shifted_window", window=7), Part("patch_merging")
    stages = [
        Stage(depth=2, dim=dim, heads=heads, mixer=window),
        Stage(depth=2, dim=2 * dim, heads=2 * heads, mixer=window, between=merge),
    ]
    for group in range(depth // _BLOCKS_IN_GROUP):
        between = Part("straight") if group else merge
        stages += [
            Stage(depth=1, dim=4 * dim, heads=4 * heads, mixer=window, between=between),
            Stage(
                depth=2,
                dim=4 * dim,
                heads=4 * heads,
                sequence=Part.of("stvit", heads=4 * heads, window=7, tokens=3, reach=10),
                mixer=Part.of("local_global", window=3),
                layer_scale=1e-5,
            ),
        ]
    stages.append(Stage(depth=2, dim=8 * dim, heads=8 * heads, mixer=window, between=merge))
    return ModelSpec(
        name=name,
        stages=tuple(stages),
        stem=Part.of("conv", widths=(dim // 2,), batch_norm=True, act="hardswish"),
        position=Part("absent"),
        readout=Part.of("mean", norm_first=True),
        init="truncated",
        patch_px=4,
    )
