"""Weights with zeros in an N:M pattern, which stay zero whatever is done to the model.

The mask of a layer is a buffer of it, `weight_mask`, so checkpoints hold masks as they hold weights, and resuming a
training, averaging weights and moving to another device need know nothing of it. What keeps the zeros:

    in a step       gradients are masked before anybody sees them; an optimizer that works on each weight by itself then
                    leaves a zero at zero, with weight decay and momentum, too
    after a change  of mode (`train`, `eval`) and before weights are saved, they are masked again, for optimizers that
                    mix the entries of a matrix, such as Muon
    in a copy       as moving averages make one, gradients are masked again
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.patterns import Pattern


class Masked(nn.Module):
    """What a layer becomes whose weight is masked. Its output is that of the layer it was.

    Raises `UserError` when it is given weights that its mask does not fit.
    """

    weight: Tensor
    weight_mask: Tensor
    pattern: Pattern
    _guarded: int | None

    def settle(self) -> None:
        """Set to zero what the mask takes."""
        if not self.weight.is_meta:
            with torch.no_grad():
                self.weight.masked_fill_(~self.weight_mask, 0)  # as a product, -0 would stay -0

    def guard(self) -> None:
        """Mask the weight's gradients, if that weight's are not yet."""
        if self.weight.requires_grad and self._guarded != id(self.weight):
            self.weight.register_hook(lambda gradient: gradient.masked_fill(~self.weight_mask, 0))
            self._guarded = id(self.weight)

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.guard()
        self.settle()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._guarded = None  # a copied weight has no hooks, and in another process may have the old one's id
        self.guard()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self.settle()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight, mask = (state_dict.get(prefix + name) for name in ("weight", "weight_mask"))
        if weight is not None and mask is not None and not mask.is_meta and weight.shape == mask.shape:
            layer = prefix.rstrip(".")
            if not self.pattern.holds(mask.flatten(1)):
                raise UserError(f"the mask of {layer} is not {self.pattern} sparse; restore the checkpoint from a copy")
            if bool((weight[~mask] != 0).any()):
                raise UserError(f"the mask of {layer} does not fit its weights; restore the checkpoint from a copy")
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.guard()


class MaskedLinear(Masked, nn.Linear):
    """A linear map with a masked weight."""


class MaskedConv1d(Masked, nn.Conv1d):
    """A 1x1 convolution with a masked weight."""


class MaskedConv2d(Masked, nn.Conv2d):
    """A 1x1 convolution with a masked weight."""


class MaskedConv3d(Masked, nn.Conv3d):
    """A 1x1 convolution with a masked weight."""


MASKED: dict[type[nn.Module], type[Masked]] = {
    nn.Linear: MaskedLinear,
    nn.Conv1d: MaskedConv1d,
    nn.Conv2d: MaskedConv2d,
    nn.Conv3d: MaskedConv3d,
}
