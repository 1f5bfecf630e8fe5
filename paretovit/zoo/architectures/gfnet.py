"""GFNet: global filters at one resolution, and in a pyramid of four."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

# depth, width
_PLAIN = {
    "gfnet_tiny": (12, 256, Published(None, 1.3, 74.6, "repository")),  # 7 is printed of its 7.51 million
    "gfnet_xs": (12, 384, Published(16, 2.8, 78.6, "repository")),
    "gfnet_small": (19, 384, Published(25, 4.5, 80.0, "repository")),
    "gfnet_base": (19, 512, Published(43, 7.9, 80.7, "repository")),
}
# depth of the third stage, width of the first, LayerScale. The repository prints 2.0, 4.5 and 8.4 billion
# multiply-accumulates, without the Fourier transforms.
_PYRAMID = {
    "gfnet_h_tiny": (10, 64, 1e-3, Published(15, None, 80.1, "repository")),
    "gfnet_h_small": (10, 96, 1e-5, Published(32, None, 81.5, "repository")),
    "gfnet_h_base": (27, 96, 1e-6, Published(54, None, 82.9, "repository")),
}


class Gfnet(Macro):
    """Blocks with one residual around filter and MLP; no class token; the mean is taken after the last norm."""

    paper = "Rao et al. 2021, Global Filter Networks"
    arxiv = "2107.00645"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        rows = []
        for name, (depth, dim, published) in _PLAIN.items():
            stage = Stage(depth=depth, dim=dim, heads=1, mixer=Part("gfnet"))
            rows.append((_spec(name, (stage,), patch_px=16), published))
        for name, (depth, dim, scale, published) in _PYRAMID.items():
            stages = tuple(
                Stage(
                    depth=depth if i == 2 else 3,
                    dim=dim * 2**i,
                    heads=1,
                    mixer=Part("gfnet"),
                    between=Part.of("conv_embed", kernel=2, norm="absent") if i else Part("straight"),
                    layer_scale=scale,
                )
                for i in range(4)
            )
            rows.append((_spec(name, stages, patch_px=4), published))
        return rows


def _spec(name: str, stages: tuple[Stage, ...], *, patch_px: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        stages=stages,
        readout=Part.of("mean", norm_first=True),
        mlp_residual="block",
        init="truncated",
        patch_px=patch_px,
    )
