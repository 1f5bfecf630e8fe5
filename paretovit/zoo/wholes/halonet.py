"""HaloNet of any size, out of timm's pieces; timm itself has H1 alone."""

from __future__ import annotations

from timm.models import get_pretrained_cfg
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, rows_and_columns
from paretovit.zoo.wholes import Whole

_BLOCK, _HALO = 8, 3
_WIDTHS, _STRIDES, _SHRINKS = (64, 128, 256, 512), (1, 2, 2, 2), 32


class Halonet(Whole):
    """Bottlenecks of ResNet whose middle is attention of blocks of 8 x 8 to themselves and 3 pixels around them.

    Paper    Vaswani et al. 2021, "Scaling Local Self-Attention for Parameter Efficient Visual Backbones", table 3:
             `width_ratio` is its r_b, how wide a block's output is of 64, 128, 256 and 512; `third` its l_3, the blocks
             of the third stage. Timm's H1 is that of ratio 1 and 10 blocks.
    Differs  Eight heads in all stages, as timm's H1 has; the paper has four in the first.

    Raises `UserError` for images of which a block does not divide the last stage's maps.
    """

    def __init__(self, *, width_ratio: float, third: int) -> None:
        self.width_ratio, self.third = width_ratio, third

    def __call__(self, spec: ModelSpec, *, drop_path: float, pretrained: bool) -> nn.Module:
        if pretrained:
            raise UserError(f"no pretrained weights are known for {spec.name}; train it")
        if any(side % (_BLOCK * _SHRINKS) for side in rows_and_columns(spec.image_px)):
            raise UserError(
                f"{spec.name} attends in blocks of {_BLOCK} x {_BLOCK} on maps {_SHRINKS} times smaller, so images of "
                f"{spec.size} do not fit; use multiples of {_BLOCK * _SHRINKS} px"
            )
        depths = (3, 3, self.third, 3)
        blocks = tuple(
            ByoBlockCfg(
                "self_attn", d=depth, c=round(width * self.width_ratio), s=stride, gs=0, br=1 / self.width_ratio
            )
            for depth, width, stride in zip(depths, _WIDTHS, _STRIDES, strict=True)
        )
        attends = {"block_size": _BLOCK, "halo_size": _HALO}
        config = ByoModelCfg(
            blocks, stem_chs=64, stem_type="7x7", stem_pool="maxpool", self_attn_layer="halo", self_attn_kwargs=attends
        )
        model = ByobNet(config, num_classes=spec.num_classes, in_chans=spec.in_chans, drop_path_rate=drop_path)
        model.default_cfg = model.pretrained_cfg = {
            **get_pretrained_cfg("halonet_h1").to_dict(),
            "architecture": spec.name,
            "input_size": spec.input_shape,
            "num_classes": spec.num_classes,
        }
        return model
