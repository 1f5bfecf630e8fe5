"""A model as the file that a runtime runs, checked before it is given its name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from paretovit.cost.folders import RUNTIMES
from paretovit.errors import Unmeasurable, UserError

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Artifact:
    """What was written: the bytes of all its files, and the most that a logit differs from the module's own."""

    path: Path
    nbytes: int
    deviation: float


def export(
    module: nn.Module, shape: tuple[int, int, int], path: str | Path, *, runtime: str, batch_size: int = 1
) -> Artifact:
    """Writes the file that `runtime` runs on `batch_size` images of `shape` (channels, rows, columns), in float32.

    The file is loaded again and run on images other than those it was traced with. Only if every logit is then
    within 1e-4 of the module's own, relative to the largest where that is above 1, is it moved to `path`, in place
    of what was there. What a format keeps in a second file lies beside it with the same stem.

    Raises `UserError` for a runtime that is not here or has no file, a suffix that it does not read, a model that it
    cannot take or computes otherwise, and a place that cannot be written.
    """
    path, chosen = Path(path), RUNTIMES[runtime]()
    if missing := chosen.missing():
        raise UserError(missing)
    if not chosen.suffix:
        raise UserError(f"{runtime} runs the module itself and has no file; name another runtime")
    if path.suffix != chosen.suffix:
        raise UserError(f"{runtime} reads {chosen.suffix} files; name it {path.with_suffix(chosen.suffix)}")
    chance = torch.Generator().manual_seed(0)
    traced_with, checked_on = (torch.randn(batch_size, *shape, generator=chance) for _ in range(2))
    module = module.eval()
    try:
        with torch.inference_mode():
            expected = module(checked_on)
        with _draft(path) as draft:
            chosen.export(module, traced_with, draft)
            found = torch.as_tensor(chosen.load(draft, checked_on)()).detach()
            deviation = float((found - expected).abs().max())
            allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
            if not deviation <= allowed:
                raise UserError(
                    f"what {runtime} computes is {deviation:.1e} from the model's own logits, and {allowed:.0e} are "
                    f"allowed; nothing was written, choose another runtime"
                )
            nbytes = sum(file.stat().st_size for file in draft.parent.iterdir())
    except Unmeasurable as error:
        raise UserError(f"{error}; choose another runtime") from error
    return Artifact(path, nbytes, deviation)


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder beside it, whose files are moved to their place when all is done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UserError(f"{path} is a folder; name a file in it")
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            yield Path(folder, path.name)
            others = [file for file in Path(folder).iterdir() if file.name != path.name]
            for file in (*others, Path(folder, path.name)):  # the one that is named comes last
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
                os.replace(file, path.parent / file.name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {path}: {reason}; make room or choose a folder that you may write to") from error
