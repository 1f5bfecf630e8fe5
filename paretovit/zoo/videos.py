"""A plain ViT made a model of videos, its attention over space and time jointly, or divided. No torch.

Paper    Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?" (TimeSformer), sec. 3.
"""

from __future__ import annotations

from dataclasses import replace

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage

FRAMES = 8  # of a clip, as most of the paper's models have them
CLASSES = 400  # of Kinetics-400, on which they were trained
ATTENTION = ("joint", "divided")

_NAMED = "vit_"


def on_videos(image: ModelSpec, attention: str, *, frames: int = FRAMES) -> ModelSpec:
    """The TimeSformer of the shape of `image`, for so many frames of its size: "timesformer_divided_tiny_patch16_224".

    With "joint" attention every token hears all tokens of all frames. With "divided" attention each block is two: one
    through time, behind whose attention stands a second linear map, and one in space with the MLP. Its patches of all
    frames share the stem and a place; when they are is told by a vector per frame. Of a distilled model the second
    class token goes: a TimeSformer has one.

    Raises `UserError` for another attention, for no frame, and for a model that is not a plain ViT of images.
    """
    if attention not in ATTENTION:
        raise UserError(f"attention over space and time is {' or '.join(ATTENTION)}, got {attention!r}")
    if frames < 1:
        raise UserError(f"a video has at least one frame, got {frames}")
    if not is_plain(image):
        raise UserError(
            f"{image.name} cannot be made a model of videos: it takes a plain ViT on the skeleton, with learned "
            "positions and nothing but softmax attention, such as vit_tiny_patch16_224"
        )
    (stage,) = image.stages
    if attention == "divided":
        once = replace(stage, depth=1)
        through_time = replace(once, mixer=Part.of("divided_attention", along="time", out_map=True), mlp=None)
        stages = (through_time, replace(once, mixer=Part("divided_attention"))) * stage.depth
    else:
        stages = (stage,)
    return replace(
        image,
        name=f"timesformer_{attention}_{image.name.removeprefix(_NAMED)}",
        stages=stages,
        stem=Part.of("video", frames=frames),
        position=Part("space_time"),
        readout=Part("class_token") if image.readout.name == "distilled" else image.readout,
    )


def is_plain(image: ModelSpec) -> bool:
    """Whether a model is a ViT of images that differs from the first of its kind in shape, MLP and read-out alone."""
    if len(image.stages) != 1 or image.transforms:
        return False
    (stage,) = image.stages
    plain = Stage(depth=stage.depth, dim=stage.dim, heads=stage.heads, mlp=stage.mlp, layer_scale=stage.layer_scale)
    parts = (image.stem, image.position, image.mlp_residual)
    return stage == plain and parts == (ModelSpec.stem, ModelSpec.position, ModelSpec.mlp_residual)
