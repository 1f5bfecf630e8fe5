"""A model with some of its layers replaced: its spec, what stays of the parent's weights, and what is trained.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", secs. 3.1 to 3.3.

A layer is a block: a token mixer and its MLP, counted from 0 through the depth of the model. The new stage works on
the grid of patches, with the class tokens set aside; a new spec is made, and nothing else: what comes out is a model
like any other. A parent on the skeleton gives one on the skeleton; of a timm model that has blocks which the skeleton
has not, such as EVA-02, all but the new stages stay timm's own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.folders import MIXERS, READOUTS
from paretovit.zoo.timm_blocks import BlockByBlock, layout_of, stage_like

# section 3.3.1, where it prints other sizes than the mixers' own; block and grid as in its figure 3.5b
THESIS: dict[str, Part] = {
    "shifted_window": Part.of("shifted_window", window=4),
    "block_grid": Part.of("block_grid", window=4),
}

_BLOCK = re.compile(r"stages\.(\d+)\.(\d+)\.(.+)")
_BETWEEN = re.compile(r"between\.(\d+)\.(.+)")
_CLASS_MIXER = re.compile(r"class_mixers\.(\d+)\.(.+)")
_PROJECTION = re.compile(r"projections\.(\d+)\.(.+)")
_TIMM_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_MIXES = ("norm1.", "mixer.", "scale1.")  # of a block, what a layer of attention is
_TIMM_MIXES = ("norm1.", "attn.", "ls1.", "gamma_1")

Staged = Backbone | BlockByBlock  # what can be entered, gone through stage by stage, and read out


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What takes the place of which layers.

    layers        (first, last), both included, of every stretch of layers; each gets a stage of its own
    mixer         of the new stages: one for all, or one for each stretch
    depth         of each new stage; None for as many blocks as there were
    width         of the blocks of each new stage, with a linear map in front of them and one behind where it is not
                  that of the layers; None for as wide as these
    embed         True for the 4 x 4 convolution of stride 1 in front (fig. 3.4b)
    class_tokens  "aside", "mixed" (the CLS mixer of fig. 3.4b behind) or "among" the patches; None for "aside" where
                  the model has class tokens
    """

    layers: tuple[tuple[int, int], ...]
    mixer: Part | tuple[Part, ...]
    depth: int | None = None
    width: int | None = None
    embed: bool = False
    class_tokens: str | None = None

    @property
    def each(self) -> list[tuple[tuple[int, int], Part]]:
        """The stretches and their mixers, from the first layer on. Raises `UserError` for another number of mixers."""
        mixers = (self.mixer,) * len(self.layers) if isinstance(self.mixer, Part) else self.mixer
        if len(mixers) != len(self.layers):
            raise UserError(
                f"{len(mixers)} mixers for {len(self.layers)} stretches of layers; give one for all, or one for each"
            )
        return sorted(zip(self.layers, mixers, strict=True), key=lambda one: one[0])

    def __str__(self) -> str:
        """In words, for rows: "layers 6-11 by focal"."""
        if isinstance(self.mixer, Part):
            where = f"{', '.join(_in_words(pair) for pair in self.layers)} by {self.mixer}"
        else:
            where = ", ".join(f"{_in_words(pair)} by {mixer}" for pair, mixer in self.each)
        depth = "" if self.depth is None else f" of depth {self.depth}"
        depth += "" if self.width is None else f" of width {self.width}"
        embed = " behind a convolution" if self.embed else ""
        tokens = {None: "", "aside": "", "mixed": ", class token mixed in", "among": ", class token among"}
        return f"layers {where}{depth}{embed}{tokens[self.class_tokens]}"


@dataclass(frozen=True, kw_only=True)
class Replacement(ABC):
    """A new model beside its parent.

    spec     of the new model
    whole    of the parent, whose weights `carried` takes
    stages   the numbers of the new ones among the stages in which `staged` goes through both
    """

    spec: ModelSpec
    whole: ModelSpec
    stages: tuple[int, ...]

    @abstractmethod
    def source(self, name: str) -> str | None:
        """The name that a tensor of the new model has in the parent; None for one that is new."""

    @abstractmethod
    def follows(self, name: str) -> bool:
        """Whether a tensor is of the mixing of the block that follows a new stage."""

    @abstractmethod
    def staged(self, module: nn.Module) -> Staged:
        """The new model, or its parent as `teacher` gives it, to be gone through stage by stage."""

    @abstractmethod
    def teacher(self, state: dict[str, Tensor]) -> nn.Module:
        """The parent itself, with its weights, to be asked and not changed."""

    @abstractmethod
    def check_copies(self) -> None:
        """Raise `UserError` for a new stage that is no untrained copy of the parent's."""

    @abstractmethod
    def along(self, values: dict[str, Tensor], state: dict[str, Tensor], start: float) -> dict[str, Tensor]:
        """Of `values`, the tensors of new stages, the share `start` of the way to the parent's."""

    def is_trained(self, name: str) -> bool:
        """Whether training changes a tensor of the new model: one that is new, or of the mixing of the block that
        follows a new stage (sec. 3.4.3: "the MHSA layer that immediately follows the token mixer stage")."""
        return self.source(name) is None or self.follows(name)

    def carried(self, state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
        """A state dict for a new `module` of `spec`: the parent's tensors where they stay, its own where they are new.

        Raises `UserError` for a tensor that the parent has not, or has in another shape.
        """
        found = {}
        for name, own in module.state_dict().items():
            source = self.source(name)
            if source is not None and (source not in state or state[source].shape != own.shape):
                have = tuple(state[source].shape) if source in state else "nothing"
                raise UserError(
                    f"the weights of {self.whole.name} do not fit: {source} is {have}, not {tuple(own.shape)}"
                )
            found[name] = own if source is None else state[source]
        return found

    def prepare(self, module: nn.Module, state: dict[str, Tensor], *, start: float = 0.0) -> None:
        """Give a new module of `spec` the parent's weights, and freeze all that is not trained.

        New stages begin with their own weights, or that share `start` of the way along the line from these to the
        parent's (sec. 3.5.3, fig. 3.17), which takes stages that are untrained copies of the parent's: raises
        `UserError` for others.
        """
        values = self.carried(state, module)
        if start:
            values |= self.along(values, state, start)
        module.load_state_dict(values)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(self.is_trained(name))


@dataclass(frozen=True, kw_only=True)
class InStages(Replacement):
    """A model on the skeleton and its parent, cut into the same stages; `parent` is the parent in stages that end where
    those of `spec` end, its layers unchanged."""

    parent: ModelSpec

    def source(self, name: str) -> str | None:
        """The name that a tensor of the new model has in the parent; None for one that is new."""
        if match := _BLOCK.fullmatch(name):
            stage, block = int(match[1]), int(match[2])
            return None if stage in self.stages else f"stages.{self._block(stage, block)}.{match[3]}"
        if match := _BETWEEN.fullmatch(name):
            stage = int(match[1])
            if stage in self.stages and self.spec.stages[stage].between != self.parent.stages[stage].between:
                return None
            return f"between.{self._block(stage, 0).split('.')[0]}.{match[2]}"
        if match := _CLASS_MIXER.fullmatch(name):
            stage = int(match[1])
            return None if stage in self.stages else f"class_mixers.{self._block(stage, 0).split('.')[0]}.{match[2]}"
        if match := _PROJECTION.fullmatch(name):
            stage = int(match[1])
            return None if stage in self.stages else f"projections.{self._block(stage, 0).split('.')[0]}.{match[2]}"
        return name

    def follows(self, name: str) -> bool:
        match = _BLOCK.fullmatch(name)
        return (
            match is not None
            and int(match[1]) - 1 in self.stages
            and int(match[2]) == 0
            and match[3].startswith(_MIXES)
        )

    def staged(self, module: nn.Module) -> Staged:
        assert isinstance(module, Backbone)
        return module

    def check_copies(self) -> None:
        if any(self.spec.stages[stage] != self.parent.stages[stage] for stage in self.stages):
            raise UserError(
                "weights can begin near the parent's only where a stage is a copy of the parent's: its mixer, its "
                "depth, the class token among the patches, and no convolution in front"
            )

    def along(self, values: dict[str, Tensor], state: dict[str, Tensor], start: float) -> dict[str, Tensor]:
        self.check_copies()
        found = {}
        for name, own in values.items():
            match = _BLOCK.fullmatch(name)
            if match is not None and int(match[1]) in self.stages and own.is_floating_point():
                theirs = state[f"stages.{self._block(int(match[1]), int(match[2]))}.{match[3]}"]
                found[name] = own.lerp(theirs.to(own), start)
        return found

    def teacher(self, state: dict[str, Tensor]) -> Backbone:
        module = build(self.parent)
        assert isinstance(module, Backbone)
        module.load_state_dict(replace_nothing(self).carried(state, module))
        return module.eval().requires_grad_(False)

    def _block(self, stage: int, block: int) -> str:
        """Where a block of `parent` is in `whole`: "stage.block"."""
        at = sum(s.depth for s in self.parent.stages[:stage]) + block
        for number, old in enumerate(self.whole.stages):
            if at < old.depth:
                return f"{number}.{at}"
            at -= old.depth
        raise AssertionError(f"{self.parent.name} has no block {block} in stage {stage}")


@dataclass(frozen=True, kw_only=True)
class InTimm(Replacement):
    """A timm model with stages of ours among its blocks, and its parent. Names and numbers of what stays are timm's.

    layers   the blocks whose place the new stages take
    ends     the last block of each stage, new or not
    """

    layers: tuple[tuple[int, int], ...]
    ends: tuple[int, ...]

    def source(self, name: str) -> str | None:
        match = _TIMM_BLOCK.fullmatch(name)
        new = match is not None and any(first <= int(match[1]) <= last for first, last in self.layers)
        return None if new else name

    def follows(self, name: str) -> bool:
        match = _TIMM_BLOCK.fullmatch(name)
        if match is None or self.source(name) is None:
            return False
        return any(int(match[1]) == last + 1 for _, last in self.layers) and match[2].startswith(_TIMM_MIXES)

    def staged(self, module: nn.Module) -> Staged:
        return BlockByBlock(module, self.whole, self.ends)

    def teacher(self, state: dict[str, Tensor]) -> nn.Module:
        module = build(self.whole)
        module.load_state_dict(state)
        return module.eval().requires_grad_(False)

    def check_copies(self) -> None:
        raise UserError(
            f"weights can begin near the parent's only where a stage is a copy of the parent's, and the blocks of "
            f"{self.whole.name} are timm's own; leave --start out"
        )

    def along(self, values: dict[str, Tensor], state: dict[str, Tensor], start: float) -> dict[str, Tensor]:
        self.check_copies()
        return {}


def replace_nothing(replacement: InStages) -> InStages:
    """The parent in the stages of the new model, none of them new."""
    return replace(replacement, spec=replacement.parent, stages=())


def layers_of(spec: ModelSpec) -> ModelSpec:
    """The spec, with stages that say of how many layers a parent is; of a timm model those are `stage_like` its blocks.

    Raises `UserError` for one that cannot be a parent, as it has no list of blocks.
    """
    if spec.whole is None:
        return spec
    if spec.whole.name != "timm":
        raise UserError(
            f"{spec.name} is no model of timm's and not on the skeleton, so its layers are unknown; give a ViT"
        )
    module = build(spec, device="meta")
    layout_of(module, spec.name)
    return stage_like(module, spec)


def replaced(spec: ModelSpec, plan: Plan) -> Replacement:
    """Put new stages in place of layers of a model on the skeleton, or of one of timm's that goes block by block.

    Raises `UserError` for layers that the model has not, that overlap or that lie in two of its stages; for models
    whose tokens change their number on the way; and for a class token that nothing would tell of the new stage.
    """
    for _, mixer in plan.each:
        MIXERS.fact(mixer.name, "family")  # an unknown name is answered with the nearest
    if spec.transforms:
        raise UserError(f"{spec.name} is masked or otherwise changed after building; replace layers of its parent")
    return _replaced_on_skeleton(spec, plan) if spec.whole is None else _replaced_in_timm(spec, plan)


def _replaced_on_skeleton(spec: ModelSpec, plan: Plan) -> InStages:
    _check(spec, plan)
    prefix = READOUTS[spec.readout.name].prefix
    new: list[Stage] = []
    old: list[Stage] = []
    numbers: list[int] = []
    begin = 0
    for stage in spec.stages:
        for first, last, mixer in _pieces(stage, begin, plan.each):
            piece = replace(stage, depth=last - first + 1)
            if first > begin:
                piece = replace(piece, between=Stage.between)
            if stage.width is not None and piece.depth < stage.depth:
                raise UserError(
                    f"layers {begin}-{begin + stage.depth - 1} of {spec.name} are a stage of another width; replace "
                    "all of them, or none"
                )
            if stage.class_tokens == "mixed" and last < begin + stage.depth - 1:
                piece = replace(piece, class_tokens="aside")  # what mixes it comes behind the last layer
            if mixer is not None:
                numbers.append(len(new))
            new.append(piece if mixer is None else _stage(piece, plan, mixer, prefix))
            old.append(piece)
        begin += stage.depth
    return InStages(
        spec=replace(spec, name=_named(spec, plan), stages=tuple(new)),
        whole=spec,
        stages=tuple(numbers),
        parent=replace(spec, stages=tuple(old)),
    )


def _replaced_in_timm(spec: ModelSpec, plan: Plan) -> InTimm:
    like = layers_of(spec)
    (stage,) = like.stages
    model = build(spec, device="meta")
    BlockByBlock(model, spec, (stage.depth - 1,))
    layout = layout_of(model, spec.name)
    reads = bool(READOUTS[like.readout.name].prefix)
    _check_layers(spec.name, stage.depth, plan, prefix=layout.prefix, reads=reads)
    pieces = list(_pieces(stage, 0, plan.each))
    assert spec.whole is not None
    new = tuple(
        _stage(replace(stage, depth=last - first + 1), plan, mixer, layout.prefix)
        for first, last, mixer in pieces
        if mixer is not None
    )
    layers = tuple((first, last) for first, last, mixer in pieces if mixer is not None)
    whole = Part.of("timm_replaced", layers=layers, **dict(spec.whole.options))
    return InTimm(
        spec=replace(like, name=_named(spec, plan), stages=new, whole=whole),
        whole=spec,
        stages=tuple(number for number, (_, _, mixer) in enumerate(pieces) if mixer is not None),
        layers=layers,
        ends=tuple(last for _, last, _ in pieces),
    )


def _named(spec: ModelSpec, plan: Plan) -> str:
    name = spec.name
    for at, (pair, mixer) in enumerate(plan.each):
        named = isinstance(plan.mixer, Part) and at > 0
        name += f"_{_in_words(pair)}" if named else f"_{mixer.name}_{_in_words(pair)}"
    width = "" if plan.width is None else f"_width_{plan.width}"
    return name + width + ("_embed" if plan.embed else "") + ("_mixed" if plan.class_tokens == "mixed" else "")


def layer_ranges(texts: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(first, last) of each of "6-11", "3" or "2-3,6-8", in order. Raises `UserError` for what cannot be read."""
    found = []
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UserError(f"cannot read the layers {text!r}; write them as 6-11, from the first layer, which is 0")
        found.append((int(match[1]), int(match[2] or match[1])))
    return tuple(sorted(found))


def _check(spec: ModelSpec, plan: Plan) -> None:
    if getattr(READOUTS[spec.readout.name], "prefix", 0) and dict(spec.readout.options).get("joins", 0):
        raise UserError(f"the class token of {spec.name} joins late; give a model whose first layer has it")
    for stage in spec.stages:
        if stage.share or stage.sequence != Stage.sequence:
            why = "has one block for all layers" if stage.share else f"changes its tokens by {stage.sequence.name}"
            raise UserError(f"{spec.name} {why}; give a model of separate layers with all their tokens")
    prefix = READOUTS[spec.readout.name].prefix
    depth = sum(stage.depth for stage in spec.stages)
    _check_layers(spec.name, depth, plan, prefix=prefix, reads=bool(prefix))


def _check_layers(name: str, depth: int, plan: Plan, *, prefix: int, reads: bool) -> None:
    """Of a model of so many layers and class tokens; `reads` tells whether the logits are read from these alone."""
    if not plan.layers:
        raise UserError("name the layers to replace, such as 6-11")
    if plan.depth is not None and plan.depth < 1:
        raise UserError(f"a new stage must be at least 1 deep, got {plan.depth}")
    if plan.width is not None and plan.width < 1:
        raise UserError(f"a new stage must be at least 1 wide, got {plan.width}")
    before = -1
    for first, last in sorted(plan.layers):
        if not 0 <= first <= last < depth:
            raise UserError(f"{name} has {depth} layers, from 0 to {depth - 1}; {_in_words((first, last))} is none")
        if first <= before:
            raise UserError(f"the layers {_in_words((first, last))} overlap others; name each layer once")
        before = last
    tokens = plan.class_tokens
    if tokens not in (None, "among") and not prefix:
        raise UserError(f"{name} has no class token, so none can be set aside or mixed")
    mixer = plan.each[-1][1]
    hears = tokens == "mixed" or (tokens == "among" and MIXERS.fact(mixer.name, "mixes", True))
    if reads and not hears and before == depth - 1:
        raise UserError(
            f"no layer behind the new stage would tell the class token what {mixer.name} found; leave the last "
            f"layer, {depth - 1}, or mix the class token (--class-mixer)"
        )


def _pieces(
    stage: Stage, begin: int, each: Sequence[tuple[tuple[int, int], Part]]
) -> Iterator[tuple[int, int, Part | None]]:
    """(first, last, the mixer that takes their place) of the stretches that a stage falls into, None for layers that
    stay; `begin` is its first layer."""
    at, end = begin, begin + stage.depth
    for (first, last), mixer in each:
        if last < begin or first >= end:
            continue
        if first < begin or last >= end:
            raise UserError(f"the layers {_in_words((first, last))} lie in two stages; replace those of each by itself")
        if first > at:
            yield at, first - 1, None
        yield first, last, mixer
        at = last + 1
    if at < end:
        yield at, end - 1, None
    if at not in (begin, end) and (at - begin) % 2 and MIXERS[stage.mixer.name].alternates:
        raise UserError(
            f"{stage.mixer.name} differs from one block to the next; replace an even number of its layers from the "
            "first on, so that those behind stay what they are"
        )


def _stage(piece: Stage, plan: Plan, mixer: Part, prefix: int) -> Stage:
    """What takes the place of a stretch of layers in a model of `prefix` class tokens."""
    mixer = mixer if mixer.options else THESIS.get(mixer.name, mixer)
    tokens = plan.class_tokens or ("aside" if prefix else "among")
    between = piece.between
    if plan.embed:
        if between != Stage.between:
            raise UserError(
                f"the layers begin behind {between.name}, which leaves no room for a convolution; begin later"
            )
        between = Part.of("conv_embed", kernel=4, stride=1, norm="absent")
    made = replace(piece, depth=plan.depth or piece.depth, mixer=mixer, between=between, class_tokens=tokens)
    return made if plan.width is None else _of_width(made, plan.width)


def _of_width(stage: Stage, width: int) -> Stage:
    """The stage with blocks of that width: of heads as wide as they were where these divide it, and of as many where
    they do not; an MLP with a number of its own is as much wider as the blocks are."""
    blocks = stage.of_blocks
    if width == blocks.dim:
        return stage
    each = blocks.dim // blocks.heads
    heads = blocks.heads if width % each else width // each
    mlp = stage.mlp
    if mlp is not None and "hidden" in dict(mlp.options):
        hidden = round(dict(mlp.options)["hidden"] * width / blocks.dim)
        mlp = Part.of(mlp.name, **dict(mlp.options) | {"hidden": hidden})
    return replace(stage, width=None if width == stage.dim else width, heads=heads, mlp=mlp)


def _in_words(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"
