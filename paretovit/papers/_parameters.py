"""Parameters as several papers count them: those of layers, and no others."""

from __future__ import annotations

from torch import nn

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d)


def layer_parameters(module: nn.Module) -> int:
    """Elements of the weights and biases of linear maps, convolutions and norms, shared ones once.

    This is what torchsummary 1.5.1 reports. Bare tensors are left out: class tokens, tables of positions, Linformer's
    projection of the sequence.
    """
    found = (
        tensor for layer in module.modules() if isinstance(layer, _LAYERS) for tensor in (layer.weight, layer.bias)
    )
    return sum(tensor.numel() for tensor in {id(t): t for t in found if t is not None}.values())
