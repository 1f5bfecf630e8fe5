"""N:M sparsity for a model: which layers, in which order of channels, which weights, and what that brings.

Papers   Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks": prune by magnitude once, fine-tune with masks;
         Sun et al. 2023, "A Simple and Effective Pruning Approach for Large Language Models" (Wanda): magnitude times
         the norm of the input; Vadakkeveedu 2023, chapter 4: only layers that the roofline says are made faster.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paretovit.cost.products import products_of
from paretovit.devices import named_device
from paretovit.errors import UserError
from paretovit.optimize.permute import kept, pairs, permute, search
from paretovit.optimize.roofline import placed_layers, total_speedup
from paretovit.spec import ModelSpec, Part
from paretovit.training.pruning import sparse_name
from paretovit.zoo.layers import block_of, weight_matrices
from paretovit.zoo.masked import Masked
from paretovit.zoo.patterns import Pattern
from paretovit.zoo.transforms.sparse import mask_layer

Score = Literal["magnitude", "wanda"]


@dataclass(frozen=True, kw_only=True)
class SparseLayer:
    """What became of a layer.

    kept      the share of its scores' sum that is left; None where it was left as it is
    before    the same without the new order of channels
    why       what speaks against pruning it, if it was not
    """

    name: str
    rows: int
    width: int
    kept: float | None = None
    before: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Sparsified:
    """A model made sparse, its spec, and what was done to each layer that it was asked for."""

    spec: ModelSpec
    module: nn.Module
    pattern: Pattern
    layers: tuple[SparseLayer, ...]

    @property
    def pruned(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers if layer.kept is not None)


def sparsify(
    spec: ModelSpec,
    module: nn.Module,
    pattern: Pattern,
    *,
    blocks: tuple[int, int] | None = None,
    where: str = "all",
    device: str = "a10",
    batch_size: int = 256,
    score: Score = "magnitude",
    images: Tensor | None = None,
    reorder: bool = False,
) -> Sparsified:
    """A sparse copy of a model of that spec: its linear maps and 1x1 convolutions in the blocks from the first to the
    last of `blocks`, by default in all of them, keep `pattern.kept` of every `pattern.group` weights.

    With `where="roofline"` only those layers that 2:4 can make faster on `device` at that batch size. With
    `score="wanda"` weights are judged on `images` (B, C, H, W). With `reorder` channels change places first, which
    leaves the model's function as it is. A layer whose width the group does not divide is left out, and says so.

    Raises `UserError` for a model that is masked already, for blocks that it has not, and where no layer is left.
    """
    if any(isinstance(m, Masked) for m in module.modules()):
        raise UserError(f"{spec.name} is masked already; give the model that it was made from")
    module = copy.deepcopy(module).eval()
    wanted = _wanted(module, blocks)
    against = _against(spec, where, device, batch_size)
    matrices = weight_matrices(module)
    found: dict[str, SparseLayer] = {}
    for name in wanted:
        rows, width = matrices[name].shape
        why = "" if pattern.fits(width) else f"width {width} is not divisible by {pattern.group}"
        found[name] = SparseLayer(name=name, rows=rows, width=width, why=why or against.get(name, ""))
    chosen = [name for name, layer in found.items() if not layer.why]
    if not chosen:
        reasons = "; ".join(dict.fromkeys(layer.why for layer in found.values()))
        raise UserError(f"no layer of {spec.name} is to be pruned: {reasons}; choose others, or --where all")

    norms = _input_norms(module, chosen, images) if score == "wanda" else {}
    scores = {name: _scores(matrices[name], norms.get(name)) for name in chosen}
    before = {name: kept(scores[name], pattern) for name in chosen}
    if reorder:
        for pair in pairs(module, spec, chosen):
            order = search(scores[pair.consumer], pattern, spans=pair.spans)
            permute(module, pair, order)
            scores[pair.consumer] = scores[pair.consumer][:, order]
            if pair.producer in scores:  # its rows went along
                made = scores[pair.producer]
                scores[pair.producer] = torch.cat([made[: -len(order)], made[-len(order) :][order]])
    for name in chosen:
        found[name] = replace(found[name], kept=kept(scores[name], pattern), before=before[name])
        mask_layer(name, module.get_submodule(name), pattern, scores[name])
    some = None if len(wanted) == len(block_of(module)) else blocks
    return Sparsified(_sparse_spec(spec, pattern, chosen, some), module, pattern, tuple(found.values()))


def steps(pattern: Pattern) -> list[Pattern]:
    """The patterns of a gradual schedule, each with one weight less in every group, down to `pattern`."""
    return [Pattern(n, pattern.group) for n in range(pattern.group - 1, pattern.kept - 1, -1)]


def block_range(text: str) -> tuple[int, int]:
    """ "4-11" or "4". Raises `UserError` for what cannot be read."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise UserError(f"cannot read the layers {text!r}; write them as 4-11, from the first block, which is 0")
    return int(match[1]), int(match[2] or match[1])


def speedup(sparsified: Sparsified, device: str, *, batch_size: int, dtype: str = "float16") -> float:
    """Of all products of the model together on that device, at most, with these layers sparse."""
    pruned = set(sparsified.pruned) if sparsified.pattern.is_2_of_4 else set[str]()
    layers = placed_layers(products_of(sparsified.spec), named_device(device), dtype=dtype, batch_size=batch_size)
    able = [replace(at, prune=at.product.module in pruned and at.sparse_seconds is not None) for at in layers]
    return total_speedup(able)


def _wanted(module: nn.Module, blocks: tuple[int, int] | None) -> list[str]:
    numbers = block_of(module)
    count = 1 + max(numbers.values(), default=-1)
    if not count:
        raise UserError("the model has no blocks of linear maps or 1x1 convolutions")
    first, last = blocks or (0, count - 1)
    if last >= count:
        raise UserError(f"there is no block {last}; the model has {count}, from 0 to {count - 1}")
    return [name for name, number in numbers.items() if first <= number <= last]


def _against(spec: ModelSpec, where: str, device: str, batch_size: int) -> dict[str, str]:
    """What speaks against pruning a layer, by its name."""
    if where == "all":
        return {}
    if where != "roofline":
        raise UserError(f"unknown --where {where!r}; take roofline or all")
    layers = placed_layers(products_of(spec), named_device(device), batch_size=batch_size)
    return {layer.product.module: layer.why for layer in layers if layer.why and layer.product.in_features is not None}


def _scores(matrix: Tensor, norms_I: Tensor | None) -> Tensor:
    magnitudes = matrix.detach().float().abs()
    return magnitudes if norms_I is None else magnitudes * norms_I


@torch.no_grad()
def _input_norms(module: nn.Module, names: Sequence[str], images: Tensor | None) -> dict[str, Tensor]:
    """The norm of each input channel of the layers, over all tokens of the images."""
    if images is None:
        raise UserError("scores by activation need images; give --data")
    squares: dict[str, Tensor] = {}
    with _watching(module, names, squares):
        for image in images.split(32):
            module(image)
    if missing := [name for name in names if name not in squares]:
        raise UserError(f"{missing[0]} is not called like a layer, so its inputs are unknown; take --score magnitude")
    return {name: total.sqrt() for name, total in squares.items()}


@contextmanager
def _watching(module: nn.Module, names: Sequence[str], squares: dict[str, Tensor]) -> Iterator[None]:
    """Adds up the squares of each channel that enters the layers."""

    def hook(name: str) -> Any:
        def add(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].float()
            channels = x.movedim(1, -1) if not isinstance(layer, nn.Linear) else x
            total = channels.flatten(0, -2).square().sum(0)
            squares[name] = squares[name] + total if name in squares else total

        return add

    handles = [module.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _sparse_spec(spec: ModelSpec, pattern: Pattern, chosen: Sequence[str], blocks: tuple[int, int] | None) -> ModelSpec:
    part = Part.of("sparse", layers=tuple(chosen), kept=pattern.kept, group=pattern.group)
    name = sparse_name(spec.name, str(pattern), blocks)
    return replace(spec, name=name, transforms=(*spec.transforms, part))
