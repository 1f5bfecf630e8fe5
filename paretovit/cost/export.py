"""A model as the file that a runtime runs, checked before it is given its name."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from paretovit.cost.choose import check_dtype, chosen, tensors_of
from paretovit.cost.exported import in_whole_batches
from paretovit.cost.folders import RUNTIMES
from paretovit.errors import Unmeasurable, UserError
from paretovit.zoo.fold import folded

# How far a logit may be from the float32 module's own, as a share of the largest one. That of int8 is wide: it tells a
# file that computes the model from one that does not, and says nothing of the accuracy, which `evaluate` measures.
TOLERANCES = {"float32": 1e-4, "float16": 0.01, "bfloat16": 0.05, "int8": 0.3}


@dataclass(frozen=True)
class Artifact:
    """What was written: the bytes of all its files, and the most that a logit differs from the float32 module's own."""

    path: Path
    nbytes: int
    deviation: float


def export(
    module: nn.Module,
    shape: tuple[int, ...],
    path: str | Path,
    *,
    runtime: str,
    batch_size: int = 1,
    dtype: str = "float32",
    images: Tensor | None = None,
) -> Artifact:
    """Writes the file that `runtime` runs on `batch_size` images of `shape` (channels, rows, columns) in `dtype`, the
    module being in float32. int8 takes real `images` (N, C, H, W) to read its scales off.

    The file is loaded again and run on images other than those it was traced with and calibrated on. Only if every
    logit is then as close to the module's own as `TOLERANCES` asks, in float32 within 1e-4, relative to the largest
    (in float32 where that is above 1), is it moved to `path`, in place of what was there. What a format keeps in a
    second file lies beside it with the same stem. Norms that are a gain and a shift at inference are folded into the
    linear maps behind them.

    Raises `UserError` for a runtime that is not here or has no file, a suffix that it does not read, a data type or a
    model that it cannot take or computes otherwise, and a place that cannot be written.
    """
    path, kind = Path(path), RUNTIMES[runtime]
    if missing := kind.missing():
        raise UserError(missing)
    if not kind.suffix:
        raise UserError(f"{runtime} runs the module itself and has no file; name another runtime")
    if path.suffix != kind.suffix:
        raise UserError(f"{runtime} reads {kind.suffix} files; name it {path.with_suffix(kind.suffix)}")
    check_dtype(dtype, images)
    chance = torch.Generator().manual_seed(0)
    traced_with, checked_on = (torch.randn(batch_size, *shape, generator=chance) for _ in range(2))
    if images is not None:
        checked_on = next(in_whole_batches(images.flip(-1), batch_size))  # mirrored, for the scales are of these
    module, tensors = module.eval(), tensors_of(dtype)
    try:
        exporter = chosen(runtime, dtype, None if images is None else lambda: images)
        with torch.inference_mode():
            expected = module(checked_on)
        with _draft(path) as draft:
            light = folded(module)
            lowered = light if tensors == torch.float32 else copy.deepcopy(light).to(tensors)
            exporter.export(lowered, traced_with.to(tensors), draft)
            found = torch.as_tensor(exporter.load(draft, checked_on.to(tensors))()).detach().float().cpu()
            deviation = float((found - expected).abs().max())
            largest = float(expected.abs().max())
            allowed = TOLERANCES[dtype] * (max(1.0, largest) if dtype == "float32" else largest)
            if not deviation <= allowed:
                raise UserError(
                    f"what {runtime} computes in {dtype} is {deviation:.1e} from the model's own logits, and "
                    f"{allowed:.1e} are allowed; nothing was written, choose another runtime"
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
