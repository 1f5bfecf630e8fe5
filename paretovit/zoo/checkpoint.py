"""A model in a folder: `spec.json` says what it is, `model.safetensors` holds its weights.

Both are plain formats: JSON that people can read, and tensors without code in them (no pickle). Every file is
written beside its final name and moved there in one step, so that a crash, a kill or a full disk leaves the
file of before. The weights carry the key of their spec, so that a pair from two models is noticed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, from_json, to_json

SPEC, WEIGHTS = "spec.json", "model.safetensors"


def save_model(folder: Path, spec: ModelSpec, model: nn.Module | dict[str, Tensor]) -> None:
    """Write `spec` and the weights and buffers of `model`, or those given. Raises `UserError` if the disk refuses."""
    tensors = model.state_dict() if isinstance(model, nn.Module) else model
    write_whole(Path(folder) / SPEC, (json.dumps(to_json(spec), indent=2) + "\n").encode())
    save_tensors(Path(folder) / WEIGHTS, tensors, {"name": spec.name, "key": spec.key})


def load_model(folder: Path) -> tuple[ModelSpec, dict[str, Tensor]]:
    """What `save_model` wrote: the spec, and a state dict on the CPU for the module built from it. Weights that are
    kept under timm's names, as the hub has those of a plain ViT, get ours.

    Raises `UserError` for a folder without a checkpoint, a damaged file, or files of two models.
    """
    folder = Path(folder)
    for name in (SPEC, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"no checkpoint in {folder}: {name} is missing; give a folder that `train --out` wrote")
    try:
        spec = from_json(json.loads((folder / SPEC).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {folder / SPEC}: {_one_line(error)}; train again into an empty folder") from error
    state, about = load_tensors(folder / WEIGHTS)
    if about.get("key") != spec.key:
        raise UserError(
            f"{folder}: {SPEC} is not the spec of {WEIGHTS} ({about.get('name', 'no name')}); "
            "restore the file that belongs to it"
        )
    if about.get("names") == "timm":
        from paretovit.zoo.timm_weights import checkpoint_filter_fn  # it imports timm: two seconds

        state = checkpoint_filter_fn(state)
    return spec, state


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """One safetensors file, with `about` (JSON values) in its header, replaced as a whole or not at all."""
    # clone: two names of one shared weight are stored twice, which every reader of the format understands
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_whole(path, safetensors.torch.save(plain, {"paretovit": json.dumps(about)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the `about` of a file by `save_tensors`. Raises `UserError` for a damaged one."""
    about = load_about(path)
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118  (not a dict)


def load_about(path: Path) -> dict[str, Any]:
    """The `about` alone, without reading the tensors."""
    with _opened(path) as file:
        return dict(json.loads((file.metadata() or {})["paretovit"]))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except KeyError as error:
        raise UserError(f"cannot read {path}: it was not written by paretovit; restore it from a copy") from error
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot read {path}: {_one_line(error)}; delete it or restore it from a copy") from error


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content` so that at any moment, even after a power cut, it is old or new.

    Raises `UserError` if the disk is full or refuses; the old file is then untouched.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {path}: {reason}; what was there before is kept, make room and go on") from error


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # other systems cannot open a folder, and keep its entries by themselves
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
