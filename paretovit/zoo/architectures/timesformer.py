"""TimeSformer: ViT on videos, its attention over space and time jointly, or divided."""

from __future__ import annotations

from dataclasses import replace

from paretovit.spec import ModelSpec, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.architectures.deit_scaled import FACTORS, plain
from paretovit.zoo.taxonomy import Published
from paretovit.zoo.videos import ATTENTION, CLASSES, on_videos

# width and heads of ViT/16 in 12 layers. The paper has the base size alone; tiny and small are those whose
# costs Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", prints in table 9
_SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
_SCALED = ("tiny", "small")  # as in the same table
# 590 billion are printed of three views. Its top-1, 77.9, is that of Kinetics-400, and so are the classes.
_PUBLISHED = {"timesformer_divided_base_patch16_224": Published(121.4, 197, None, "paper: 590 billion for 3 views")}


class Timesformer(Macro):
    """ViT/16 on 8 frames; an MLP follows attention in space, none that in time.

    Differs: the map behind attention in time is drawn as all linear maps are. The authors start it at zero; here it is
    zero where a model begins with the weights of an image model, and so gives of a still video what that gives.
    """

    paper = "Bertasius et al. 2021, Is Space-Time Attention All You Need for Video Understanding? (TimeSformer)"
    arxiv = "2102.05095"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        images = [
            ModelSpec(name=f"vit_{size}_patch16_224", stages=(Stage(depth=12, dim=dim, heads=heads),))
            for size, (dim, heads) in _SIZES.items()
        ]
        images += [plain(f"deit_scaled_{size}", FACTORS[size]) for size in _SCALED]
        specs = [replace(on_videos(image, kind), num_classes=CLASSES) for image in images for kind in ATTENTION]
        return [(spec, _PUBLISHED.get(spec.name, Published())) for spec in specs]
