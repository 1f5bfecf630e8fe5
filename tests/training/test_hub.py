"""A published folder gives timm the same logits, and is a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.training.hub import publish
from paretovit.training.loop import train
from paretovit.training.start import trained
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import save_model


def like(spec: ModelSpec, **stage: object) -> ModelSpec:
    return replace(spec, stages=(replace(spec.stages[0], **stage),))  # type: ignore[arg-type]


def kinds() -> dict[str, ModelSpec]:
    plain = ModelSpec(
        name="plain", stages=(Stage(depth=2, dim=32, heads=2),), image_px=8, patch_px=4, in_chans=1, num_classes=10
    )
    small = {"in_chans": 1, "num_classes": 10}
    return {
        "plain": plain,
        "mean": replace(plain, readout=Part("mean"), layer_scale=1e-4, image_px=(8, 12)),
        "mean first": replace(plain, readout=Part.of("mean", norm_first=True)),
        "table of patches": replace(plain, position=Part.of("learned", prefix=False)),
        "narrow": like(plain, mlp=Part.of("mlp", hidden=48), mixer=Part.of("attention", qkv_bias=False)),
        "hydra": like(plain, mixer=Part("hydra")),
        "conv stem": replace(plain, stem=Part("conv")),
        "timm's": ModelSpec(name="r", whole=Part.of("timm", architecture="resnet10t"), image_px=32, **small),
        "timm's sized": ModelSpec(
            name="d",
            whole=Part.of("timm", architecture="vit_tiny_patch16_224", depth=1, patch_size=4),
            image_px=16,
            **small,
        ),
    }


BY_TIMM_ALONE = {"plain", "mean", "mean first", "table of patches", "narrow", "timm's", "timm's sized"}
LOOKS = {"mean": [0.3], "std": [0.2], "class_names": [str(digit) for digit in range(10)]}


@pytest.mark.parametrize("kind", kinds())
def test_timm_opens_the_folder_and_so_do_we(kind: str, tmp_path: Path, few_digits, monkeypatch: pytest.MonkeyPatch):
    spec = kinds()[kind]
    torch.manual_seed(1)
    module = build(spec).eval()
    save_model(tmp_path / "run", spec, module)
    monkeypatch.setattr("paretovit.training.hub._about", lambda _: {"images": LOOKS})
    made = publish(tmp_path / "run", tmp_path / "hub")
    assert made.needs_paretovit == (kind not in BY_TIMM_ALONE)
    pixels = torch.randn(2, *spec.input_shape)
    opened = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    torch.testing.assert_close(opened(pixels), module(pixels))
    torch.testing.assert_close(build(str(tmp_path / "hub")).eval()(pixels), module(pixels))
    assert opened.pretrained_cfg["mean"] == [0.3]
    transform = timm.data.resolve_model_data_config(opened)
    assert tuple(transform["input_size"][1:]) == spec.input_shape[1:]


def test_a_trained_model_tells_its_normalisation_classes_and_accuracy(tmp_path: Path, small_spec, few_digits, short):
    result = train(small_spec, few_digits, replace(short, epochs=1), out=tmp_path / "run")
    publish(tmp_path / "run", tmp_path / "hub")
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert config["pretrained_cfg"]["mean"] == pytest.approx(list(few_digits.val.mean))
    assert config["label_names"] == list(few_digits.val.class_names)
    card = (tmp_path / "hub" / "README.md").read_text()
    assert f"{result.rows[0].value:.1%} of 60 images" in card
    assert f"{result.rows[0].conditions.recipe}, seed 0" in card
    spec, module, images = trained(str(tmp_path / "hub"), "digits")
    assert spec == small_spec
    pixels = images.val.normalised(images.val.pixels[:4])
    torch.testing.assert_close(module(pixels), result.module(pixels))
    publish(tmp_path / "run" / "best", tmp_path / "best")
    assert "Top-1" not in (tmp_path / "best" / "README.md").read_text(), "that of the best epoch is not known to it"


def test_timm_alone_opens_a_plain_one_and_changes_its_head(tmp_path: Path, small_spec, few_digits, short):
    train(small_spec, few_digits, replace(short, epochs=1), out=tmp_path / "run")
    publish(tmp_path / "run", tmp_path / "hub")
    code = (
        "import sys, timm\n"
        f"model = timm.create_model('local-dir:{tmp_path / 'hub'}', pretrained=True, num_classes=3)\n"
        "assert 'paretovit' not in sys.modules\n"
        "print(model.num_classes, type(model).__name__)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["3", "VisionTransformer"]


def test_one_of_ours_takes_another_head_from_timm(tmp_path: Path, small_spec, few_digits, short):
    spec = like(small_spec, mixer=Part("hydra"))
    train(spec, few_digits, replace(short, epochs=1), out=tmp_path / "run")
    publish(tmp_path / "run", tmp_path / "hub")
    opened = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True, num_classes=3)
    kept = build(str(tmp_path / "run"))
    assert opened.num_classes == 3
    torch.testing.assert_close(opened.stem.proj.weight, kept.stem.proj.weight)


def test_what_is_not_known_or_would_be_lost_is_refused(tmp_path: Path, small_spec, few_digits, short):
    save_model(tmp_path / "bare", small_spec, build(small_spec))
    with pytest.raises(UserError, match="give the --data"):
        publish(tmp_path / "bare", tmp_path / "hub")
    publish(tmp_path / "bare", tmp_path / "hub", data=few_digits)
    train(small_spec, few_digits, replace(short, epochs=1), out=tmp_path / "run")
    for out in (tmp_path / "run", tmp_path / "bare"):
        with pytest.raises(UserError, match="another --out"):
            publish(tmp_path / "bare", out)


def test_a_folder_that_timm_wrote_is_a_model(tmp_path: Path):
    torch.manual_seed(1)
    options = {"img_size": 16, "patch_size": 4, "in_chans": 1, "num_classes": 10, "depth": 1}
    theirs = timm.create_model("vit_tiny_patch16_224", **options).eval()
    timm.models.save_for_hf(theirs, str(tmp_path), safe_serialization=True)
    name = f"local-dir:{tmp_path}"
    spec, module, images = trained(name, "digits", pretrained=True)
    assert (spec.image_px, spec.in_chans, spec.num_classes) == (16, 1, 10)
    pixels = images.val.normalised(images.val.pixels[:2])
    torch.testing.assert_close(module(pixels), theirs(pixels))
    larger, module, images = trained(name, "digits", img_size=24, pretrained=True)
    assert module(images.val.normalised(images.val.pixels[:2])).shape == (2, larger.num_classes)
    with pytest.raises(UserError, match=r"^[^\n]*no config.json[^\n]*$"):
        trained(f"{name}/nowhere", "digits", pretrained=True)
