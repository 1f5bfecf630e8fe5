"""Layers of timm's own models replaced: what stays is timm's bit for bit, and the result is a model like any other."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from few_digits import few_digits
from torch import Tensor, nn

from paretovit import cli
from paretovit.cost.count import count
from paretovit.cost.export import export
from paretovit.errors import UserError
from paretovit.optimize.distil import Distil, Objective, distance
from paretovit.optimize.replace import Parent, opened, replace_layers
from paretovit.optimize.replace_candidates import Budget, Search
from paretovit.optimize.replace_choice import choose_layers
from paretovit.optimize.replacement import Plan, Replacement, layers_of, replaced
from paretovit.spec import ModelSpec, Part, Stage, from_json, to_json
from paretovit.store import Store
from paretovit.training.objective import Step
from paretovit.training.recipe import Recipe
from paretovit.zoo.attention_maps import AttentionMap, attention_maps
from paretovit.zoo.build import build
from paretovit.zoo.catalog import family
from paretovit.zoo.checkpoint import load_model, save_model
from paretovit.zoo.timm_blocks import BlockByBlock
from paretovit.zoo.tokens import Tokens

SMALL: dict[str, Any] = {"depth": 4, "embed_dim": 32, "num_heads": 2, "patch_size": 8}
PX = 32


def spec_of(architecture: str, **options: Any) -> ModelSpec:
    whole = Part.of("timm", architecture=architecture, **SMALL | options)
    return ModelSpec(name="small_eva", whole=whole, image_px=PX, in_chans=1, num_classes=10)


EVA = spec_of("eva02_tiny_patch14_224")  # means of patches; class token, rotary positions, gated MLP
PLAN = Plan(layers=((2, 3),), mixer=Part("pooling"))
RECIPE = Recipe(name="short", epochs=1, batch_size=32, lr=3e-3)
PARENTS = {
    "eva02": EVA,
    "eva02 with inner norms, read from the class token": spec_of(
        "eva02_base_patch14_224", scale_attn_inner=True, global_pool="token", use_fc_norm=False
    ),
    "a rotary table for each layer": spec_of("vit_small_patch16_rope_mixed_224"),
    "registers": spec_of("vit_small_patch14_reg4_dinov2"),
    "dinov3": spec_of("vit_small_patch16_dinov3"),
    "beit": spec_of("beit_base_patch16_224"),
    "distilled": spec_of("deit_tiny_distilled_patch16_224"),
}


DATA = few_digits(64, 64, PX)
pytestmark = pytest.mark.usefixtures("one_thread")


def noisy(spec: ModelSpec, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    module = build(spec).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return module


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 1, PX, PX, generator=torch.Generator().manual_seed(1))


def made(replacement: Replacement, state: dict[str, Tensor]) -> Any:
    torch.manual_seed(5)
    module = build(from_json(to_json(replacement.spec)))
    replacement.prepare(module, state)
    return module.eval()


def behind(module: nn.Module, block: int) -> Tensor:
    """The tokens that leave a block of timm's."""
    seen: list[Tensor] = []
    handle = module.blocks[block].register_forward_hook(lambda _, __, out: seen.append(out))  # type: ignore[index]
    with torch.no_grad():
        module(images())
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("spec", PARENTS.values(), ids=PARENTS)
def test_a_model_gone_through_in_stretches_is_timms_own(spec: ModelSpec) -> None:
    model = noisy(spec)
    walk = BlockByBlock(model, spec, (0, 2, 3))
    entered = walk.enter(images())
    torch.testing.assert_close(walk.through(entered, 0, 0).x, behind(model, 0))
    torch.testing.assert_close(walk.through(entered, 0, 1).x, behind(model, 2))
    logits = walk.read(walk.through(walk.through(entered, 0, 0), 1))
    torch.testing.assert_close(logits, model(images()))


@pytest.mark.parametrize("spec", PARENTS.values(), ids=PARENTS)
def test_up_to_the_stage_the_output_is_the_parents_and_behind_it_too_where_nothing_is_new(spec: ModelSpec) -> None:
    parent, found = noisy(spec), replaced(spec, replace(PLAN, layers=((1, 2),)))
    student = made(found, parent.state_dict())
    assert torch.equal(behind(student, 0), behind(parent, 0))
    assert not torch.allclose(student(images()), parent(images()))
    passed = nn.Module()
    passed.forward = lambda x, *_, **__: x  # type: ignore[method-assign]
    parent.blocks[1] = parent.blocks[2] = passed
    student.blocks[1].blocks = nn.Sequential()
    student.blocks[1].blocks.steps = lambda: ()
    torch.testing.assert_close(student(images()), parent(images()))  # a rotary table of its own reaches layer 3


@pytest.mark.parametrize("mixer", ["pooling", "identity"])
def test_the_new_stage_is_a_stage_of_the_skeleton_on_the_patches_with_the_class_token_set_aside(mixer: str) -> None:
    parent, found = noisy(EVA), replaced(EVA, replace(PLAN, mixer=Part(mixer)))
    student = made(found, parent.state_dict())
    entering, leaving = behind(student, 1), behind(student, 3)
    assert torch.equal(leaving[:, :1], entering[:, :1])
    x = entering[:, 1:]
    for block in student.blocks[2].blocks:
        normed = nn.functional.layer_norm(x, (32,), block.norm1.weight, block.norm1.bias, 1e-6)
        if mixer == "pooling":
            maps = normed.mT.unflatten(2, (4, 4))
            normed = (nn.functional.avg_pool2d(maps, 3, 1, 1, count_include_pad=False) - maps).flatten(2).mT
        x = x + normed
        normed = nn.functional.layer_norm(x, (32,), block.norm2.weight, block.norm2.bias, 1e-6)
        x = x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(normed)))
    torch.testing.assert_close(leaving[:, 1:], x)
    torch.testing.assert_close(student(images()), parent.forward_head(parent.norm(leaving)))


def test_a_class_token_mixed_or_among_the_patches_hears_them_and_the_stage_may_have_another_depth() -> None:
    spec = PARENTS["registers"]
    for tokens, mixer in (("mixed", "pooling"), ("among", "attention")):
        plan = Plan(layers=((2, 3),), mixer=Part(mixer), class_tokens=tokens, depth=1, embed=tokens == "mixed")
        found = replaced(spec, plan)
        student = made(found, noisy(spec).state_dict())
        assert len(student.blocks[2].blocks) == 1
        assert behind(student, 3).shape == behind(student, 1).shape
        assert not torch.allclose(behind(student, 3)[:, :5], behind(student, 1)[:, :5])


@pytest.mark.parametrize("spec", PARENTS.values(), ids=PARENTS)
def test_multiply_accumulates_are_the_parents_less_the_layers_and_the_closed_form_of_the_stage(spec: ModelSpec) -> None:
    plan = Plan(layers=((0, 1),), mixer=Part("focal"), embed=True)
    found = replaced(spec, plan)
    shallow = replace(spec, whole=Part.of("timm", **dict(spec.whole.options) | {"depth": 2}))  # type: ignore[union-attr]
    macs = [row.value for row in count([spec, shallow, found.spec]) if row.indicator == "macs"]
    stage = build(found.spec, device="meta").blocks[0]  # type: ignore[index,union-attr]
    assert macs[0] > macs[1]
    assert macs[2] == macs[1] + stage.macs()


@pytest.mark.parametrize("tokens", ["aside", "mixed", "among"])
def test_a_stage_of_another_width_is_a_map_in_its_blocks_and_a_map_out(tokens: str) -> None:
    spec = PARENTS["registers"]
    mixer = Part("attention" if tokens == "among" else "focal")
    plan = Plan(layers=((1, 2),), mixer=mixer, class_tokens=tokens, width=48)
    found = replaced(spec, plan)
    student = made(found, noisy(spec).state_dict())
    new = student.blocks[1]
    entering, leaving = behind(student, 0), behind(student, 2)
    aside = 0 if tokens == "among" else 5
    x = Tokens(new.projection.into(entering[:, aside:]), (4, 4), 0 if aside else 5)
    for block in new.blocks:
        x = block(x)
    torch.testing.assert_close(leaving[:, 5:], new.projection.out(x.x)[:, 5 - aside :])
    assert torch.equal(leaving[:, :5], entering[:, :5]) == (tokens == "aside")
    assert (found.spec.stages[0].heads, new.blocks[0].mixer.dim) == (3, 48)
    alike = replaced(spec, replace(plan, width=32)).spec
    assert alike.key == replaced(spec, replace(plan, width=None)).spec.key
    macs = [row.value for row in count([spec, found.spec, alike]) if row.indicator == "macs"]
    stages = [build(one, device="meta").blocks[1] for one in (found.spec, alike)]  # type: ignore[index,union-attr]
    assert macs[1] - macs[2] == stages[0].macs() - stages[1].macs()


def test_a_plain_mlp_has_as_many_weights_as_the_gated_one() -> None:
    spec = spec_of("eva02_tiny_patch14_224", embed_dim=48)  # 128 hidden, twice, and back
    stage = layers_of(spec).stages[0]
    gated = sum(p.numel() for p in build(spec).blocks[0].mlp.parameters() if p.ndim == 2)  # type: ignore[index,union-attr]
    assert gated == 3 * 48 * 128
    assert stage == Stage(depth=4, dim=48, heads=2)  # 4 x 48 hidden, and back


def test_training_changes_the_new_stage_and_the_next_attention_and_nothing_else(tmp_path: Path) -> None:
    parent, plan = noisy(EVA), replace(PLAN, layers=((1, 2),))
    begun = Parent(EVA, parent.state_dict(), "noise")
    done = replace_layers(begun, plan, DATA, RECIPE, out=tmp_path / "new", distil=Distil(alpha=0.5, loss="mse"))
    spec, state = load_model(tmp_path / "new")
    assert (spec.key, spec.name) == (done.replacement.spec.key, "small_eva_pooling_1-2")
    old = parent.state_dict()
    changed = {name for name, tensor in state.items() if name in old and not torch.equal(tensor, old[name])}
    ours = {name for name in state if name.startswith("blocks.1.")}
    next_attention = {n for n in old if n.startswith(("blocks.3.norm1.", "blocks.3.attn."))}
    assert next_attention == changed - ours
    assert set(state) - set(old) == ours - set(old)
    assert set(old) - set(state) == {n for n in old if n.startswith(("blocks.1.", "blocks.2."))} - ours
    again = build(str(tmp_path / "new")).eval()
    assert torch.equal(again(images()), again(images()))
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in state.items())
    assert {"top1", "train_time_s"} <= {row.indicator for row in done.rows}
    found = Objective(done.replacement, done.replacement.teacher(old), Distil(alpha=0.5, loss="mse"), RECIPE)
    assert distance(again, found, DATA.val) == pytest.approx(done.distance, rel=1e-5)
    assert family(spec) == "non-attention shuffling"


def test_the_distance_is_between_what_leaves_the_stage_and_what_left_the_layers() -> None:
    parent, found = noisy(EVA), replaced(EVA, replace(PLAN, layers=((0, 0), (2, 2))))
    student = made(found, parent.state_dict())
    objective = Objective(found, found.teacher(parent.state_dict()), Distil(alpha=1.0, loss="mse"), RECIPE)
    total, labels = objective(Step(student, student, images(), torch.arange(3)))
    apart = [nn.functional.mse_loss(behind(student, at), behind(parent, at)) for at in (0, 2)]
    torch.testing.assert_close(total, sum(apart) / 2)
    torch.testing.assert_close(labels, nn.functional.cross_entropy(student(images()), torch.arange(3)))


def test_attention_of_a_replaced_model_can_be_looked_at() -> None:
    found = replaced(EVA, Plan(layers=((1, 2),), mixer=Part("attention"), class_tokens="among"))
    student = made(found, noisy(EVA).state_dict())
    seen: list[AttentionMap] = []
    with torch.no_grad():
        torch.testing.assert_close(attention_maps(student, images(), seen.append), student(images()))
    assert [(one.layer, one.prefix, one.grid, one.weights.shape) for one in seen] == [
        (layer, 1, (4, 4), (3, 2, 17, 17)) for layer in range(4)
    ]


@pytest.mark.parametrize("width", [None, 48])
def test_a_replaced_model_gives_the_same_logits_on_another_runtime(width: int | None, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    student = made(replaced(EVA, replace(PLAN, mixer=Part("focal"), width=width)), noisy(EVA).state_dict())
    export(student, EVA.input_shape, tmp_path / "model.onnx", runtime="onnxruntime")
    session = ort.InferenceSession(str(tmp_path / "model.onnx"))
    (logits,) = session.run(None, {session.get_inputs()[0].name: images(1).numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), student(images(1)).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_layers_of_a_timm_model_are_chosen_for_a_budget(tmp_path: Path) -> None:
    parent = Parent(EVA, noisy(EVA).state_dict(), "noise")
    search = Search(mixers=("identity",), pieces=2, beam=1, finalists=1)
    budget = Budget("macs", 0.8, of_parent=True)
    with Store(str(tmp_path / "rows.sqlite")) as store:
        chosen = choose_layers(parent, DATA, RECIPE, budget, search=search, out=tmp_path / "out", store=store)
    spec, _ = load_model(tmp_path / "out" / "model")
    assert spec.whole is not None
    assert spec.whole.name == "timm_replaced"
    assert chosen.chosen.ratio <= 0.8


def test_a_parent_is_read_from_a_file_in_timms_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("eva02_tiny_patch14_224", in_chans=1, num_classes=10, img_size=PX, **SMALL).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "eva.pth")
    monkeypatch.setattr("paretovit.optimize.replace.resolve", lambda name, **_: EVA)
    found, _ = opened("eva02_tiny_patch14_224", "digits", weights=str(tmp_path / "eva.pth"))
    assert (found.spec, found.label) == (EVA, "eva.pth")
    assert all(torch.equal(found.state[name], tensor) for name, tensor in theirs.state_dict().items())
    replacement = replaced(found.spec, PLAN)
    torch.testing.assert_close(replacement.teacher(found.state)(images()), theirs(images()))


@pytest.mark.parametrize(
    ("spec", "plan", "message"),
    [
        (EVA, replace(PLAN, layers=((3, 4),)), "has 4 layers, from 0 to 3"),
        (EVA, replace(PLAN, layers=((0, 1), (1, 2))), "overlap"),
        (PARENTS["registers"], PLAN, "no layer behind the new stage would tell the class token what pooling found"),
        (spec_of("vit_base_patch16_siglip_224"), replace(PLAN, class_tokens="mixed"), "has no class token"),
        (replaced(EVA, PLAN).spec, PLAN, "is no model of timm's and not on the skeleton"),
        (replace(EVA, whole=Part.of("timm", architecture="cait_xxs24_224")), PLAN, "does not take 5 tokens"),
        (replace(EVA, whole=Part.of("timm", architecture="resnet18")), PLAN, "has no list of blocks"),
    ],
    ids=str,
)
def test_what_cannot_be_replaced_is_said_in_one_line(spec: ModelSpec, plan: Plan, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        replaced(spec, plan)
    assert "\n" not in str(error.value)


def test_a_spec_whose_stages_do_not_fit_its_layers_is_refused() -> None:
    spec = replaced(EVA, PLAN).spec
    assert spec.whole is not None
    options = dict(spec.whole.options)
    for layers in (((2, 4),), ((2, 1),), ((0, 0), (2, 3)), ()):
        with pytest.raises(UserError, match="cannot take the places of the layers"):
            build(replace(spec, whole=Part.of("timm_replaced", **options | {"layers": layers})))
    for stage, message in (
        (replace(spec.stages[0], dim=16), "width 16"),
        (replace(spec.stages[0], mixer=Part("attention"), sequence=Part.of("tome", r=1)), "leave the tokens"),
    ):
        with pytest.raises(UserError, match=message):
            build(replace(spec, stages=(stage,)))
    with pytest.raises(UserError, match="no pretrained weights"):
        build(spec, pretrained=True)


def test_weights_cannot_begin_near_those_of_other_blocks(tmp_path: Path) -> None:
    parent = Parent(EVA, noisy(EVA).state_dict(), "noise")
    with pytest.raises(UserError, match="leave --start out"):
        replace_layers(parent, PLAN, DATA, RECIPE, out=tmp_path / "new", distil=Distil(start=0.5))


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(Path("eva"), EVA, noisy(EVA))
    words = ["eva", "--layers", "2-3", "--mixer", "pooling", "--data", "digits", "--epochs", "1", "--out", "new"]
    words += ["--set", "train_images=64", "--set", "warmup_epochs=0", "--json"]
    monkeypatch.setattr(sys, "argv", ["paretovit", "replace", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "small_eva_pooling_2-3"
    assert {"params", "macs", "top1"} <= {row["indicator"] for row in found["rows"]}
