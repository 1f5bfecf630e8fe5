"""A detector on any backbone of ours or timm's: the Deformable DETR of the library transformers.

Paper    Zhu et al. 2020, "Deformable DETR: Deformable Transformers for End-to-End Object Detection", without its box
         refinement and its second stage; on plain ViTs in Anonymous 2021, "An Investigation on Hardware-Aware Vision
         Transformer Scaling", sec. 4.3.2 and app. E.
Differs  Zhu et al. take maps of several sizes from a ResNet. A plain ViT has one, and that is what is attended to;
         with `levels` above 1 smaller ones are made of it by convolutions of stride 2, as their last one is.
         All images have one size, so no part of a map is padding.
Shapes   B images, C channels, H x W pixels; Q queries, K classes, L decoder layers, D width.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.feature_map import FeatureMap, feature_map
from paretovit.zoo.wholes import Whole
from paretovit.zoo.wholes.timm import Timm

_GROUPS = 32  # of the norm behind the maps' projection, as transformers has it
_PRIOR = 0.01  # probability of any class to begin with: Lin et al. 2017, "Focal Loss", sec. 4.1
# by transformers as by Zhu et al.; the rest it draws with a deviation of 0.02, and all queries would look at one place
_DRAWN_ALREADY = ("sampling_offsets", "attention_weights", "level_embed")
_SIZE = -2.0  # logit of a box's sides to begin with, 0.12 of the image's: the released code of Zhu et al.


class DeformableDetr(Whole):
    """The spec's stages, or timm's model of the options that are not named here, with a detector for a head.

    queries   boxes that it proposes for every image
    width     of its tokens
    layers    of its encoder, and of its decoder
    levels    maps that are attended to, each half as long and wide as the one before
    points    that a head looks at in each of them
    hidden    of its MLPs

    Raises `UserError` without the library transformers, and for sizes that do not go together.
    """

    answers = "boxes"

    def __init__(
        self,
        *,
        queries: int = 300,
        width: int = 256,
        layers: int = 6,
        levels: int = 1,
        points: int = 4,
        heads: int = 8,
        hidden: int = 1024,
        dropout: float = 0.1,
        **timm: Any,
    ) -> None:
        self.timm = timm
        if min(queries, layers, levels, points, heads, hidden) < 1 or not 0 <= dropout < 1:
            raise UserError("every size of a detector must be at least 1, and its dropout from 0 to below 1")
        head = width // heads
        if width % _GROUPS or width % heads or head & (head - 1) or width < _GROUPS:
            raise UserError(
                f"a detector's width must be a multiple of {_GROUPS}, and a head's a power of 2: 256 in 8 heads, say, "
                f"not {width} in {heads}"
            )
        self.sizes = {
            "num_queries": queries,
            "d_model": width,
            "encoder_layers": layers,
            "decoder_layers": layers,
            "num_feature_levels": levels,
            "encoder_n_points": points,
            "decoder_n_points": points,
            "encoder_attention_heads": heads,
            "decoder_attention_heads": heads,
            "encoder_ffn_dim": hidden,
            "decoder_ffn_dim": hidden,
            "dropout": dropout,
        }

    def __call__(self, spec: ModelSpec, *, drop_path: float, pretrained: bool) -> nn.Module:
        if pretrained:
            raise UserError(f"{spec.name} has no weights as a whole; `paretovit detect` takes those of its backbone")
        plain = self.backbone(spec)
        if plain.whole is None:
            model: nn.Module = Backbone(plain, drop_path=drop_path)
        else:
            model = Timm(**self.timm)(plain, drop_path=drop_path, pretrained=False)
        return Detector(feature_map(model, spec.name), spec.num_classes, self.sizes)

    def backbone(self, spec: ModelSpec) -> ModelSpec:
        """The spec of the backbone in a detector of `spec`, as a classifier of a single class: a head is taken off."""
        whole = Part.of("timm", **self.timm) if self.timm else None
        return replace(spec, whole=whole, stages=() if self.timm else spec.stages, transforms=(), num_classes=1)


class Detector(nn.Module):
    """Images (B, C, H, W) to what each query has found, (B, Q, K + 4): logits of the classes, and a box, its centre,
    width and height as shares of the image.

    While training, what each decoder layer has found, (L, B, Q, K + 4), for all of them learn.
    """

    def __init__(self, backbone: FeatureMap, num_classes: int, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.detr = _transformer(backbone, sizes)
        width = sizes["d_model"]
        self.classes = nn.Linear(width, num_classes)
        self.boxes = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)
        )
        last = self.boxes[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            self.classes.bias.fill_(math.log(_PRIOR / (1 - _PRIOR)))
            last.weight.zero_()
            last.bias.zero_()
            last.bias[2:] = _SIZE

    @property
    def map(self) -> FeatureMap:
        return self.detr.backbone.map

    @property
    def aux(self) -> dict[str, Tensor]:
        """The auxiliary losses of the backbone's parts."""
        return getattr(self.map.backbone, "aux", {})

    def forward(self, image: Tensor) -> Tensor:
        seen = self.detr(image)
        states_BLQD = seen.intermediate_hidden_states if self.training else seen.last_hidden_state.unsqueeze(1)
        # the decoder learns how far a box's centre is from the point that its query looks at
        place_BQ2 = seen.init_reference_points.logit(eps=1e-5)
        boxes_BLQ4 = (self.boxes(states_BLQD) + F.pad(place_BQ2, (0, 2)).unsqueeze(1)).sigmoid()
        found_LBQA = torch.cat((self.classes(states_BLQD), boxes_BLQ4), dim=-1).transpose(0, 1)
        return found_LBQA if self.training else found_LBQA[0]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Of the backbone, where it can work its activations out again."""
        self.map.backbone.set_grad_checkpointing(enable)  # type: ignore[operator]  # ours and timm's have it

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """What the backbone exempts."""
        exempt = getattr(self.map.backbone, "no_weight_decay", set)
        return {f"detr.backbone.map.backbone.{name}" for name in exempt()}


class _Maps(nn.Module):
    """A feature map as transformers' detectors ask for it: a list of maps, each with a mask of what is no padding."""

    def __init__(self, feature_map: FeatureMap) -> None:
        super().__init__()
        self.map = feature_map

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = self.map(pixel_values)
        return [(found, found.new_ones((len(found), *found.shape[2:]), dtype=torch.bool))]


def _transformer(backbone: FeatureMap, sizes: dict[str, Any]) -> Any:
    """transformers' encoder and decoder on our backbone, with weights drawn as in the released code of Zhu et al."""
    try:
        from transformers import DeformableDetrConfig, DeformableDetrModel, ResNetConfig
    except ImportError:
        raise UserError("detectors need the library transformers; type: pip install 'paretovit[detection]'") from None
    # its constructor makes a backbone of a kind that it knows: the least one with a map as wide as ours, to be replaced
    stand_in = ResNetConfig(embedding_size=1, hidden_sizes=[backbone.channels], depths=[1], out_features=["stage1"])
    model = DeformableDetrModel(DeformableDetrConfig(backbone_config=stand_in, **sizes))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and not any(word in name for word in _DRAWN_ALREADY):
            nn.init.xavier_uniform_(parameter)
    nn.init.normal_(model.query_position_embeddings.weight)
    model.backbone = _Maps(backbone)
    return model
