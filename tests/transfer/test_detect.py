"""From names to a detector, and the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from paretovit import cli
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part
from paretovit.store import Store
from paretovit.transfer.detect import judge, start
from paretovit.transfer.detector import backbone_weights, detector_spec, is_detector
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve, timm_spec
from paretovit.zoo.checkpoint import load_model, save_model
from paretovit.zoo.feature_map import feature_map
from paretovit.zoo.wholes.deformable_detr import Detector

HEAD = ("queries=5", "width=32", "layers=1", "heads=2", "hidden=32", "points=2")
SMALL = [word for size in HEAD for word in ("--head", size)]
QUICK = ["--set", "epochs=1", "--set", "train_images=8", "--set", "batch_size=4", "--set", "warmup_epochs=0"]


@pytest.fixture
def classifier(tmp_path: Path, backbone: ModelSpec) -> Path:
    """A checkpoint folder, of random weights."""
    torch.manual_seed(3)
    save_model(tmp_path / "classifier", backbone, build(backbone))
    return tmp_path / "classifier"


def test_a_name_becomes_a_detector_for_the_channels_and_classes_of_the_data():
    one = start("performer_pico_patch4_8", "pasted/digits", img_size=32, head=HEAD)
    assert one.begin is None
    assert (one.spec.name, one.spec.in_chans, one.spec.num_classes) == (
        "deformable_detr_performer_pico_patch4_8",
        1,
        10,
    )
    assert one.spec.image_px == one.data.train.image_px == 32
    assert one.spec.stages == resolve("performer_pico_patch4_8", img_size=32).stages
    assert is_detector(one.spec)


def test_sizes_that_are_the_usual_ones_make_no_other_model(backbone: ModelSpec):
    assert detector_spec(backbone, 10, ["queries=300", "layers=6"]).key == detector_spec(backbone, 10).key
    assert detector_spec(backbone, 10, ["queries=30"]).key != detector_spec(backbone, 10).key


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (["querys=5"], "unknown size of a detector 'querys'; did you mean queries"),
        (["queries=many"], "cannot read 'queries=many'; write it as name=number"),
        (["queries"], "cannot read 'queries'"),
        (["width=20"], "multiple of 32"),
    ],
)
def test_sizes_that_are_none_are_one_line(backbone: ModelSpec, head: list[str], says: str):
    with pytest.raises(UserError, match=says):
        detector_spec(backbone, 10, head)


def test_what_cannot_be_a_backbone_is_refused(backbone: ModelSpec):
    with pytest.raises(UserError, match="changed after it was built"):
        detector_spec(replace(backbone, transforms=(Part("sparse"),)), 10)
    with pytest.raises(UserError, match="no backbone of a detector"):
        detector_spec(replace(backbone, stages=(), whole=Part.of("halonet", width_ratio=0.5, third=7)), 10)


def test_places_are_interpolated_bilinearly_to_the_pictures(classifier: Path, backbone: ModelSpec):
    one = start(str(classifier), "pasted/digits", img_size=48, head=HEAD)
    assert one.begin is not None
    module = build(one.spec)
    one.begin.prepare(module)
    assert isinstance(module, Detector)
    state, found = load_model(classifier)[1], module.map.backbone.state_dict()
    assert found.keys() == {name for name in state if not name.startswith(("norm.", "head.", "readout."))}
    same = [name for name in found if name != "position.table"]
    assert all(torch.equal(found[name], state[name]) for name in same)
    old = state["position.table"]
    assert torch.equal(found["position.table"][:, 0], old[:, 0])  # of the class token
    grid = old[:, 1:].mT.unflatten(2, (4, 4))
    wanted = F.interpolate(grid, size=(6, 6), mode="bilinear").flatten(2).mT
    torch.testing.assert_close(found["position.table"][:, 1:], wanted)


def test_a_detector_at_the_classifiers_size_sees_what_the_classifier_sees(classifier: Path, backbone: ModelSpec):
    one = start(str(classifier), "pasted/digits", head=HEAD)
    assert one.begin is not None
    module, whole = build(one.spec).eval(), build(backbone)
    one.begin.prepare(module)
    whole.load_state_dict(load_model(classifier)[1])
    assert isinstance(module, Detector)
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(module.map(images), feature_map(whole.eval(), "whole")(images))
    assert one.begin.name.startswith("backbone weights at 32 px (")


def test_timms_tables_of_places_are_carried_over_as_well():
    small, large = (timm_spec("vit_tiny_patch16_224", image_px=px) for px in (64, 96))
    source, target = build(small), feature_map(build(large), "vit").backbone
    fitting = backbone_weights(source.state_dict(), small, target)
    target.load_state_dict(fitting)
    grid = source.pos_embed[:, 1:].mT.unflatten(2, (4, 4))
    wanted = F.interpolate(grid, size=(6, 6), mode="bilinear").flatten(2).mT
    torch.testing.assert_close(fitting["pos_embed"][:, 1:], wanted.detach())


def test_weights_that_no_other_size_fits_are_named(tmp_path: Path, backbone: ModelSpec):
    stage = replace(backbone.stages[0], mixer=Part("synthesizer_random"))
    plain = replace(backbone, stages=(stage,))
    save_model(tmp_path / "fixed", plain, build(plain))
    one = start(str(tmp_path / "fixed"), "pasted/digits", img_size=48, head=HEAD)
    assert one.begin is not None
    with pytest.raises(UserError, match=r"stages\.0\.0\.mixer\.\S+ of small cannot be carried over.*--img-size 32"):
        one.begin.prepare(build(one.spec))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Runs `paretovit WORDS` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paretovit", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run


def test_the_command_trains_stores_and_judges(command, tmp_path: Path):
    words = ["detect", "vit_pico_patch8_32", "--data", "pasted/digits", *SMALL, *QUICK, "--out", "found"]
    code, out, err = command(*words, "--json")
    assert code == 0, err
    rows = {row["indicator"]: row for row in json.loads(out)}
    assert {"ap", "ap50", "ap75", "detection_loss", "train_time_s", "params", "macs"} <= set(rows)
    spec, _ = load_model(tmp_path / "found")
    assert rows["macs"]["conditions"] == {"spec": spec.key}
    assert rows["params"]["value"] == sum(p.numel() for p in build(spec).parameters())
    with Store("paretovit.sqlite") as store:
        assert {row.indicator for row in store.rows()} == set(rows)
    code, out, err = command("detect", "found", "--data", "pasted/digits", "--evaluate", "--json")
    assert code == 0, err
    judged = {row["indicator"]: row for row in json.loads(out)}
    assert {name: row["value"] for name, row in judged.items()} == {name: rows[name]["value"] for name in judged}
    assert judged["ap"]["conditions"] == rows["ap"]["conditions"]
    # and goes on from there, to other data of the same classes
    code, out, err = command("detect", "found", "--data", "pasted/digits", *QUICK, "--out", "further", "--json")
    assert code == 0, err
    assert ", from boxes, epochs=1" in json.loads(out)[0]["conditions"]["recipe"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["vit_pico_patch8_32", "--data", "digits"], "unknown detection data 'digits'"),
        (["vit_pico_patch8_32", "--data", "pasted/digitz"], "did you mean digits"),
        (["vit_pico_patch8_32", "--data", "coco/nowhere"], "no folder nowhere"),
        (["vit_pico_patch8_32", "--data", "pasted/digits", "--recipe", "demo"], "label_smoothing=0.1 of recipe demo"),
        (["vit_pico_patch8_32", "--data", "pasted/digits", "--head", "heads=3"], "a head's a power of 2"),
        (["tome_pico_patch8_32", "--data", "pasted/digits"], "no map of features"),
        (["vit_pico_patch8_32", "--data", "pasted/digits", "--evaluate"], "is no detector"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, words: list[str], says: str):
    code, out, err = command("detect", *words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.strip().count("\n") == 0


def test_a_detector_is_not_taken_for_a_classifier(command, tmp_path: Path, detector: ModelSpec):
    save_model(tmp_path / "detector", detector, build(detector))
    for name in ("train", "evaluate"):
        code, _, err = command(name, "detector", "--data", "digits")
        assert (code, "give it to `paretovit detect`" in err) == (2, True), err


def test_splits_of_other_classes_are_refused(tmp_path: Path):
    entry = {"id": 1, "file_name": "a.png", "width": 32, "height": 32}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8]}
    for name, kind in (("train", "cat"), ("val", "dog")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name / "a.png")
        listed = {"images": [entry], "annotations": [box], "categories": [{"id": 1, "name": kind}]}
        (tmp_path / name / "_annotations.coco.json").write_text(json.dumps(listed))
    with pytest.raises(UserError, match="val has other classes than train"):
        start("vit_pico_patch8_32", f"coco/{tmp_path}")


def test_a_detector_of_other_classes_judges_nothing(tmp_path: Path, detector: ModelSpec):
    other = replace(detector, num_classes=3)
    save_model(tmp_path / "detector", other, build(other))
    with pytest.raises(UserError, match="is for 3 classes, pasted/digits has 10"):
        judge(str(tmp_path / "detector"), "pasted/digits")


def test_it_is_made_ready_for_a_runtime_like_any_other_model(detector: ModelSpec):
    found = Subject(detector, Setting()).session(3)()
    assert found.shape == (3, 5, 14)
