"""Weights, gradients and the optimizer's state shared out over processes: each keeps a part of every tensor.

Paper    Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", stage 3; Zhao
         et al. 2023, "PyTorch FSDP". This is torch's second version of it, `fully_shard`.
Differs  accelerate only brings the processes together here: on CPUs it does not shard.

The blocks of a model are put together from their parts when they are needed, one at a time, and taken apart again. A
checkpoint is put together as a whole, so it is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from paretovit.zoo.backbone import Block


def share_out(module: nn.Module, device: torch.device, processes: int) -> None:
    """Changes the module in place: its parameters are afterwards parts of themselves."""
    mesh = init_device_mesh(device.type, (processes,))
    for block in _blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which this process may hold a part, put together; all processes are to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """This process's part of a whole tensor, where `pattern`, of the same shape, is such a part."""
    if not isinstance(pattern, DTensor) or pattern.shape != tensor.shape:
        return tensor
    return distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements)


@contextmanager
def gradients_stay(module: nn.Module) -> Iterator[None]:
    """Gradients of what is done inside are not yet averaged over the processes."""
    assert isinstance(module, FSDPModule)
    module.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        module.set_requires_gradient_sync(True)


def _blocks(module: nn.Module) -> list[nn.Module]:
    """What is put together at once: our blocks, or those of a timm model; of others the whole model is."""
    ours: list[nn.Module] = [part for part in module.modules() if isinstance(part, Block)]
    theirs = getattr(module, "blocks", None)
    return ours or (list(theirs) if isinstance(theirs, nn.Sequential | nn.ModuleList) else [])
