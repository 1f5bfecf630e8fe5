from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.checkpoint import SPEC, WEIGHTS, load_model, save_model, write_whole

SMALL = ModelSpec(
    name="small", stages=(Stage(depth=1, dim=8, heads=2, mixer=Part.of("linformer", length=4)),), image_px=8, patch_px=4
)


@contextmanager
def disk_with_room_for(num_bytes: int) -> Iterator[None]:
    """Files cannot grow further than this: writing fails as on a full disk, with another number in the error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_was_saved_is_loaded_bit_for_bit(tmp_path: Path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))  # with buffers, one of them an integer
    model[1].running_mean.fill_(torch.pi)
    save_model(tmp_path / "new" / "folder", SMALL, model)
    spec, state = load_model(tmp_path / "new" / "folder")
    assert spec == SMALL
    assert equal(state, model.state_dict())


def test_a_weight_with_two_names_is_loaded_under_both(tmp_path: Path):
    layer = nn.Linear(3, 3)
    save_model(tmp_path, SMALL, nn.Sequential(layer, layer))
    state = load_model(tmp_path)[1]
    assert torch.equal(state["0.weight"], layer.weight)
    assert torch.equal(state["1.weight"], layer.weight)


def test_the_spec_is_plain_json(tmp_path: Path):
    save_model(tmp_path, SMALL, nn.Linear(1, 1))
    assert json.loads((tmp_path / SPEC).read_text())["stages"][0]["mixer"]["part"] == "linformer"


@pytest.mark.parametrize("name", [SPEC, WEIGHTS])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    save_model(tmp_path, SMALL, nn.Linear(1, 1))
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", [SPEC, WEIGHTS])
@pytest.mark.parametrize("damage", ["cut", "emptied", "overwritten"])
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, name: str, damage: str):
    save_model(tmp_path, SMALL, nn.Linear(30, 30))
    content = (tmp_path / name).read_bytes()
    damaged = {"cut": content[: len(content) // 2], "emptied": b"", "overwritten": b"\x00\xff" * 300}
    (tmp_path / name).write_bytes(damaged[damage])
    with pytest.raises(UserError, match=f"cannot read .*{name}[^\n]*$"):
        load_model(tmp_path)


def test_files_of_two_models_are_not_taken_for_one(tmp_path: Path):
    save_model(tmp_path / "a", SMALL, nn.Linear(1, 1))
    save_model(tmp_path / "b", replace(SMALL, patch_px=2), nn.Linear(1, 1))
    shutil.copy(tmp_path / "a" / SPEC, tmp_path / "b" / SPEC)
    with pytest.raises(UserError, match=r"spec\.json is not the spec of"):
        load_model(tmp_path / "b")


def test_a_full_disk_leaves_the_checkpoint_of_before(tmp_path: Path):
    before, after = nn.Linear(100, 100), nn.Linear(100, 100)
    save_model(tmp_path, SMALL, before)
    with disk_with_room_for(20_000), pytest.raises(UserError, match=r"cannot write .*kept"):
        save_model(tmp_path, SMALL, after)
    assert equal(load_model(tmp_path)[1], before.state_dict())
    assert sorted(path.name for path in tmp_path.iterdir()) == [WEIGHTS, SPEC]


def test_a_crash_while_writing_leaves_the_old_file_and_the_next_write_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException): ...

    def killed(*_: object) -> None:
        raise Killed

    file = tmp_path / "notes"
    write_whole(file, b"old")
    monkeypatch.setattr("os.fsync", killed)
    with pytest.raises(Killed):
        write_whole(file, b"newer")
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"
