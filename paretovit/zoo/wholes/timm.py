"""timm's models, as they are."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import timm as library
import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, rows_and_columns
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
        except UserError:
            raise
        except (TypeError, AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise UserError(f"timm cannot build {self.architecture} with {options}: {reason}") from error

    def _create(self, spec: ModelSpec, options: dict[str, Any], pretrained: bool) -> nn.Module:
        native = self._native()
        resized = native is not None and native.input_size[-2:] != rows_and_columns(spec.image_px)
        if resized and native.fixed_input_size:
            options = {**options, "img_size": spec.image_px}
        elif resized:
            self._try(spec, options)
        return library.create_model(self.architecture, pretrained=pretrained, **options)

    def _native(self) -> Any:
        """What timm knows of the model; a place such as `local-dir:FOLDER` tells of its own."""
        if ":" not in self.architecture:
            return library.get_pretrained_cfg(self.architecture)
        return SimpleNamespace(**library.models.resolve_model_input_args(self.architecture)["pretrained_cfg"])

    def _try(self, spec: ModelSpec, options: dict[str, Any]) -> None:
        """A pass without values: what takes images of several sizes says only there which it does not take."""
        with torch.device("meta"), torch.inference_mode():
            trial = library.create_model(self.architecture, **options).eval()
            try:
                trial(torch.empty(1, *spec.input_shape))
            except NotImplementedError:  # an operator without shapes to tell says nothing of the size
                return
            except (AssertionError, RuntimeError, ValueError, IndexError) as error:
                reason = str(error).strip().split("\n")[0]
                raise UserError(
                    f"{spec.name} does not take images of {spec.size}{f' ({reason})' if reason else ''}; its own are "
                    f"{' x '.join(map(str, self._native().input_size[-2:]))} px"
                ) from error
