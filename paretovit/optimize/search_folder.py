"""The folder of a search: what it follows from, its trainings, and the model that it comes to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paretovit.errors import Unmeasurable, UserError
from paretovit.optimize.scale_cost import GO_ON
from paretovit.spec import ModelSpec, to_json
from paretovit.training.loop import STATE
from paretovit.zoo.checkpoint import SPEC, WEIGHTS, write_whole


def check_same(file: Path, wanted: dict[str, Any]) -> None:
    """Raises `UserError` if `file` holds, under "search", what another search follows from than `wanted`, or less."""
    found = _read(file)
    if not found:
        return
    before, now = found["search"], json.loads(json.dumps(wanted))
    for name in now:
        if name not in before:
            raise UserError(
                f"{file} is of an older version, for it does not say the search's {name}; give another --out, or "
                "delete that file: what was trained there is then not trained again"
            )
        if before[name] != now[name]:
            raise UserError(f"{file.parent} holds a search with another {name}; give another --out")


def keep_path(file: Path, path: dict[str, Any]) -> None:
    """Write the steps that a search has come to, unless the file has them and more: one that is gone on with comes
    first to where it had been before."""
    before = _read(file)
    steps = json.loads(json.dumps(path["steps"]))
    known = before.get("steps")
    if not isinstance(known, list) or known[: len(steps)] != steps:
        write_whole(file, (json.dumps(path, indent=1) + "\n").encode())


def _read(file: Path) -> dict[str, Any]:
    """A path as it was written; empty if there is none. Raises `UserError` for a file that is something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not the path of a search ({error}); give another --out") from error
    if not isinstance(found, dict) or not isinstance(found.get("search"), dict):
        raise UserError(f"{file} is not the path of a search; give another --out")
    return found


def keep_model(folder: Path, run: Path, spec: ModelSpec) -> bool:
    """Make what was trained in `run` a checkpoint folder, the spec last; False where its weights are not there."""
    for name in (WEIGHTS, STATE):
        if (run / name).is_file():
            write_whole(folder / name, (run / name).read_bytes())
    write_whole(folder / SPEC, (json.dumps(to_json(spec), indent=2) + "\n").encode())
    return (folder / WEIGHTS).is_file()


@contextmanager
def diverged_apart() -> Iterator[None]:
    """Raise `Unmeasurable` where a training inside diverged, which `train` says by a `UserError`; and of Ctrl-C say
    that the search goes on."""
    try:
        yield
    except UserError as error:
        if isinstance(error.__cause__, Unmeasurable):  # how `train` says that a loss is not finite, or grows
            raise error.__cause__ from None
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {GO_ON}") from None
