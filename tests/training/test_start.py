"""Fine-tuning: weights carried to another image size and to other classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part
from paretovit.training.data import open_data
from paretovit.training.evaluate import evaluate
from paretovit.training.loop import train
from paretovit.training.recipe import Recipe
from paretovit.training.start import carried, start, trained
from paretovit.zoo.build import build
from paretovit.zoo.catalog import timm_spec
from paretovit.zoo.checkpoint import load_model, save_model


@pytest.fixture
def checkpoint(tmp_path: Path, small_spec: ModelSpec) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "first", small_spec, build(small_spec))
    return tmp_path / "first"


def test_at_its_own_size_a_checkpoint_is_begun_from_bit_for_bit(checkpoint: Path, small_spec: ModelSpec):
    begun = start(str(checkpoint), "digits")
    assert begun.spec == small_spec
    module = build(small_spec)
    begun.begin.prepare(module)
    assert all(torch.equal(module.state_dict()[k], v) for k, v in load_model(checkpoint)[1].items())


def test_at_another_size_only_the_position_table_changes_and_its_class_token_does_not(
    checkpoint: Path, small_spec: ModelSpec
):
    begun = start(str(checkpoint), "digits", img_size=16)
    assert (begun.spec.image_px, begun.data.val.image_px) == (16, 16)
    module = build(begun.spec)
    begun.begin.prepare(module)
    old, new = load_model(checkpoint)[1], module.state_dict()
    differ = [name for name in old if old[name].shape != new[name].shape or not torch.equal(old[name], new[name])]
    assert differ == ["position.table"]
    assert new["position.table"].shape[1] == 1 + 16
    assert torch.equal(old["position.table"][:, 0], new["position.table"][:, 0])


def test_a_table_that_rises_evenly_rises_evenly_at_any_size(small_spec: ModelSpec):
    module = build(replace(small_spec, image_px=32))  # 2 x 2 patches become 8 x 8
    state = build(small_spec).state_dict()
    rows = torch.tensor([0.0, 0.0, 1.0, 1.0])
    state["position.table"] = torch.cat((torch.zeros(1), rows))[None, :, None].expand(1, 5, 32).clone()
    table = carried(state, small_spec, module.spec, module)["position.table"][0, 1:, 0].view(8, 8)
    torch.testing.assert_close(table, table[:, :1].expand(8, 8))  # columns are alike
    assert (table[1:, 0] >= table[:-1, 0] - 0.15).all()
    assert float(table.mean()) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("classes", ["0-4", "0-9"])
def test_a_head_for_other_classes_is_made_only_where_it_is_asked_for(checkpoint: Path, classes: str):
    with pytest.raises(UserError, match=r"knows 10 classes, digits\[0-4\] has 5; give --new-head"):
        start(str(checkpoint), "digits", classes="0-4")
    begun = start(str(checkpoint), "digits", classes=classes, new_head=True)
    module = build(begun.spec)
    head = module.head.weight.clone()
    begun.begin.prepare(module)
    old, new = load_model(checkpoint)[1], module.state_dict()
    assert torch.equal(module.head.weight, head)
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("head."))


@pytest.mark.parametrize("mixer", [Part.of("linformer", length=2), Part("synthesizer_random")])
def test_what_depends_on_the_image_size_is_named_and_refused(tmp_path: Path, small_spec: ModelSpec, mixer: Part):
    spec = replace(small_spec, stages=(replace(small_spec.stages[0], mixer=mixer),))
    save_model(tmp_path, spec, build(spec))
    begun = start(str(tmp_path), "digits", img_size=16)
    with pytest.raises(
        UserError, match=r"^stages\.0\.0\.mixer\.\S+ of small cannot be carried from 8 to 16 px: [^\n]+$"
    ):
        begun.begin.prepare(build(begun.spec))


def test_timms_own_models_are_carried_as_timm_does_it():
    source, target = (timm_spec("deit_tiny_patch16_224", image_px=px, num_classes=10) for px in (32, 48))
    first = timm.create_model("deit_tiny_patch16_224", img_size=32, num_classes=10, depth=1)
    second = timm.create_model("deit_tiny_patch16_224", img_size=48, num_classes=10, depth=1)
    state = carried(first.state_dict(), source, target, second)
    wanted = timm.layers.resample_abs_pos_embed(first.pos_embed, [3, 3], num_prefix_tokens=1)
    torch.testing.assert_close(state["pos_embed"], wanted)


def test_two_checkpoints_are_not_confused_in_rows(tmp_path: Path, small_spec: ModelSpec):
    names = set()
    for seed in range(2):
        torch.manual_seed(seed)
        save_model(tmp_path / str(seed), small_spec, build(small_spec))
        names.add(start(str(tmp_path / str(seed)), "digits").begin.name)
    assert len(names) == 2


def test_from_some_classes_to_others_at_a_higher_resolution(tmp_path: Path, small_spec: ModelSpec, short: Recipe):
    recipe = replace(short, epochs=4, drop_path=0.0, crop_padding=0)
    first = open_data("digits", classes="0-4")
    train(replace(small_spec, num_classes=5), first, recipe, out=tmp_path / "first")
    begun = start(str(tmp_path / "first"), "digits", img_size=12, classes="5-9", new_head=True)
    result = train(begun.spec, begun.data, recipe, out=tmp_path / "second", begin=begun.begin)
    assert result.rows[0].conditions.recipe.startswith("short, from short at 8 px (")
    assert result.rows[0].conditions.data == "digits[5-9]"
    judged = trained(str(tmp_path / "second"), "digits", classes="5-9")
    assert (judged[0].image_px, judged[2].val.image_px) == (12, 12)
    assert result.rows[0].value > 0.6  # chance is 0.2
    assert evaluate(judged[0], judged[1], judged[2].val)[0].value == result.rows[0].value


def test_a_trained_model_is_judged_at_several_sizes(checkpoint: Path):
    spec, module, data = trained(str(checkpoint), "digits", img_size=12)
    assert spec.image_px == data.val.image_px == 12
    assert module(data.val.normalised(data.val.pixels[:2])).shape == (2, 10)
    with pytest.raises(UserError, match="no trained weights"):
        trained("vit_pico_patch2_8", "digits")
