"""A runtime's session called as a module, so that what judges a module judges what a runtime makes of it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.cost.choose import check_dtype, chosen, tensors_of
from paretovit.cost.folders import RUNTIMES
from paretovit.cost.subject import Calibration
from paretovit.devices import check_device
from paretovit.errors import Unmeasurable, UserError
from paretovit.spec import ModelSpec


class Served(nn.Module):
    """Logits of a trained `module` as a runtime computes them, on batches (B, C, H, W) of up to `batch_size` images.

    A runtime is prepared for batches of one size; smaller ones are filled up with zeros, whose logits are dropped.
    The module itself stays as it is. Raises `UserError` for a runtime, a data type or a calibration that cannot be, and
    for a model that the runtime cannot take.
    """

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        *,
        runtime: str,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 256,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__()
        kind = RUNTIMES[runtime]
        check_dtype(dtype, calibration)
        if device.split(":")[0] not in kind.devices:
            raise UserError(f"{runtime} does not run on {device}; it runs on {', '.join(kind.devices)}")
        if missing := kind.missing():
            raise UserError(missing)
        self.conditions: dict[str, Any] = {"runtime": runtime, "dtype": dtype}
        if calibration is not None:
            self.conditions["assumptions"] = (("calibration", calibration.name),)
        place, tensors = check_device(device), tensors_of(dtype)
        self._zeros = torch.zeros(batch_size, *spec.input_shape, dtype=tensors, device=place)
        try:
            prepared = chosen(runtime, dtype, None if calibration is None else lambda: calibration(spec))
            own = copy.deepcopy(module).eval().to(place, tensors)
            self._session = prepared.prepare(own, self._zeros)
        except Unmeasurable as error:
            raise UserError(f"{error}; choose another runtime or data type") from error

    def forward(self, images: Tensor) -> Tensor:
        batch = self._zeros.clone()
        batch[: len(images)] = images
        self._session.feed(batch)
        logits = torch.as_tensor(self._session())
        self._session.synchronize()
        # a copy, for a session may write the logits of its next call to the same place
        return logits[: len(images)].to(images.device, copy=True)
