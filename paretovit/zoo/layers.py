"""The layers of a model that multiply tokens by a matrix of weights, whatever the model calls them."""

from __future__ import annotations

from torch import Tensor, nn

from paretovit.zoo.backbone import Backbone
from paretovit.zoo.masked import MASKED


def weight_matrix(module: nn.Module) -> Tensor | None:
    """The weight of a linear map or a 1x1 convolution as a matrix (out, in), which is a view of it.

    None for every other module, and for subclasses of these but our masked ones: they may use their weight otherwise.
    """
    if type(module) not in (*MASKED, *MASKED.values()):
        return None
    if isinstance(module, nn.Linear):
        return module.weight
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    pointwise = module.groups == 1 and all(side == 1 for side in module.kernel_size)
    return module.weight.flatten(1) if pointwise else None


def weight_matrices(model: nn.Module) -> dict[str, Tensor]:
    """`weight_matrix` of every such layer, by the layer's name in the model, a shared one under its first name."""
    found = ((name, weight_matrix(module)) for name, module in model.named_modules())
    return {name: matrix for name, matrix in found if matrix is not None}


def block_of(model: nn.Module) -> dict[str, int]:
    """The number, from 0 through the depth of the model, of the block that each of these layers is in.

    A block is a member of a list of modules, on the skeleton of a stage's list, that holds two such layers or more, and
    no list of such members. Layers outside, as in a head or between stages, are left out.
    """
    within = "stages." if isinstance(model, Backbone) else ""
    names = [name for name in weight_matrices(model) if name.startswith(within)]
    members = [name for name, _ in model.named_modules() if name.rpartition(".")[2].isdigit()]
    full = {m for m in members if sum(name.startswith(f"{m}.") for name in names) >= 2}
    full -= {outer for outer in full if any(inner.startswith(f"{outer}.") for inner in full)}
    numbers = {block: number for number, block in enumerate(m for m in members if m in full)}
    return {name: number for name in names for block, number in numbers.items() if name.startswith(f"{block}.")}
