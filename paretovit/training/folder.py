"""The folder of a run: who may write in it, and which checkpoints it keeps.

spec.json, model.safetensors   the model after the last finished epoch
training.safetensors           all that is needed to go on
best/                          the model after the best epoch so far, by its quality (top-1) on the images watched
epoch-0007/                    the model after that epoch, for the last few
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.training.rows import Epoch
from paretovit.training.run import STATE
from paretovit.zoo.checkpoint import SPEC, WEIGHTS, save_model

BEST = "best"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for one process at a time; a killed one holds nothing.

    Raises `UserError` if another run is writing there, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}; give another --out") from error
    if os.name != "posix":
        yield  # other systems cannot lock a folder
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another run is training in {folder}; wait for it, or give another --out") from None
        yield
    finally:
        os.close(handle)


def emptied(folder: Path) -> None:
    """Without any checkpoint: a new spec must never stand beside old weights."""
    for name in (WEIGHTS, SPEC, STATE):
        (folder / name).unlink(missing_ok=True)
    for old in (folder / BEST, *_epochs(folder)):
        shutil.rmtree(old, ignore_errors=True)


def keep(folder: Path, spec: ModelSpec, weights: dict[str, Tensor], epochs: list[Epoch], *, last: int) -> None:
    """Write the model after the last of `epochs`, its weights and buffers, and again in `best/` and `epoch-.../` where
    it belongs there.

    Raises `UserError` if the disk refuses.
    """
    save_model(folder, spec, weights)
    newest = epochs[-1]
    if all(newest.score.quality > before.score.quality for before in epochs[:-1]):
        save_model(folder / BEST, spec, weights)
    if last:
        save_model(folder / f"epoch-{newest.number:04}", spec, weights)
        for old in _epochs(folder)[:-last]:
            shutil.rmtree(old)


def _epochs(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-[0-9]*"))
