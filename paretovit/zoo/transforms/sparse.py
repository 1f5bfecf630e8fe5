"""Weights of layers in an N:M pattern, such as 2:4. How they stay so is told in `zoo/masked.py`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.layers import weight_matrix
from paretovit.zoo.masked import MASKED, Masked
from paretovit.zoo.patterns import Pattern
from paretovit.zoo.transforms import Transform


class Sparse(Transform):
    """The weights of `layers` in a pattern of `kept` of every `group`, those of least magnitude zero.

    Raises `UserError` for a layer that is not there, that is masked already, that has no weight matrix, or whose width
    the group does not divide.
    """

    def __init__(self, *, layers: tuple[str, ...], kept: int = 2, group: int = 4) -> None:
        self.layers, self.pattern = layers, Pattern(kept, group)

    def __call__(self, model: nn.Module) -> nn.Module:
        modules = dict(model.named_modules())
        for name in self.layers:
            module = modules.get(name)
            if module is None:
                raise UserError(f"there is no layer {name} to be made sparse; the model has others than when it was")
            mask_layer(name, module, self.pattern)
        return model


def mask_layer(name: str, module: nn.Module, pattern: Pattern, scores: Tensor | None = None) -> None:
    """Make a layer sparse in place: of each group, the weights of the highest scores (out, in) stay, by default those
    of the largest magnitude. Raises `UserError` as `Sparse` does."""
    if isinstance(module, Masked):
        raise UserError(f"{name} is masked already; give the model that it was made from")
    matrix = weight_matrix(module)
    if matrix is None:
        raise UserError(f"{name} is a {type(module).__name__}; linear maps and 1x1 convolutions can be sparse")
    if not pattern.fits(matrix.shape[1]):
        raise UserError(f"{name} is {matrix.shape[1]} wide, which {pattern.group} does not divide; leave it out")
    assert isinstance(module.weight, nn.Parameter)
    mask = _mask(matrix, pattern, scores).view(module.weight.shape)
    module.__class__ = MASKED[type(module)]
    assert isinstance(module, Masked)
    module.pattern, module._guarded = pattern, None
    module.register_buffer("weight_mask", mask)
    module.settle()
    module.guard()


def _mask(matrix: Tensor, pattern: Pattern, scores: Tensor | None) -> Tensor:
    if matrix.is_meta:
        return torch.empty_like(matrix, dtype=torch.bool)
    return pattern.mask(matrix.detach().abs() if scores is None else scores)
