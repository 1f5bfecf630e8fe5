"""A module made ready to run: the verb between `build` and `measure`."""

from __future__ import annotations

import torch

from paretovit.cost.folders import RUNTIMES
from paretovit.cost.runtimes import Session
from paretovit.cost.subject import Calibration, Setting, Subject
from paretovit.devices import check_device, num_threads
from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.zoo.catalog import resolve


def prepare(
    model: str | ModelSpec,
    *,
    runtime: str = "torch_eager",
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    batch_size: int = 1,
    training: bool = False,
    calibration: Calibration | None = None,
) -> Session:
    """A session of the model on one batch of random images: call it, then `synchronize()`.

    With `training` a call is a training step. `calibration` is what int8 takes its scales from. Sets torch's thread
    count for this process. Raises `UserError` for
    unknown names and for runtimes and devices that are not here; `Unmeasurable` where the runtime does not train.
    """
    if missing := RUNTIMES[runtime].missing():
        raise UserError(missing)
    threads = threads or num_threads()
    torch.set_num_threads(threads)
    setting = Setting(
        runtime=runtime, device=check_device(device), dtype=dtype, threads=threads, batch_size=batch_size,
        calibration=calibration,
    )  # fmt: skip
    spec = resolve(model) if isinstance(model, str) else model
    return Subject(spec, setting).session(batch_size, training=training)
