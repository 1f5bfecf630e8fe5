"""Norms that are one gain and one shift per channel, put into the linear maps behind them.

Paper    Guo et al. 2024, "SLAB: Efficient Transformers with Simplified Linear Attention and Progressive
         Re-parameterized Batch Normalization", sec. 3.2: what makes batch norm free at inference.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.zoo.backbone import Backbone, Block
from paretovit.zoo.norms import Norm
from paretovit.zoo.norms.absent import Absent
from paretovit.zoo.readouts.class_token import ClassToken
from paretovit.zoo.readouts.mean import Mean


def folded(model: nn.Module) -> nn.Module:
    """A copy of a model for inference, its logits equal but for rounding, without the norms that fold.

    These are batch norm and PRepBN, with the statistics that they have kept, in front of the MLP, of a mixer that
    states which linear map `enters` it, and of the head. The model itself is returned where nothing folds. What comes
    back is no longer its spec's: it is for running and export, not for training.

    Raises `UserError` for a model in training mode, whose norms take the statistics of the batch.
    """
    found = [module for module in model.modules() if isinstance(module, Norm) and module.gain_and_shift() is not None]
    if not found or not isinstance(model, Backbone):
        return model
    if model.training:
        raise UserError("norms fold with the statistics that they have kept; call model.eval() first")
    model = copy.deepcopy(model)
    for block in [module for module in model.modules() if isinstance(module, Block)]:
        _fold(block, "norm1", block.mixer, block.mixer.enters)
        if block.mlp is not None and not block.normed_residual:  # else the normed tokens go on beside the MLP
            _fold(block, "norm2", block.mlp, block.mlp.enters)
    if isinstance(model.readout, Mean | ClassToken):  # a mean of what a norm gives is what it gives of the mean
        _fold(model, "norm", model, "head")
    return model


def _fold(of: nn.Module, name: str, behind: nn.Module, linear_name: str) -> None:
    """Fold the norm of that name into a linear map of the module behind it, if both are such."""
    norm, linear = getattr(of, name), getattr(behind, linear_name, None) if linear_name else None
    if not isinstance(norm, Norm) or type(linear) is not nn.Linear or (told := norm.gain_and_shift()) is None:
        return
    setattr(behind, linear_name, with_norm(linear, *told))
    setattr(of, name, Absent())


@torch.no_grad()
def with_norm(linear: nn.Linear, gain_D: torch.Tensor, shift_D: torch.Tensor) -> nn.Linear:
    """One linear map of x that does what `linear` does of gain x + shift."""
    both = nn.Linear(linear.in_features, linear.out_features).to(linear.weight)
    both.weight.copy_(linear.weight * gain_D)
    both.bias.copy_(linear.weight @ shift_D + (0 if linear.bias is None else linear.bias))
    return both.train(linear.training)
