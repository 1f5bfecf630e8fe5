"""timm's models, as they are."""

from __future__ import annotations

import warnings
from typing import Any

import timm as library
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.zoo.wholes import Whole


class Timm(Whole):
    """A timm model under timm's name. Options other than `architecture` go to its constructor."""

    def __init__(self, *, architecture: str, **options: Any) -> None:
        self.architecture, self.options = architecture, options

    def __call__(self, spec: ModelSpec, *, drop_path: float, pretrained: bool) -> nn.Module:
        options = {"in_chans": spec.in_chans, "num_classes": spec.num_classes, **self.options}
        if drop_path:
            options["drop_path_rate"] = drop_path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # timm's advice on deprecated names is no concern of a row
                return self._create(spec, options, pretrained)
        except (TypeError, AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise UserError(f"timm cannot build {self.architecture} with {options}: {reason}") from error

    def _create(self, spec: ModelSpec, options: dict[str, Any], pretrained: bool) -> nn.Module:
        native = library.get_pretrained_cfg(self.architecture)
        if native is not None and native.fixed_input_size and native.input_size[-1] != spec.image_px:
            options = {**options, "img_size": spec.image_px}
        return library.create_model(self.architecture, pretrained=pretrained, **options)
