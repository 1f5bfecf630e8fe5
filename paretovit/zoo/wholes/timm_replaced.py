"""timm's models with stages of ours in place of some of their blocks.

What is not replaced stays timm's own, under timm's names, so that blocks which the skeleton does not have (rotary
positions with gated MLPs and inner norms as in EVA-02, register tokens, normed queries) can stand before and behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import stage_blocks
from paretovit.zoo.class_mixer import ClassMixer
from paretovit.zoo.folders import BETWEEN, POSITIONS, make
from paretovit.zoo.initialise import INITS
from paretovit.zoo.projection import Projection
from paretovit.zoo.timm_blocks import layout_of
from paretovit.zoo.tokens import Layout, Tokens
from paretovit.zoo.wholes import Whole
from paretovit.zoo.wholes.timm import Timm


class TimmReplaced(Whole):
    """timm's `architecture`, made with `options`, in which each stage of the spec takes the place of a stretch of
    `layers`, (first, last) both included and counted from 0.

    A stage stands where the first of its blocks stood, and the places of the others are passed by: blocks keep their
    numbers, by which some models give each block a rotary table of its own.

    Raises `UserError` for layers that the model has not, or that are not as many stretches as the spec has stages.
    """

    def __init__(self, *, architecture: str, layers: tuple[tuple[int, int], ...], **options: Any) -> None:
        self.architecture, self.layers, self.options = architecture, layers, options

    def __call__(self, spec: ModelSpec, *, drop_path: float, pretrained: bool) -> nn.Module:
        if pretrained:
            raise UserError(f"no pretrained weights are known for {spec.name}; train it, or load a checkpoint folder")
        model: Any = Timm(architecture=self.architecture, **self.options)(spec, drop_path=drop_path, pretrained=False)
        layout, depth = layout_of(model, self.architecture), len(model.blocks)
        ends = [-1, *(last for _, last in self.layers)]
        fits = all(before < first <= last < depth for before, (first, last) in zip(ends[:-1], self.layers, strict=True))
        if not fits or len(self.layers) != len(spec.stages):
            raise UserError(
                f"{spec.name}: {len(spec.stages)} stages cannot take the places of the layers {self.layers} of the "
                f"{depth} of {self.architecture}"
            )
        for (first, last), stage in zip(self.layers, spec.stages, strict=True):
            if stage.dim != model.embed_dim:
                raise UserError(f"{spec.name}: a stage of width {stage.dim} is among blocks of {model.embed_dim}")
            places = torch.linspace(first, last, stage.depth, device="cpu").tolist()
            rates = [drop_path * place / max(depth - 1, 1) for place in places]
            model.blocks[first] = NewStage(stage, layout, spec, rates)
            for passed in range(first + 1, last + 1):
                model.blocks[passed] = PassedBy()
        return model


class NewStage(nn.Module):
    """A stage of ours among timm's blocks: tokens (B, N, D) to tokens (B, N, D), of which `layout` says how they lie.

    What timm gives its blocks beside the tokens is not used: mixers of ours know places by the grid or not at all.
    """

    def __init__(self, stage: Stage, layout: Layout, spec: ModelSpec, drop_path: Sequence[float]) -> None:
        super().__init__()
        self.layout, self.class_tokens = layout, stage.class_tokens
        if stage.class_tokens != "among" and not layout.prefix:
            raise UserError(f"{spec.name} has no class tokens to set aside; take class_tokens='among'")
        inner = layout if stage.class_tokens == "among" else replace(layout, prefix=0)
        self.between = make(BETWEEN, stage.between, stage.dim, stage.dim, inner)
        position = make(POSITIONS, Part("absent"), stage.of_blocks.dim, inner)
        self.blocks, after = stage_blocks(stage, self.between.after(), spec, position, list(drop_path))
        if after != inner:
            raise UserError(f"{spec.name}: a stage among timm's blocks has to leave the tokens as they lie")
        self.projection = None if stage.width is None else Projection(stage.dim, stage.width, after)
        self.class_mixer = ClassMixer(stage.dim, layout) if stage.class_tokens == "mixed" else None
        if not next(iter(self.parameters()), torch.empty(0)).is_meta:
            INITS[spec.init](self, None)

    def forward(self, x_BND: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        prefix = self.layout.prefix
        if self.class_tokens == "among":
            return self._through(Tokens(x_BND, self.layout.grid, prefix)).x
        class_BPD = x_BND[:, :prefix]
        tokens = self._through(Tokens(x_BND[:, prefix:], self.layout.grid))
        if self.class_mixer is not None:
            class_BPD = self.class_mixer(class_BPD, tokens.x)
        return torch.cat((class_BPD, tokens.x), dim=1)

    def _through(self, tokens: Tokens) -> Tokens:
        tokens = self.between(tokens)
        if self.projection is not None:
            tokens = tokens.with_x(self.projection.into(tokens.x))
        for step in self.blocks.steps():
            tokens = step(tokens)
        return tokens if self.projection is None else tokens.with_x(self.projection.out(tokens.x))

    def macs(self) -> int:
        """Multiply-accumulates of one image, summed over the parts' closed forms."""
        around = sum(part.macs() for part in (self.class_mixer, self.projection) if part is not None)
        return self.between.macs() + self.blocks.macs() + around


class PassedBy(nn.Module):
    """The place of a block that is gone."""

    def forward(self, x_BND: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x_BND
