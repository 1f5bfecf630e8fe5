"""One process, or several that train one model together under `torchrun`.

What is said in the plural here is done by the library accelerate, and only then: a single process needs none of it.
Where the processes also share out the model itself, `shards.py` does that.
Every process sees the same batches drawn and works on its share of each, gradients are averaged, and one process, the
first, writes and shows. With `n` processes the global batch is the recipe's `batch_size`, so a run does not become
another one by being spread.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.training import shards


class Team:
    """The processes of a run: `rank` of `size`; trackers are names that accelerate knows, such as "tensorboard". With
    `fsdp` each keeps a part of the model; that takes several: `UserError` for one alone."""

    def __init__(
        self, device: str, *, trackers: Sequence[Any] = (), folder: Path | None = None, fsdp: bool = False
    ) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        if fsdp and self.size == 1:
            raise UserError(
                "one process has nobody to share a model with; type: torchrun --nproc-per-node N -m paretovit train ..."
            )
        self.rank, self.device, self.fsdp = 0, torch.device(device), fsdp
        self._helper: Any = None
        if self.size > 1 or trackers:
            self._helper = _accelerator(device, trackers, folder)
            self.rank = self._helper.process_index
            if self.size > 1:
                self.device = self._helper.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share_out(self, module: nn.Module) -> None:
        """With `fsdp`, leave this process a part of the module; before it has an optimizer."""
        if self.fsdp:
            shards.share_out(module, self.device, self.size)

    def spread(self, module: nn.Module) -> nn.Module:
        """The module to call: its gradients are averaged over the processes."""
        return module if self.size == 1 or self.fsdp else self._helper.prepare_model(module)

    def quietly(self, module: nn.Module) -> AbstractContextManager[None]:
        """Gradients of what is done inside stay with this process."""
        if self.fsdp:
            return shards.gradients_stay(module)
        return nullcontext() if self.size == 1 else self._helper.no_sync(module)

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over the processes, exactly for counts."""
        if self.size == 1:
            return list(numbers)
        summed: Tensor = self._helper.reduce(torch.tensor(numbers, dtype=torch.float64, device=self.device), "sum")
        return summed.tolist()

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every process, in the order of their ranks."""
        if self.size == 1:
            return [tensor]
        return list(self._helper.gather(tensor.to(self.device)[None]).cpu())

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            self._helper.wait_for_everyone()

    def tell(self, facts: dict[str, float], step: int) -> None:
        """Facts for the trackers."""
        if self._helper is not None:
            self._helper.log(facts, step=step)

    def begin(self, name: str, facts: dict[str, Any]) -> None:
        """What the trackers are told first: the recipe."""
        if self._helper is not None and self._helper.log_with:
            plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in facts.items()}
            self._helper.init_trackers(name, config=plain)

    def end(self) -> None:
        if self._helper is not None:
            self._helper.end_training()


def _accelerator(device: str, trackers: Sequence[Any], folder: Path | None) -> Any:
    try:
        from accelerate import Accelerator
        from accelerate.utils import ProjectConfiguration
    except ImportError:
        raise UserError(
            "several processes and trackers need the library accelerate; type: pip install 'paretovit[train]'"
        ) from None
    named = [tracker for tracker in trackers if isinstance(tracker, str)]
    settings = ProjectConfiguration(project_dir=None if folder is None else str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is missing is said below, in one line
            helper = Accelerator(cpu=device == "cpu", log_with=list(trackers) or None, project_config=settings)
    except ValueError as error:
        raise UserError(f"cannot log with {', '.join(named)}: {str(error).splitlines()[0]}") from error
    absent = set(named) - {getattr(tracker, "value", getattr(tracker, "name", tracker)) for tracker in helper.log_with}
    if absent:
        name = min(absent)
        raise UserError(f"the tracker {name} is not installed; type: pip install {name}")
    return helper
