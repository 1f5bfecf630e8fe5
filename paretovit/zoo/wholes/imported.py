"""The user's own `nn.Module`, named as `package.module:callable`."""

from __future__ import annotations

import importlib
import sys

from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.zoo.wholes import Whole


class Imported(Whole):
    """What a callable without arguments returns: a module from images (B, C, H, W) to logits (B, classes)."""

    def __init__(self, *, path: str) -> None:
        self.path = path

    def __call__(self, spec: ModelSpec, *, drop_path: float, pretrained: bool) -> nn.Module:
        module_name, _, attribute = self.path.partition(":")
        if "" not in sys.path:
            sys.path.insert(0, "")  # as `python -m` does, so that a file of the current folder is found
        try:
            target = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise UserError(f"cannot import {self.path}: {error}; write package.module:callable") from error
        model = target()
        if not isinstance(model, nn.Module):
            raise UserError(f"{self.path}() returned {type(model).__name__}, not a torch.nn.Module")
        return model
