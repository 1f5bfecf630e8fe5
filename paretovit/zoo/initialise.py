"""How the weights of a new model are drawn; a spec names one of `INITS`.

Parts with parameters of their own have filled them already: what is done here overrides that for linear maps,
convolutions and class tokens alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def glorot(module: nn.Module, class_token: Tensor | None) -> None:
    """As the released code of Dosovitskiy et al. 2020: linear maps uniform after Glorot and Bengio 2010, no bias,
    class tokens near zero. Unlike a fixed deviation of 0.02 it follows the width, and narrow models learn from
    the first epoch."""
    for linear in _all(module, nn.Linear):
        nn.init.xavier_uniform_(linear.weight)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
    if class_token is not None:
        nn.init.normal_(class_token, std=1e-6)


def torch_default(module: nn.Module, class_token: Tensor | None) -> None:
    """Layers as torch makes them, class tokens normal with deviation 1, as in the code of Jeevan and Sethi 2022."""
    if class_token is not None:
        nn.init.normal_(class_token)


def compact(module: nn.Module, class_token: Tensor | None) -> None:
    """As the released code of Hassani et al. 2021: linear maps normal with deviation 0.02 and no bias, convolutions
    after He et al. 2015."""
    for linear in _all(module, nn.Linear):
        nn.init.trunc_normal_(linear.weight, std=0.02)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
    for conv in _all(module, nn.Conv2d):
        nn.init.kaiming_normal_(conv.weight)
    if class_token is not None:
        nn.init.trunc_normal_(class_token, std=0.02)


def truncated(module: nn.Module, class_token: Tensor | None) -> None:
    """As most hierarchical models: linear maps and class tokens normal with deviation 0.02, cut at 2, no bias;
    convolutions as torch makes them."""
    for linear in _all(module, nn.Linear):
        nn.init.trunc_normal_(linear.weight, std=0.02)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
    if class_token is not None:
        nn.init.trunc_normal_(class_token, std=0.02)


INITS: dict[str, Callable[[nn.Module, Tensor | None], None]] = {
    "glorot": glorot,
    "torch": torch_default,
    "compact": compact,
    "truncated": truncated,
}


def _all(module: nn.Module, kind: type[M]) -> list[M]:
    return [m for m in module.modules() if isinstance(m, kind)]
