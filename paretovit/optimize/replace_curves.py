"""How the losses and the accuracy of a replaced model went, epoch by epoch.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", figs. 3.13 to 3.15.
Differs  Training images are judged as the others are, in evaluation mode and after each epoch, so that two curves of a
         run differ by the images alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from paretovit.errors import UserError
from paretovit.optimize.distil import Objective, distance
from paretovit.training.data import Data, Images
from paretovit.training.evaluate import score
from paretovit.training.recipe import Recipe
from paretovit.training.splits import split
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import SPEC, load_model

_MOST = 1024  # training images that are judged, evenly spread over the set


def curves(folder: Path, objective: Objective, data: Data, recipe: Recipe, *, device: str = "cpu") -> dict[str, Any]:
    """The models that were kept in `folder` after each epoch, judged on training images and on those that the recipe
    holds out, or if it holds out none on the others: `epoch`, and by the name of each split the lists `top1`,
    `label_loss` (cross-entropy, nat) and `distillation_loss`.

    Raises `UserError` where not all epochs' models were kept.
    """
    images, held = split(data.train, recipe)
    watched = data.val if held is None else held
    splits = {"train": _part(images), watched.split: watched}
    found: dict[str, Any] = {"epoch": list(range(1, recipe.epochs + 1))}
    found |= {name: {"top1": [], "label_loss": [], "distillation_loss": []} for name in splits}
    for number in found["epoch"]:
        kept = folder / f"epoch-{number:04}"
        if not (kept / SPEC).is_file():
            raise UserError(
                f"{folder} does not have the model after epoch {number}, which curves need; start over with "
                "--no-resume, or leave --curves out"
            )
        spec, state = load_model(kept)
        module = build(spec).to(device).eval()
        module.load_state_dict(state)
        for name, part in splits.items():
            judged = score(module, part, device=device)
            found[name]["top1"].append(judged.hits1 / judged.images)
            found[name]["label_loss"].append(judged.loss)
            found[name]["distillation_loss"].append(distance(module, objective, part, device=device))
    return found


def _part(images: Images) -> Images:
    if len(images) <= _MOST:
        return images
    return images.part(torch.linspace(0, len(images) - 1, _MOST).long())
