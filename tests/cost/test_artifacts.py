"""Files that runtimes run, kept between measurings: made once, found again, never taken for another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from paretovit.cost import artifacts, subject
from paretovit.cost.measure import measure
from paretovit.cost.runtimes import FileRuntime, Session
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import Unmeasurable, UserError
from paretovit.spec import ModelSpec, Part
from paretovit.store import Store
from paretovit.zoo.catalog import resolve

SPEC = resolve("vit_nano_patch4_8")


class Copying(FileRuntime):
    """Writes the shape of the batch down, as often as it is asked to."""

    suffix = ".shape"
    extra = "none"
    exports: list[int]
    refuses = False
    also_made_by: Path | None = None  # where another process makes the same meanwhile

    def __init__(self) -> None:
        self.exports = []

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        self.exports.append(len(batch))
        if self.refuses:
            raise Unmeasurable("cannot take aten::nothing")
        path.write_text(str(tuple(batch.shape)), encoding="utf-8")
        if self.also_made_by is not None:
            self.also_made_by.mkdir()
            (self.also_made_by / path.name).write_text("the other's", encoding="utf-8")

    def load(self, path: Path, batch: Tensor) -> Session:
        raise AssertionError("nothing is run here")


def subject_with(runtime: Copying, setting: Setting, spec: ModelSpec = SPEC) -> Subject:
    made = Subject(spec, setting)
    made.__dict__["runtime"] = runtime
    return made


@pytest.fixture
def kept(tmp_path: Path) -> Setting:
    return Setting(artifacts=tmp_path / "kept")


def test_a_file_is_exported_once_and_found_again(kept: Setting) -> None:
    runtime = Copying()
    paths = {subject_with(runtime, kept).artifact(size) for size in (1, 4, 1, 4)}
    assert runtime.exports == [1, 4]
    assert sorted(path.read_text(encoding="utf-8") for path in paths) == ["(1, 3, 8, 8)", "(4, 3, 8, 8)"]


def test_the_file_that_is_measured_is_folded_as_that_which_is_exported(kept: Setting) -> None:
    slab = replace(SPEC, name="slab", norm=Part("batch_norm"))
    seen = []

    class Looking(Copying):
        def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
            seen.extend(module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
            super().export(model, batch, path)

    made = subject_with(Looking(), kept, slab)
    made.artifact(1)
    assert not seen
    assert any(isinstance(module, nn.BatchNorm1d) for module in made.module.modules())  # PyTorch runs it as it is


def test_without_a_folder_nothing_outlives_the_subject() -> None:
    runtime = Copying()
    for _ in range(2):
        path = subject_with(runtime, Setting()).artifact(1)
        assert not path.exists()  # the subject has gone
    assert runtime.exports == [1, 1]


def test_a_refusal_is_heard_again_without_another_try(kept: Setting) -> None:
    runtime = Copying()
    runtime.refuses = True
    for size in (1, 2):
        with pytest.raises(Unmeasurable, match="aten::nothing"):
            subject_with(runtime, kept).artifact(size)
    assert runtime.exports == [1]
    assert [path.name for path in subject_with(runtime, kept).folder.iterdir()] == ["refused"]


def test_of_two_that_export_at_once_the_first_one_stays(kept: Setting) -> None:
    runtime = Copying()
    mine = subject_with(runtime, kept)
    runtime.also_made_by = mine.folder / "2"
    assert mine.artifact(2).read_text(encoding="utf-8") == "the other's"
    assert [path.name for path in mine.folder.iterdir()] == ["2"]


def test_what_a_killed_process_left_is_no_file(kept: Setting) -> None:
    mine = subject_with(Copying(), kept)
    (mine.folder / ".2-killed" / "made").mkdir(parents=True)
    (mine.folder / ".2-killed" / "made" / "model.shape").write_text("half", encoding="utf-8")
    assert mine.artifact(2).read_text(encoding="utf-8") == "(2, 3, 8, 8)"


@pytest.mark.parametrize(
    "other",
    [
        {"runtime": "openvino"},
        {"dtype": "float16"},
        {"versions": {"onnxruntime": "0.1"}},
        {"device": "another machine"},
    ],
    ids=str,
)
def test_what_others_made_lies_elsewhere(kept: Setting, other: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    root = kept.artifacts
    assert root is not None
    mine = Setting(runtime="onnxruntime", artifacts=root)
    before = artifacts.kept_in(root, SPEC, mine)
    assert before == artifacts.kept_in(root, SPEC, Setting(runtime="onnxruntime", threads=4, artifacts=root))
    if "versions" in other:
        monkeypatch.setattr(artifacts, "versions", lambda packages: other["versions"])
        theirs = mine
    elif "device" in other:
        monkeypatch.setattr(artifacts, "device_name", lambda device: other["device"])
        theirs = mine
    else:
        theirs = Setting(**{"runtime": "onnxruntime", "artifacts": root, **other})
    assert artifacts.kept_in(root, SPEC, theirs) != before
    assert artifacts.kept_in(root, resolve("vit_pico_patch4_8"), mine) != before


def test_the_search_for_the_best_batch_leaves_kept_files_alone(kept: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = subject_with(Copying(), kept)

    def visit(batch_size: int) -> list[float]:
        searched.artifact(batch_size)
        return [0.1 * batch_size]

    monkeypatch.setattr(searched, "_search_visit", visit)
    searched.find_best_batch_size()
    assert sorted(path.name for path in searched.folder.iterdir()) == ["1", "2", "4"]


def test_exporting_only_makes_no_rows_and_what_it_made_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')
    asked = {"indicators": ["params", "artifact_bytes"], "runtimes": ["onnxruntime"], "artifacts": tmp_path / "a"}
    with Store(tmp_path / "rows.sqlite") as store:
        assert measure([SPEC], store=store, export_only=True, **asked) == []
        (file,) = (tmp_path / "a").rglob("model.onnx")
        assert file.parent.name == "1"
        file.write_bytes(b"12345")
        rows = {row.indicator: row for row in measure([SPEC], store=store, **asked)}
    assert rows["artifact_bytes"].value == 5
    assert "onnxruntime" in rows["artifact_bytes"].origin.versions
    assert "onnxruntime" not in rows["params"].origin.versions


def test_exporting_only_wants_a_folder() -> None:
    with pytest.raises(UserError, match="--artifacts FOLDER"):
        measure([SPEC], export_only=True)


def test_a_folder_that_cannot_be_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="give --artifacts another"):
        measure([SPEC], artifacts=tmp_path / "file" / "kept")


def test_a_file_that_cannot_be_put_in_its_place_is_said(kept: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        subject_with(Copying(), kept).artifact(1)


def test_a_limit_of_the_search_is_a_condition_of_the_throughput() -> None:
    from paretovit.cost.folders import INDICATORS
    from paretovit.cost.measure import conditions_of

    throughput, latency = INDICATORS["images_per_s"](), INDICATORS["latency_s"]()
    assert conditions_of(SPEC, throughput, Setting(max_batch=4)).assumptions == (("max_batch", 4),)
    assert conditions_of(SPEC, throughput, Setting()).assumptions == ()
    assert conditions_of(SPEC, latency, Setting(max_batch=4)).assumptions == ()


def test_a_compiler_is_called_once_for_what_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    laid = Subject(SPEC, Setting(runtime="torch_eager"))
    calls: list[tuple[int, bool]] = []

    def session(batch_size: int, *, training: bool = False) -> Session:
        calls.append((batch_size, training))
        return subject.Subject.session(laid, batch_size, training=training)

    monkeypatch.setattr(laid, "session", session)
    laid.lay_out(2)
    laid.lay_out(2, training=True)
    assert calls == [(2, False), (2, True)]
    assert torch.is_grad_enabled()
