"""`export`: what is written is whole, checked, and in its place; what is not says why."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paretovit import build
from paretovit.cost.export import export
from paretovit.cost.runtimes.torch_compile import TorchCompile
from paretovit.cost.runtimes.torch_eager import TorchEager
from paretovit.cost.torch_sessions import Inference
from paretovit.errors import Unmeasurable, UserError

SHAPE = (3, 8, 8)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))


def test_the_file_is_loaded_and_its_size_and_deviation_are_told(model, tmp_path):
    made = export(model, SHAPE, tmp_path / "new" / "model.pt2", runtime="torch_eager", batch_size=2)
    assert made.nbytes == made.path.stat().st_size > 4 * 3 * 8 * 8 * 5
    assert made.deviation == 0.0
    image = torch.randn(2, *SHAPE)
    torch.testing.assert_close(TorchEager().load(made.path, image)(), model(image))


def test_a_file_that_computes_otherwise_replaces_nothing(model, tmp_path, monkeypatch):
    (tmp_path / "model.pt2").write_text("the one of before")
    other = build("vit_pico_patch4_8", num_classes=5).eval()
    monkeypatch.setattr(TorchEager, "load", lambda self, path, batch: Inference(other, other, batch))
    with pytest.raises(UserError, match="from the model's own logits"):
        export(model, SHAPE, tmp_path / "model.pt2", runtime="torch_eager")
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt2"]
    assert (tmp_path / "model.pt2").read_text() == "the one of before"


def test_an_output_that_is_not_a_number_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(TorchEager, "load", lambda self, path, batch: lambda: torch.full((1, 5), torch.nan))
    with pytest.raises(UserError, match="from the model's own logits"):
        export(model, SHAPE, tmp_path / "model.pt2", runtime="torch_eager")


def test_a_second_file_of_the_format_comes_along(model, tmp_path, monkeypatch):
    def export_two(self, model, batch, path):
        path.write_bytes(b"12")
        path.with_suffix(".bin").write_bytes(b"345")

    monkeypatch.setattr(TorchCompile, "export", export_two)
    monkeypatch.setattr(TorchCompile, "load", lambda self, path, batch: lambda: model(batch))
    assert export(model, SHAPE, tmp_path / "model.pt2", runtime="torch_compile").nbytes == 5
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.pt2"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("model.onnx", r"reads \.pt2 files; name it .*model\.pt2"), ("folder.pt2", "is a folder; name a file in it")],
)
def test_a_name_that_cannot_be_is_answered_with_the_mend(model, tmp_path, name, said):
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(UserError, match=said):
        export(model, SHAPE, tmp_path / name, runtime="torch_eager")


def test_a_place_that_cannot_be_written_is_said(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        export(model, SHAPE, tmp_path / "file" / "model.pt2", runtime="torch_eager")


def test_another_data_type_is_what_the_file_computes_in(model, tmp_path):
    made = export(model, SHAPE, tmp_path / "model.pt2", runtime="torch_eager", dtype="bfloat16")
    image = torch.randn(1, *SHAPE)
    found = TorchEager().load(made.path, image.bfloat16())()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), model(image), rtol=0.05, atol=0.05)
    assert made.deviation > 0
    assert model[1].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("dtype", "images", "said"),
    [
        ("int4", None, "unknown dtype 'int4'; use one of float32"),
        ("int8", None, "give --calibration DATA"),
        ("float16", torch.zeros(2, *SHAPE), "--calibration is for --dtype int8, not for float16"),
        ("int8", torch.zeros(2, *SHAPE), "torch_eager computes in .*, not in int8; choose another runtime"),
    ],
)
def test_a_data_type_that_cannot_be_is_one_line(model, tmp_path, dtype, images, said):
    with pytest.raises(UserError, match=said) as refusal:
        export(model, SHAPE, tmp_path / "model.pt2", runtime="torch_eager", dtype=dtype, images=images)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_and_not_blamed_on_the_model(model, tmp_path, monkeypatch):
    def full(self, model, batch, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TorchEager, "export", full)
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device"):
        export(model, SHAPE, tmp_path / "model.pt2", runtime="torch_eager")
    assert not list(tmp_path.iterdir())


def test_a_model_that_the_runtime_does_not_take_is_bad_input(model, tmp_path, monkeypatch):
    def refuse(self, model, batch, path):
        raise Unmeasurable("no kernel for odd")

    monkeypatch.setattr(TorchEager, "export", refuse)
    with pytest.raises(UserError, match="no kernel for odd; choose another runtime"):
        export(model, SHAPE, tmp_path / "model.pt2", runtime="torch_eager")
