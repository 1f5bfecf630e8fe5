"""The weights of a model of images for the model of videos that `on_videos` makes of it.

Paper    Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?" (TimeSformer), and the
         authors' code: attention through time begins as a copy of that in space, the linear map behind it and the
         vectors of the frames at zero.
Shapes   P class tokens, S patches of a frame, T frames, D width.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from paretovit.spec import ModelSpec

_BLOCK = re.compile(r"stages\.0\.(?P<block>\d+)\.(?P<part>.+)")
_OF_TIME = ("norm1.", "mixer.", "scale1.")


def for_videos(state: dict[str, Tensor], image: ModelSpec, video: ModelSpec) -> dict[str, Tensor]:
    """The state dict `state` of an `image` model under the names that `video` has, which `on_videos` made of it.

    All of it is carried over but a second class token and its classifier. Of one frame, with divided attention also of
    a still video, the model then gives what the model of images gives of the image.
    """
    divided = len(video.stages) > 1
    carried: dict[str, Tensor] = {}
    for name, tensor in state.items():
        inside = _BLOCK.fullmatch(name)
        if name.startswith("stem."):
            carried[f"stem.patch.{name.removeprefix('stem.')}"] = tensor
        elif name == "position.table":
            assert video.frames is not None
            carried["position.space"] = tensor  # (1, P + S, D)
            carried["position.time"] = tensor.new_zeros(1, video.frames, 1, tensor.shape[-1])
        elif inside is not None and divided:
            block, part = int(inside["block"]), inside["part"]
            carried[f"stages.{2 * block + 1}.0.{part}"] = tensor
            if part.startswith(_OF_TIME):
                carried[f"stages.{2 * block}.0.{part}"] = tensor
            if part.startswith("mixer.proj."):
                through = part.replace("proj", "out_map")
                carried[f"stages.{2 * block}.0.{through}"] = torch.zeros_like(tensor)
        else:
            carried[name] = tensor
    if image.readout != video.readout:
        first = {"class_token": carried["class_token"][:, :1]}
        first["position.space"] = torch.cat((carried["position.space"][:, :1], carried["position.space"][:, 2:]), dim=1)
        heads = {name for name in carried if name.startswith("head.")}
        carried = {name: tensor for name, tensor in (carried | first).items() if name not in heads}
    return carried
