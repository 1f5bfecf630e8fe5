"""A model with some of its layers replaced: its spec, what stays of the parent's weights, and what is trained.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", secs. 3.1 to 3.3.

A layer is a block: a token mixer and its MLP, counted from 0 through the depth of the model. The new stage works on
the grid of patches, with the class tokens set aside; a new spec is made, and nothing else: what comes out is a model
like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.folders import MIXERS, READOUTS

# section 3.3.1, where it prints other sizes than the mixers' own; block and grid as in its figure 3.5b
THESIS: dict[str, Part] = {
    "shifted_window": Part.of("shifted_window", window=4),
    "block_grid": Part.of("block_grid", window=4),
}

_BLOCK = re.compile(r"stages\.(\d+)\.(\d+)\.(.+)")
_BETWEEN = re.compile(r"between\.(\d+)\.(.+)")
_CLASS_MIXER = re.compile(r"class_mixers\.(\d+)\.(.+)")
_MIXES = ("norm1.", "mixer.", "scale1.")  # of a block, what a layer of attention is


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What takes the place of which layers.

    layers        (first, last), both included, of every stretch of layers; each gets a stage of its own
    mixer         of the new stages
    depth         of each new stage; None for as many blocks as there were
    embed         True for the 4 x 4 convolution of stride 1 in front (fig. 3.4b)
    class_tokens  "aside", "mixed" (the CLS mixer of fig. 3.4b behind) or "among" the patches; None for "aside" where
                  the model has class tokens
    """

    layers: tuple[tuple[int, int], ...]
    mixer: Part
    depth: int | None = None
    embed: bool = False
    class_tokens: str | None = None

    def __str__(self) -> str:
        """In words, for rows: "layers 6-11 by focal"."""
        where = ", ".join(_in_words(pair) for pair in self.layers)
        depth = "" if self.depth is None else f" of depth {self.depth}"
        embed = " behind a convolution" if self.embed else ""
        tokens = {None: "", "aside": "", "mixed": ", class token mixed in", "among": ", class token among"}
        return f"layers {where} by {self.mixer}{depth}{embed}{tokens[self.class_tokens]}"


@dataclass(frozen=True)
class Replacement:
    """A model and its parent, cut into the same stages.

    spec     of the new model
    parent   of the parent, its layers unchanged, in stages that end where those of `spec` end
    whole    of the parent as it was, whose weights `carried` takes
    stages   the numbers, in both specs, of the stages that were replaced
    """

    spec: ModelSpec
    parent: ModelSpec
    whole: ModelSpec
    stages: tuple[int, ...]

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
        return name

    def is_trained(self, name: str) -> bool:
        """Whether training changes a tensor of the new model: one that is new, or of the mixing of the block that
        follows a new stage (sec. 3.4.3: "the MHSA layer that immediately follows the token mixer stage")."""
        if self.source(name) is None:
            return True
        match = _BLOCK.fullmatch(name)
        follows = match is not None and int(match[1]) - 1 in self.stages and int(match[2]) == 0
        return follows and match is not None and match[3].startswith(_MIXES)

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

    def prepare(self, module: nn.Module, state: dict[str, Tensor]) -> None:
        """Give a new module of `spec` the parent's weights, and freeze all that is not trained."""
        module.load_state_dict(self.carried(state, module))
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(self.is_trained(name))

    def teacher(self, state: dict[str, Tensor]) -> Backbone:
        """The parent itself, in the stages of `parent`, to be asked and not changed."""
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


def replace_nothing(replacement: Replacement) -> Replacement:
    """The parent in the stages of the new model, none of them new."""
    return replace(replacement, spec=replacement.parent, stages=())


def replaced(spec: ModelSpec, plan: Plan) -> Replacement:
    """Put new stages in place of layers of a model on the skeleton.

    Raises `UserError` for layers that the model has not, that overlap or that lie in two of its stages; for models
    whose tokens change their number on the way; and for a class token that nothing would tell of the new stage.
    """
    _check(spec, plan)
    new: list[Stage] = []
    old: list[Stage] = []
    numbers: list[int] = []
    begin = 0
    for stage in spec.stages:
        for first, last, taken in _pieces(stage, begin, plan.layers):
            piece = replace(stage, depth=last - first + 1)
            if first > begin:
                piece = replace(piece, between=Stage.between)
            if stage.class_tokens == "mixed" and last < begin + stage.depth - 1:
                piece = replace(piece, class_tokens="aside")  # what mixes it comes behind the last layer
            if taken:
                numbers.append(len(new))
            new.append(_stage(spec, piece, plan) if taken else piece)
            old.append(piece)
        begin += stage.depth
    name = "_".join([spec.name, plan.mixer.name, *(_in_words(pair) for pair in plan.layers)])
    name += ("_embed" if plan.embed else "") + ("_mixed" if plan.class_tokens == "mixed" else "")
    parent = replace(spec, stages=tuple(old))
    return Replacement(replace(spec, name=name, stages=tuple(new)), parent, spec, tuple(numbers))


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
    MIXERS.fact(plan.mixer.name, "family")  # an unknown name is answered with the nearest
    if spec.whole is not None:
        raise UserError(f"{spec.name} is not on the skeleton, so its tokens cannot be told; give a ViT")
    if spec.transforms:
        raise UserError(f"{spec.name} is masked or otherwise changed after building; replace layers of its parent")
    if getattr(READOUTS[spec.readout.name], "prefix", 0) and dict(spec.readout.options).get("joins", 0):
        raise UserError(f"the class token of {spec.name} joins late; give a model whose first layer has it")
    for stage in spec.stages:
        if stage.share or stage.sequence != Stage.sequence:
            why = "has one block for all layers" if stage.share else f"changes its tokens by {stage.sequence.name}"
            raise UserError(f"{spec.name} {why}; give a model of separate layers with all their tokens")
    depth = sum(stage.depth for stage in spec.stages)
    if not plan.layers:
        raise UserError("name the layers to replace, such as 6-11")
    if plan.depth is not None and plan.depth < 1:
        raise UserError(f"a new stage must be at least 1 deep, got {plan.depth}")
    before = -1
    for first, last in sorted(plan.layers):
        if not 0 <= first <= last < depth:
            raise UserError(
                f"{spec.name} has {depth} layers, from 0 to {depth - 1}; {_in_words((first, last))} is none"
            )
        if first <= before:
            raise UserError(f"the layers {_in_words((first, last))} overlap others; name each layer once")
        before = last
    tokens = plan.class_tokens
    prefix = READOUTS[spec.readout.name].prefix
    if tokens not in (None, "among") and not prefix:
        raise UserError(f"{spec.name} has no class token, so none can be set aside or mixed")
    hears = tokens == "mixed" or (tokens == "among" and MIXERS.fact(plan.mixer.name, "mixes", True))
    if prefix and not hears and before == depth - 1:
        raise UserError(
            f"no layer behind the new stage would tell the class token what {plan.mixer.name} found; leave the last "
            f"layer, {depth - 1}, or mix the class token (--class-mixer)"
        )


def _pieces(stage: Stage, begin: int, layers: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """(first, last, whether it is replaced) of the stretches that a stage falls into; `begin` is its first layer."""
    at, end = begin, begin + stage.depth
    for first, last in sorted(layers):
        if last < begin or first >= end:
            continue
        if first < begin or last >= end:
            raise UserError(f"the layers {_in_words((first, last))} lie in two stages; replace those of each by itself")
        if first > at:
            yield at, first - 1, False
        yield first, last, True
        at = last + 1
    if at < end:
        yield at, end - 1, False
    if at not in (begin, end) and (at - begin) % 2 and MIXERS[stage.mixer.name].alternates:
        raise UserError(
            f"{stage.mixer.name} differs from one block to the next; replace an even number of its layers from the "
            "first on, so that those behind stay what they are"
        )


def _stage(spec: ModelSpec, piece: Stage, plan: Plan) -> Stage:
    """What takes the place of a stretch of layers."""
    mixer = THESIS.get(plan.mixer.name, plan.mixer) if not plan.mixer.options else plan.mixer
    prefix = READOUTS[spec.readout.name].prefix
    tokens = plan.class_tokens or ("aside" if prefix else "among")
    between = piece.between
    if plan.embed:
        if between != Stage.between:
            raise UserError(
                f"the layers begin behind {between.name}, which leaves no room for a convolution; begin later"
            )
        between = Part.of("conv_embed", kernel=4, stride=1, norm="absent")
    return replace(piece, depth=plan.depth or piece.depth, mixer=mixer, between=between, class_tokens=tokens)


def _in_words(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"
