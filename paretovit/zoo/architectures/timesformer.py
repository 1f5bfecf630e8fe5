"""TimeSformer: ViT on videos, its attention over space and time jointly, or divided."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

_FRAMES = 8
_DEPTH = 12
# width and heads; the paper has the base size alone, tiny is ours, for a machine without an accelerator
_SIZES = {"tiny": (192, 3), "base": (768, 12)}
# 590 billion are printed of three views. Its top-1, 77.9, is that of Kinetics-400, and so are the classes.
_PUBLISHED = {"timesformer_base_divided": Published(121.4, 197, None, "paper: 590 billion for 3 views")}


class Timesformer(Macro):
    """ViT/16 on 8 frames; an MLP follows attention in space, none that in time.

    Differs: the map behind attention in time is drawn as all linear maps are. The authors start it at zero in all
    blocks but the first, so that a model that begins with the weights of an image model begins as that.
    """

    paper = "Bertasius et al. 2021, Is Space-Time Attention All You Need for Video Understanding? (TimeSformer)"
    arxiv = "2102.05095"
    family = "baseline"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        specs = []
        for size, (dim, heads) in _SIZES.items():
            time, space = (Part.of("divided_attention", along="time", out_map=True), Part("divided_attention"))
            through_time = Stage(depth=1, dim=dim, heads=heads, mixer=time, mlp=None)
            in_space = Stage(depth=1, dim=dim, heads=heads, mixer=space)
            joint = Stage(depth=_DEPTH, dim=dim, heads=heads)
            specs.append(_spec(f"timesformer_{size}_divided", (through_time, in_space) * _DEPTH))
            specs.append(_spec(f"timesformer_{size}_joint", (joint,)))
        return [(spec, _PUBLISHED.get(spec.name, Published())) for spec in specs]


def _spec(name: str, stages: tuple[Stage, ...]) -> ModelSpec:
    return ModelSpec(
        name=name,
        stages=stages,
        stem=Part.of("video", frames=_FRAMES),
        position=Part("space_time"),
        init="truncated",
        num_classes=400,
    )
