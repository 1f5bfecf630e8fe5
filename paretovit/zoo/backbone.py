"""Stem, stages, head, and the one residual block: what every model on the skeleton is made of.

The parts know nothing of each other. One value, `Tokens`, carries what a part further on may need, so that
no mixer and no token-sequence method is a special case here.

Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from timm.layers import DropPath, LayerScale
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paretovit.errors import UserError, unknown
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.between import Between
from paretovit.zoo.class_mixer import ClassMixer
from paretovit.zoo.folders import BETWEEN, MIXERS, MLPS, NORMS, POSITIONS, READOUTS, SEQUENCES, STEMS, make
from paretovit.zoo.initialise import INITS
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.mlps import TokenMlp
from paretovit.zoo.positions import Position
from paretovit.zoo.positions.sin_cos import SinCos
from paretovit.zoo.projection import Projection
from paretovit.zoo.recompute import leaving_one_trace, recomputed
from paretovit.zoo.sequences import Sequence, Turn
from paretovit.zoo.stems import Stem
from paretovit.zoo.tokens import Layout, Tokens


class Block(nn.Module):
    """Pre-norm residual block: tokens mix, then each is worked on by itself; a sequence method may step in.

    Paper    Dosovitskiy et al. 2020, eqs. 2 and 3; LayerScale as in Touvron et al. 2021, "Going deeper with
             Image Transformers", eq. 4. With `mlp_residual="normed"` the second norm's result goes on in place of
             the tokens, as in the released code of Hassani et al. 2021, "Compact Transformers"; with "block" one
             residual goes around mixer and MLP together, as in Rao et al. 2021, "Global Filter Networks", fig. 2.
    """

    def __init__(
        self,
        mixer: Mixer,
        mlp: TokenMlp | None,
        sequence: Sequence | None,
        spec: ModelSpec,
        *,
        layer_scale: float | None,
        drop_path: float,
    ) -> None:
        super().__init__()
        dim = mixer.dim
        self.normed_residual = spec.mlp_residual == "normed"
        self.one_residual = spec.mlp_residual == "block" and mlp is not None
        if self.one_residual and sequence is not None and sequence.where == "between":
            raise UserError(
                f"{type(sequence).__name__} changes the tokens between mixer and MLP, and with mlp_residual='block' "
                f"what entered the block is added after it; take mlp_residual='tokens'"
            )
        self.norm1 = make(NORMS, spec.norm, dim)
        self.mixer = mixer
        scaled = layer_scale is not None and not self.one_residual
        self.scale1 = LayerScale(dim, init_values=layer_scale) if scaled else nn.Identity()
        if mlp is not None:
            self.norm2 = make(NORMS, spec.norm, dim)
        self.mlp = mlp
        if mlp is not None:
            self.scale2 = nn.Identity() if layer_scale is None else LayerScale(dim, init_values=layer_scale)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.sequence = sequence

    def forward(self, tokens: Tokens) -> Tokens:
        tokens = replace(tokens, aux=dict(tokens.aux))  # run again under checkpointing, a block must not add twice
        sequence = self.sequence
        if sequence is not None and sequence.where == "before":
            tokens = sequence(tokens, None)
        normed, answer, entered = tokens.with_x(self.norm1(tokens.x)), None, tokens.x.detach()
        with recomputed(normed.x, lambda: self.norm1(entered)) if self.norm1.repeatable else nullcontext():
            if sequence is not None and sequence.ask is not None:
                mixed, answer = self.mixer.answer(normed, sequence.ask)
            else:
                mixed = self.mixer(normed)
        before = tokens.x
        tokens = tokens.with_x(mixed if self.one_residual else before + self.drop_path(self.scale1(mixed)))
        if sequence is not None and sequence.where == "between":
            tokens = sequence(tokens, answer)
        if self.mlp is not None:
            normed, between = tokens.with_x(self.norm2(tokens.x)), tokens.x.detach()
            with recomputed(normed.x, lambda: self.norm2(between)) if self.norm2.repeatable else nullcontext():
                worked = self.mlp(normed)
            stream = before if self.one_residual else normed.x if self.normed_residual else tokens.x
            tokens = tokens.with_x(stream + self.drop_path(self.scale2(worked)))
        if sequence is not None and sequence.where == "after":
            tokens = sequence(tokens, None)
        return tokens

    def macs(self) -> int:
        """Multiply-accumulates of one image, summed over the parts' closed forms."""
        macs = self.mixer.macs() + (0 if self.mlp is None else self.mlp.macs())
        if self.sequence is not None:
            macs += self.sequence.macs(self.mixer)
            macs += 0 if self.sequence.ask is None else self.mixer.answer_macs(self.sequence.ask)
        return macs


class Blocks(nn.Sequential):
    """The blocks of a stage, one after the other."""

    def steps(self) -> Iterable[Callable[[Tokens], Tokens]]:
        return self.children()

    def macs(self) -> int:
        return sum(block.macs() for block in self.children() if isinstance(block, Block))


class SharedBlocks(Blocks):
    """One block, applied `depth` times. Each time the tokens are first told where they lie and which time it is.

    Paper    Dehghani et al. 2018, "Universal Transformers", sec. 2.1 and eq. 6: sines and cosines of the place and of
             the step are added to the tokens before every step.
    Differs  The place is a row and a column, and class tokens have none. The norms are before mixer and MLP. The
             number of steps is fixed; the paper's adaptive halting is not here.
    """

    space: Tensor
    time: Tensor

    def __init__(self, block: Block, depth: int, layout: Layout) -> None:
        super().__init__(block)
        dim = block.mixer.dim
        angle_TJ = torch.arange(1.0, depth + 1).unsqueeze(1) * 10_000.0 ** -(torch.arange(0, dim, 2) / dim)
        time_TD = torch.stack((angle_TJ.sin(), angle_TJ.cos()), dim=-1).flatten(1)
        self.register_buffer("space", SinCos(dim, layout).table, persistent=False)
        self.register_buffer("time", time_TD, persistent=False)

    def steps(self) -> Iterable[Callable[[Tokens], Tokens]]:
        return [partial(self._step, moment_D) for moment_D in self.time]

    def _step(self, moment_D: Tensor, tokens: Tokens) -> Tokens:
        return self[0](tokens.with_x(tokens.x + (self.space + moment_D)))

    def macs(self) -> int:
        return len(self.time) * super().macs()


class Backbone(nn.Module):
    """A model on the skeleton: image (B, C, H, W) to logits (B, classes).

    It is a timm model in its manners: `forward_features`, `forward_head`, `reset_classifier`, `default_cfg`,
    `num_features`, `no_weight_decay`. After a forward in training mode, `aux` holds the named auxiliary losses
    of the parts that have one.

    Raises `UserError` for parts that do not go together and for sizes that do not divide.
    """

    def __init__(self, spec: ModelSpec, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.spec = spec
        first, last = spec.stages[0], spec.stages[-1]
        self.stem = make(STEMS, spec.stem, spec.in_chans, first.dim, spec.image_px, spec.patch_px)
        self.readout = make(READOUTS, spec.readout, last.dim)
        self.prefix, self.joins = self.readout.prefix, self.readout.joins
        if not 0 <= self.joins < len(spec.stages):
            raise UserError(f"{spec.name}: class tokens cannot join stage {self.joins} of {len(spec.stages)}, from 0")
        token_dim = spec.stages[self.joins].dim
        self.class_token = nn.Parameter(torch.empty(1, self.prefix, token_dim)) if self.prefix else None
        layout = Layout.of_grid(self.stem.grid, 0 if self.joins else self.prefix)
        self.position = make(POSITIONS, spec.position, first.dim, layout)

        depth = sum(stage.depth for stage in spec.stages)
        rates = iter(drop_path * i / max(depth - 1, 1) for i in range(depth))
        self.between, self.stages, self.class_mixers = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        self.projections = nn.ModuleDict()
        dim = first.dim
        for i, stage in enumerate(spec.stages):
            if stage.class_tokens != "among":
                layout = _without_class_tokens(spec, i, dim, layout)
            between = make(BETWEEN, stage.between, dim, stage.dim, layout)
            layout, dim = between.after(), stage.dim
            if i and i == self.joins:
                if layout.grid is None or layout.masked:
                    raise UserError(f"{spec.name}: class tokens that join at stage {i} need patches on their grid")
                layout = replace(layout, prefix=self.prefix)
            if layout.grid is not None:
                self.register_buffer(f"places{len(self.stages)}", self.position.places(layout), persistent=False)
            blocks, layout = stage_blocks(stage, layout, spec, self.position, [next(rates) for _ in range(stage.depth)])
            if stage.width is not None:
                self.projections[str(i)] = Projection(stage.dim, stage.width, layout)
            if stage.class_tokens != "among":
                layout = replace(layout, prefix=self.prefix)
            if stage.class_tokens == "mixed":
                self.class_mixers[str(i)] = ClassMixer(dim, layout)
            self.between.append(between)
            self.stages.append(blocks)

        self.norm = make(NORMS, spec.final_norm, dim)
        self.layout = layout  # of the tokens that the read-out sees
        self.num_features = self.head_hidden_size = self.embed_dim = dim
        self.num_classes = spec.num_classes
        self.head = self.readout.classifier(spec.num_classes)
        self.aux: dict[str, Tensor] = {}
        self.grad_checkpointing = False
        self.default_cfg = self.pretrained_cfg = {
            "architecture": spec.name,
            "input_size": spec.input_shape,
            "fixed_input_size": True,
            "num_classes": spec.num_classes,
            "pool_size": None,
            "crop_pct": 0.9,
            "interpolation": "bicubic",
            "mean": (0.485, 0.456, 0.406)[: spec.in_chans] if spec.in_chans <= 3 else (0.5,) * spec.in_chans,
            "std": (0.229, 0.224, 0.225)[: spec.in_chans] if spec.in_chans <= 3 else (0.5,) * spec.in_chans,
            "first_conv": f"stem.{self.stem.first_conv}",
            "classifier": "head",
        }
        if spec.init not in INITS:
            raise unknown("init", spec.init, INITS)
        if not next(self.parameters()).is_meta:
            INITS[spec.init](self, self.class_token)

    def enter(self, image: Tensor) -> Tokens:
        """The tokens of images (B, C, H, W) in front of the first stage."""
        if image.shape[1:] != self.spec.input_shape:
            wanted = " x ".join(map(str, self.spec.input_shape))
            raise UserError(
                f"{self.spec.name} takes {'videos' if len(self.spec.input_shape) > 3 else 'images'} of {wanted}, "
                f"got {tuple(image.shape[1:])}; build it with img_size and in_chans to match"
            )
        tokens = Tokens(self.stem(image), grid=self.stem.grid)
        if not self.joins:
            tokens = self._joined(tokens)
        return tokens.with_x(self.position(tokens.x))

    def through(self, tokens: Tokens, first: int = 0, last: int | None = None) -> Tokens:
        """The tokens behind stage `last`, the model's last one by default, of those in front of stage `first`."""
        for i in range(first, len(self.stages) if last is None else last + 1):
            between, blocks, kind = self.between[i], self.stages[i], self.spec.stages[i].class_tokens
            class_BPD = tokens.x[:, : tokens.prefix]
            if kind != "among":
                tokens = replace(tokens, x=tokens.x[:, tokens.prefix :], prefix=0, place=None)
            tokens = between(tokens)
            if i and i == self.joins:
                tokens = self._joined(tokens)
            if tokens.grid is not None and (place_NA := getattr(self, f"places{i}")) is not None:
                tokens.place = place_NA.expand(len(tokens.x), -1, -1)
            assert isinstance(blocks, Blocks)
            projection = self.projections[str(i)] if self.spec.stages[i].width is not None else None
            assert projection is None or isinstance(projection, Projection)
            if projection is not None:
                tokens = tokens.with_x(projection.into(tokens.x))
            for block in blocks.steps():
                if self.grad_checkpointing and self.training:
                    tokens = _checkpointed(block, tokens, blocks)
                else:
                    tokens = block(tokens)
            if projection is not None:
                tokens = tokens.with_x(projection.out(tokens.x))
            if kind == "mixed":
                class_BPD = self.class_mixers[str(i)](class_BPD, tokens.x)
            if kind != "among":
                tokens = replace(tokens, x=torch.cat((class_BPD, tokens.x), dim=1), prefix=self.prefix, place=None)
        self.aux = tokens.aux
        return tokens

    def _tokens(self, image: Tensor) -> Tokens:
        return self.through(self.enter(image))

    def _joined(self, tokens: Tokens) -> Tokens:
        """The tokens with the class tokens, if the model has any, in front; of those all places are still known."""
        if self.class_token is None:
            return tokens
        class_BPD = self.class_token.expand(len(tokens.x), -1, -1)
        return replace(tokens, x=torch.cat((class_BPD, tokens.x), dim=1), prefix=self.prefix)

    def _features(self, tokens: Tokens) -> Tensor:
        # A norm over every token before the read-out only matters where the read-out mixes tokens; picking
        # the class token first and norming it alone is the same, and N times cheaper.
        if self.readout.norm_first and not self.prefix:
            return self.readout(tokens.with_x(self.norm(tokens.x)))
        return self.norm(self.readout(tokens))

    def read(self, tokens: Tokens) -> Tensor:
        """Logits (B, classes) from the tokens behind the last stage."""
        return self.head(self._features(tokens))

    def forward(self, image: Tensor) -> Tensor:
        return self.read(self._tokens(image))

    def forward_features(self, image: Tensor) -> Tensor:
        """Tokens of the last block (B, N, D), normed where the read-out follows the norm."""
        tokens = self._tokens(image)
        return self.norm(tokens.x) if self.readout.norm_first else tokens.x

    def forward_head(self, x_BND: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, classes), or features (B, D), from what `forward_features` returned.

        How many patches a token stands for is not in it: after merging, a mean here counts every token once.
        """
        features = self.readout(Tokens(x_BND, prefix=self.prefix))
        if not self.readout.norm_first:
            features = self.norm(features)
        if pre_logits:
            return features if self.readout.vectors == 1 else features.mean(1)
        return self.head(features)

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head for other classes. Raises `UserError` for `global_pool`: the read-out is the spec's."""
        if global_pool is not None:
            raise UserError("the read-out is part of the spec; change `readout` there and build again")
        self.num_classes = num_classes
        self.head = self.readout.classifier(num_classes)
        self.head.to(next(self.parameters()).device)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Places and class tokens: vectors that decay would pull to no place at all."""
        return {"class_token", *(f"position.{name}" for name, _ in self.position.named_parameters(recurse=False))}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """timm's layer groups, for layer-wise learning rates."""
        return {
            "stem": r"^class_token|^stem|^position",
            "blocks": r"^stages\.(\d+)" if coarse else [(r"^stages\.(\d+)\.(\d+)", None), (r"^norm", (99999,))],
        }

    def macs(self) -> int:
        """Multiply-accumulates of one image, summed over the parts' closed forms."""
        around = (*self.class_mixers.values(), *self.projections.values())
        direct = (self.stem, *self.between, *self.stages, *around)  # each counts what is inside it
        parts = [module for module in direct if isinstance(module, Stem | Between | Blocks | ClassMixer | Projection)]
        read = self.readout.macs(self.layout) + self.readout.vectors * self.num_features * self.num_classes
        return sum(part.macs() for part in parts) + self.position.macs() + read


def _checkpointed(block: Callable[[Tokens], Tokens], tokens: Tokens, blocks: Blocks) -> Tokens:
    """The tokens behind a step of `blocks`, of which nothing but its input is kept for the backward pass."""
    if torch.compiler.is_compiling():  # the compiler writes buffers once, whatever it works out again
        return checkpoint(block, tokens, use_reentrant=False)
    traces = partial(leaving_one_trace, block if isinstance(block, nn.Module) else blocks)
    return checkpoint(block, tokens, use_reentrant=False, context_fn=traces)


def _without_class_tokens(spec: ModelSpec, i: int, dim: int, layout: Layout) -> Layout:
    """The layout of the patches alone, for a stage that sets class tokens aside."""
    stage = spec.stages[i]
    if not layout.prefix:
        raise UserError(
            f"{spec.name}: stage {i} sets class tokens aside, and none come to it; take class_tokens='among'"
        )
    if stage.dim != dim or stage.sequence != Stage.sequence or layout.grid is None or layout.masked:
        raise UserError(
            f"{spec.name}: class tokens are set aside from stage {i} as they are, so it must keep the width {dim} and "
            f"all tokens, which lie on their grid"
        )
    return replace(layout, prefix=0)


def stage_blocks(
    stage: Stage, layout: Layout, spec: ModelSpec, position: Position, drop_path: list[float]
) -> tuple[Blocks, Layout]:
    """The blocks of a stage, and the layout of the tokens that leave it. Raises `UserError` for parts that do not go
    together."""
    if stage.width is not None and stage.sequence != Stage.sequence:
        raise UserError(
            f"blocks of another width than the model keep all of its tokens, and {stage.sequence.name} does not; take "
            "keep_all, or no width"
        )
    stage = stage.of_blocks
    if stage.share:
        return _shared(stage, layout, spec, position, sum(drop_path) / stage.depth), layout
    kind, options = SEQUENCES[stage.sequence.name], dict(stage.sequence.options)
    steps_in = sorted(options.pop("blocks", kind.blocks(stage.depth)))
    part = Part.of(stage.sequence.name, **options)
    if any(not 0 <= i < stage.depth for i in steps_in):
        raise UserError(
            f"{stage.sequence.name}: blocks {tuple(steps_in)} do not lie in a stage of {stage.depth} blocks"
        )
    blocks, start = [], layout
    for i in range(stage.depth):
        sequence: Sequence | None = None
        after = layout
        if i in steps_in:
            turn = (Turn(steps_in.index(i), len(steps_in), start),) if kind.counts else ()
            sequence = make(SEQUENCES, part, stage.dim, layout, *turn)
            after = sequence.after()
        mixer = _mixer(stage, after if sequence is not None and sequence.where == "before" else layout, sequence, i)
        _place(mixer, position)
        mlp = _mlp(stage, layout if sequence is not None and sequence.where == "after" else after)
        blocks.append(Block(mixer, mlp, sequence, spec, layer_scale=_scale(stage, spec), drop_path=drop_path[i]))
        layout = after
    return Blocks(*blocks), layout


def _shared(stage: Stage, layout: Layout, spec: ModelSpec, position: Position, drop_path: float) -> SharedBlocks:
    if stage.sequence != Stage.sequence or MIXERS[stage.mixer.name].alternates:
        raise UserError(
            f"a block that is shared over the depth is the same every time: {stage.sequence.name} and "
            f"{stage.mixer.name} are not; take keep_all and a mixer that does not alternate, or share=False"
        )
    mixer = _mixer(stage, layout, None, 0)
    _place(mixer, position)
    mlp, scale = _mlp(stage, layout), _scale(stage, spec)
    block = Block(mixer, mlp, None, spec, layer_scale=scale, drop_path=drop_path)
    return SharedBlocks(block, stage.depth, layout)


def _scale(stage: Stage, spec: ModelSpec) -> float | None:
    return spec.layer_scale if stage.layer_scale is None else stage.layer_scale


def _mixer(stage: Stage, layout: Layout, sequence: Sequence | None, block: int) -> Mixer:
    options = dict(stage.mixer.options) | ({"block": block} if MIXERS[stage.mixer.name].alternates else {})
    mixer = make(MIXERS, Part.of(stage.mixer.name, **options), stage.dim, stage.heads, layout)
    if sequence is not None and sequence.ask is not None and sequence.ask not in mixer.answers:
        able = ", ".join(name for name in MIXERS.names() if sequence.ask in MIXERS.fact(name, "answers", ()))
        raise UserError(
            f"{stage.sequence.name} asks the mixer for {sequence.ask!r}, which {stage.mixer.name} cannot tell; "
            f"mixers that can: {able}"
        )
    if layout.masked and not mixer.hears_alive:
        able = ", ".join(name for name in MIXERS.names() if MIXERS.fact(name, "hears_alive", False))
        raise UserError(
            f"tokens that were removed stay masked in the sequence, and {stage.mixer.name} would hear them; mixers "
            f"that do not: {able}"
        )
    return mixer


def _place(mixer: Mixer, position: Position) -> None:
    """Give the mixer what turns its queries and keys, if the model's positions are such."""
    if not position.turns:
        return
    if not mixer.rotates:
        able = ", ".join(name for name in MIXERS.names() if MIXERS.fact(name, "rotates", False))
        raise UserError(
            f"rotary positions turn queries and keys, and {type(mixer).__name__} as it is made here has none on the "
            f"tokens' places; mixers that have: {able}"
        )
    mixer.rotation = position.rotation(mixer.head_dim, mixer.layout, mixer.front)


def _mlp(stage: Stage, layout: Layout) -> TokenMlp | None:
    if stage.mlp is None:
        return None
    mlp = make(MLPS, stage.mlp, stage.dim, layout)
    if layout.masked and not mlp.alone:
        able = ", ".join(name for name in MLPS.names() if MLPS.fact(name, "alone", True))
        raise UserError(
            f"tokens that were removed stay masked in the sequence, and {stage.mlp.name} would take them "
            f"for others; MLPs that do not: {able}"
        )
    return mlp
