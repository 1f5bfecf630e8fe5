"""The optimizer of a recipe, and what a recipe does to a model before it is trained."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers
from torch import nn

from paretovit.errors import UserError, unknown
from paretovit.training.batches import seed_of
from paretovit.training.recipe import Recipe
from paretovit.zoo.backbone import Block


def make_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """timm's optimizer of that name, without weight decay for vectors and for what the model itself exempts, unless
    the recipe decays all. Parameters that need no gradient are left out.

    Raises `UserError` for a name that timm does not know, or whose library is not installed, and for a layer-wise
    rate of a model that does not know its layers.
    """
    if recipe.opt not in list_optimizers():
        raise unknown("optimizer", recipe.opt, list_optimizers())
    info = get_optimizer_info(recipe.opt)
    options: dict[str, Any] = {"betas": recipe.betas} if info.has_betas else {}
    if "fused" in inspect.signature(info.opt_class).parameters:
        options["fused"] = True  # tiny models spend a tenth of a step in a loop over their tensors
    if recipe.eps is not None:
        options["eps"] = recipe.eps
    decayed: Any = module  # of a module timm exempts some
    if recipe.decay_all:
        decayed = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if recipe.layer_decay is not None:
        if recipe.decay_all or not hasattr(module, "group_matcher"):
            raise UserError("layer_decay needs a model that names its layers (group_matcher), and decay_all=false")
        options["layer_decay"] = recipe.layer_decay
    try:
        return create_optimizer_v2(decayed, opt=recipe.opt, lr=recipe.lr, weight_decay=recipe.weight_decay, **options)
    except (ImportError, AssertionError, RuntimeError) as error:
        raise UserError(f"optimizer {recipe.opt} needs a library that is not here: {error}; take adamw") from error


def with_dropout(module: nn.Module, rate: float) -> None:
    """Zeroes values of what mixers and MLPs add to the tokens, while training (Steiner et al. 2021, sec. 3.2).

    Raises `UserError` for a model that is not on the skeleton.
    """
    if not rate:
        return
    ends = [
        scale
        for block in module.modules()
        if isinstance(block, Block)
        for scale in (block.scale1, getattr(block, "scale2", None))
        if scale is not None
    ]
    if not ends:
        raise UserError("dropout is for models on the skeleton; leave it out, or take a model of ours")
    for end in ends:
        end.register_forward_hook(lambda self, _, out: nn.functional.dropout(out, rate, self.training))


def redraw(module: nn.Module, recipe: Recipe, step: int) -> None:
    """Before step 0, 1, ...: other random features for every mixer that has some, if it is time for it.

    Choromanski et al. 2020, "Rethinking Attention with Performers", sec. 4.2, redraw them now and then. They come from
    the seed and the number of the step, so that all processes of a run draw the same.
    """
    if recipe.redraw_every is None or step == 0 or step % recipe.redraw_every:
        return
    random = [part for part in module.modules() if callable(getattr(part, "redraw", None))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(recipe, f"features of step {step}"))
        for part in random:
            part.redraw()  # type: ignore[operator]  # looked for above
