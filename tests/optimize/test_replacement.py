"""Specs with replaced layers, and which of the parent's weights they keep, on models of 8 px."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from paretovit.cost.count import count
from paretovit.errors import UserError
from paretovit.optimize.replacement import Plan, Replacement, layer_ranges, replace_nothing, replaced
from paretovit.spec import ModelSpec, Part, Stage, from_json, to_json
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.factors import factors_of
from paretovit.zoo.folders import MIXERS

PARENT = ModelSpec(name="parent", stages=(Stage(depth=4, dim=16, heads=2),), image_px=16, patch_px=4, num_classes=5)
MEAN = replace(PARENT, name="mean", readout=Part("mean"))
NEW = Plan(layers=((1, 2),), mixer=Part("focal"))


def noisy(spec: ModelSpec) -> Backbone:
    torch.manual_seed(0)
    module = Backbone(spec).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    return module


def images(spec: ModelSpec = PARENT) -> Tensor:
    return torch.randn(2, *spec.input_shape, generator=torch.Generator().manual_seed(1))


def made(replacement: Replacement, state: dict[str, Tensor]) -> Backbone:
    module = build(replacement.spec)
    assert isinstance(module, Backbone)
    replacement.prepare(module, state)
    return module.eval()


@pytest.mark.parametrize("spec", [PARENT, MEAN], ids=str)
def test_the_parent_cut_into_stages_is_the_parent(spec: ModelSpec) -> None:
    parent, found = noisy(spec), replaced(spec, NEW)
    assert [stage.depth for stage in found.parent.stages] == [1, 2, 1]
    assert torch.equal(found.teacher(parent.state_dict())(images()), parent(images()))
    assert torch.equal(made(replace_nothing(found), parent.state_dict())(images()), parent(images()))


@pytest.mark.parametrize("layers", [((0, 1),), ((1, 1), (3, 3)), ((0, 3),)])
def test_fresh_attention_with_the_parents_weights_is_the_parent(layers: tuple[tuple[int, int], ...]) -> None:
    parent = noisy(PARENT)
    found = replaced(PARENT, Plan(layers=layers, mixer=Part("attention"), class_tokens="among"))
    student = made(found, parent.state_dict())
    assert not torch.allclose(student(images()), parent(images()))
    student.load_state_dict(found.teacher(parent.state_dict()).state_dict())
    assert torch.equal(student(images()), parent(images()))


@pytest.mark.parametrize("mixer", [n for n in MIXERS.names() if not MIXERS.fact(n, "takes_time", False)])
def test_every_mixer_of_the_zoo_can_take_the_place_and_stages_can_be_gone_through_one_by_one(mixer: str) -> None:
    found = replaced(PARENT, Plan(layers=((1, 2),), mixer=Part(mixer)))
    student = made(found, noisy(PARENT).state_dict())
    assert student(images()).shape == (2, 5)
    torch.testing.assert_close(student.read(student.through(student.enter(images()))), student(images()))
    between = student.through(student.through(student.enter(images()), 0, 0), 1)
    torch.testing.assert_close(student.read(between), student(images()))


def test_kept_layers_are_the_parents_bit_for_bit_and_only_the_new_and_the_next_attention_are_trained() -> None:
    parent, found = noisy(PARENT), replaced(PARENT, replace(NEW, class_tokens="mixed", embed=True))
    state, student = parent.state_dict(), made(found, parent.state_dict())
    own = student.state_dict()
    assert torch.equal(own["stages.2.0.mlp.fc1.weight"], state["stages.0.3.mlp.fc1.weight"])
    assert torch.equal(own["stages.0.0.mixer.qkv.weight"], state["stages.0.0.mixer.qkv.weight"])
    for name in ("class_token", "stem.proj.weight", "position.table", "norm.weight", "head.weight"):
        assert torch.equal(own[name], state[name])
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    of_next = {name for name in trained if not name.startswith(("stages.1.", "between.1.", "class_mixers.1."))}
    assert of_next == {f"stages.2.0.{n}" for n in (
        "norm1.weight", "norm1.bias", "mixer.qkv.weight", "mixer.qkv.bias", "mixer.proj.weight", "mixer.proj.bias",
    )}  # fmt: skip
    student(images()).sum().backward()
    assert all((p.grad is None) != (name in trained) for name, p in student.named_parameters())


def test_of_the_layers_that_follow_the_first_alone_is_trained() -> None:
    student = made(replaced(PARENT, replace(NEW, layers=((0, 1),))), noisy(PARENT).state_dict())
    blocks = {".".join(name.split(".")[:3]) for name, p in student.named_parameters() if p.requires_grad}
    assert blocks == {"stages.0.0", "stages.0.1", "stages.1.0"}


def test_a_class_token_set_aside_is_not_changed_by_the_stage_and_one_mixed_hears_it() -> None:
    state = noisy(PARENT).state_dict()
    for kind, same in (("aside", True), ("mixed", False)):
        student = made(replaced(PARENT, replace(NEW, class_tokens=kind)), state)
        before = student.through(student.enter(images()), 0, 0)
        after = student.through(before, 1, 1)
        assert after.x.shape == before.x.shape
        assert torch.equal(after.x[:, 0], before.x[:, 0]) == same
        assert not torch.allclose(after.x[:, 1:], before.x[:, 1:])


def test_the_class_mixer_is_the_sums_of_the_thesis() -> None:
    student = made(replaced(PARENT, replace(NEW, class_tokens="mixed")), noisy(PARENT).state_dict())
    mixer = student.class_mixers["1"].double()
    tokens = torch.randn(2, 17, 16, dtype=torch.float64)
    found = mixer(tokens[:, :1], tokens[:, 1:])
    for image, out in zip(tokens, found, strict=True):
        summed = sum(w * t for w, t in zip(mixer.over_tokens.weight[0], image, strict=True)) + mixer.over_tokens.bias
        torch.testing.assert_close(out[0], mixer.over_channels.weight @ summed + mixer.over_channels.bias)
    assert mixer.macs() == 17 * 16 + 16 * 16


def test_the_convolution_in_front_keeps_the_grid_and_reaches_two_down_and_one_up() -> None:
    student = made(replaced(PARENT, replace(NEW, embed=True)), noisy(PARENT).state_dict())
    conv = student.between[1].eval()
    before = student.through(student.enter(images()), 0, 0)
    patches = replace(before, x=before.x[:, 1:], prefix=0)
    found = conv(patches).x.unflatten(1, (4, 4))
    x, weight = patches.x.unflatten(1, (4, 4)), conv.conv.weight
    for row, column in ((0, 0), (1, 2), (3, 3)):
        expected = conv.conv.bias.expand(2, -1)
        for i in range(4):
            for j in range(4):
                if 0 <= row + i - 1 < 4 and 0 <= column + j - 1 < 4:
                    expected = expected + x[:, row + i - 1, column + j - 1] @ weight[:, :, i, j].T
        torch.testing.assert_close(found[:, row, column], expected, rtol=1e-5, atol=1e-5)
    assert conv.macs() == 16 * 16 * 16 * 16


def test_depth_and_several_stretches_and_the_sizes_of_the_thesis() -> None:
    found = replaced(PARENT, Plan(layers=((0, 0), (2, 2)), mixer=Part("shifted_window"), depth=3))
    assert [(s.depth, s.mixer.name) for s in found.spec.stages] == [
        (3, "shifted_window"), (1, "attention"), (3, "shifted_window"), (1, "attention"),
    ]  # fmt: skip
    assert found.stages == (0, 2)
    assert dict(found.spec.stages[0].mixer.options) == {"window": 4}
    assert from_json(to_json(found.spec)).key == found.spec.key
    parent = noisy(PARENT)
    student = made(found, parent.state_dict())
    assert torch.equal(student.state_dict()["stages.1.0.norm1.bias"], parent.state_dict()["stages.0.1.norm1.bias"])
    assert torch.equal(student.state_dict()["stages.3.0.norm1.bias"], parent.state_dict()["stages.0.3.norm1.bias"])


def test_a_replaced_model_is_a_parent_like_any_other() -> None:
    first = replaced(PARENT, NEW)
    child = noisy(first.spec)
    second = replaced(first.spec, Plan(layers=((3, 3),), mixer=Part("attention"), class_tokens="among"))
    grandchild = made(second, child.state_dict())
    assert torch.equal(
        grandchild.state_dict()["stages.1.1.mixer.f.weight"], child.state_dict()["stages.1.1.mixer.f.weight"]
    )
    assert torch.equal(second.teacher(child.state_dict())(images()), child(images()))


def test_a_mixed_class_token_of_a_parent_is_mixed_once() -> None:
    first = replaced(PARENT, Plan(layers=((0, 2),), mixer=Part("focal"), class_tokens="mixed"))
    child = noisy(first.spec)
    second = replaced(first.spec, Plan(layers=((1, 1),), mixer=Part("pooling")))
    assert [stage.class_tokens for stage in second.parent.stages] == ["aside", "aside", "mixed", "among"]
    torch.testing.assert_close(second.teacher(child.state_dict())(images()), child(images()))


BAD = [
    (PARENT, {"layers": ((2, 4),)}, "has 4 layers, from 0 to 3; 2-4 is none"),
    (PARENT, {"layers": ((0, 1), (1, 2))}, "the layers 1-2 overlap"),
    (PARENT, {"layers": ()}, "name the layers"),
    (PARENT, {"depth": 0}, "at least 1 deep"),
    (PARENT, {"layers": ((2, 3),)}, "no layer behind the new stage would tell the class token what focal found"),
    (PARENT, {"layers": ((3, 3),), "mixer": Part("identity"), "class_tokens": "among"}, "would tell the class token"),
    (MEAN, {"class_tokens": "mixed"}, "has no class token"),
    (replace(PARENT, stages=(replace(PARENT.stages[0], sequence=Part("tome")),)), {}, "changes its tokens by tome"),
    (replace(PARENT, stages=(replace(PARENT.stages[0], share=True),)), {}, "one block for all layers"),
    (replace(PARENT, stages=(PARENT.stages[0],) * 2), {"layers": ((3, 4),)}, "lie in two stages"),
    (replace(PARENT, whole=Part.of("timm", architecture="resnet18"), stages=()), {}, "has no list of blocks"),
    (
        replace(MEAN, stages=(replace(MEAN.stages[0], mixer=Part("shifted_window")),)),
        {"layers": ((0, 0),)},
        "differs from one block to the next",
    ),
]


@pytest.mark.parametrize(("spec", "changes", "message"), BAD, ids=[message for *_, message in BAD])
def test_what_cannot_be_replaced_is_said_in_one_line(spec: ModelSpec, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        replaced(spec, replace(NEW, **changes))
    assert "\n" not in str(error.value)


def test_a_mixer_that_cannot_carry_the_class_token_says_so_when_it_is_built() -> None:
    with pytest.raises(UserError, match="cannot carry class tokens"):
        build(replaced(PARENT, replace(NEW, class_tokens="among")).spec)


def test_weights_of_another_model_are_named() -> None:
    narrow = noisy(replace(PARENT, stages=(Stage(depth=4, dim=8, heads=2),))).state_dict()
    state = noisy(PARENT).state_dict() | {n: v for n, v in narrow.items() if n.startswith("stages")}
    with pytest.raises(UserError, match=r"stages\.0\.0\.norm1\.weight is \(8,\), not \(16,\)"):
        made(replaced(PARENT, NEW), state)


def test_layers_are_read_from_words() -> None:
    assert layer_ranges(["6-11"]) == ((6, 11),)
    assert layer_ranges(["8", "2-3, 5"]) == ((2, 3), (5, 5), (8, 8))
    for text in ("a", "3-", "5-2", ""):
        with pytest.raises(UserError, match="cannot read the layers"):
            layer_ranges([text])


WIDE = replace(NEW, width=24)


def test_blocks_as_wide_as_the_parents_are_between_no_maps() -> None:
    plain = replaced(PARENT, NEW).spec
    assert replaced(PARENT, replace(NEW, width=16)).spec.key == plain.key
    assert replaced(PARENT, WIDE).spec.key != plain.key
    assert not any("projections" in name for name in build(plain).state_dict())


def by_hand(student: Backbone, x: Tensor) -> Tensor:
    """A new stage of pooling in float64: patches (B, 16, D) into the blocks, through them and out."""
    maps = student.projections["1"].double()
    x = x @ maps.into.weight.T + maps.into.bias
    for block in student.stages[1].double():
        normed = torch.nn.functional.layer_norm(x, x.shape[-1:], block.norm1.weight, block.norm1.bias, 1e-6)
        grid = torch.nn.functional.pad(normed.unflatten(1, (4, 4)).permute(0, 3, 1, 2), (1, 1, 1, 1))
        ones = torch.nn.functional.pad(torch.ones(4, 4, dtype=x.dtype), (1, 1, 1, 1))
        pooled = torch.empty_like(normed)
        for row in range(4):
            for column in range(4):
                near = (slice(row, row + 3), slice(column, column + 3))
                pooled[:, 4 * row + column] = grid[:, :, *near].sum((2, 3)) / ones[near].sum()
        x = x + pooled - normed
        normed = torch.nn.functional.layer_norm(x, x.shape[-1:], block.norm2.weight, block.norm2.bias, 1e-6)
        inner = normed @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
        x = x + (inner * 0.5 * (1 + (inner / 2**0.5).erf())) @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    return x @ maps.out.weight.T + maps.out.bias


@pytest.mark.parametrize("width", [24, 8])
def test_a_stage_of_another_width_is_a_map_in_its_blocks_and_a_map_out(width: int) -> None:
    found = replaced(PARENT, replace(NEW, mixer=Part("pooling"), width=width))
    student = made(found, noisy(PARENT).state_dict())
    before = student.through(student.enter(images()), 0, 0)
    after = student.through(before, 1, 1)
    assert after.x.shape == before.x.shape
    assert torch.equal(after.x[:, 0], before.x[:, 0])
    expected = by_hand(student, before.x[:, 1:].double())
    torch.testing.assert_close(after.x[:, 1:].double(), expected, rtol=1e-4, atol=1e-5)
    assert [p.shape for p in student.projections["1"].into.parameters()] == [(width, 16), (width,)]


@pytest.mark.parametrize("kind", ["aside", "mixed", "among"])
@pytest.mark.parametrize("width", [24, 8])
def test_multiply_accumulates_of_another_width_are_those_counted(kind: str, width: int) -> None:
    plan = replace(WIDE, width=width, mixer=Part("attention"), class_tokens=kind, embed=kind != "among")
    spec = from_json(to_json(replaced(PARENT, plan).spec))
    (counted,) = (row.value for row in count([spec]) if row.indicator == "macs")
    module = build(spec, device="meta")
    assert isinstance(module, Backbone)
    assert counted == module.macs()
    tokens = 17 if kind == "among" else 16
    assert module.projections["1"].macs() == 2 * tokens * 16 * width


def test_heads_stay_as_wide_as_they_were_where_they_can_and_own_hidden_widths_grow_with_the_blocks() -> None:
    attention = replace(NEW, mixer=Part("attention"))
    assert replaced(PARENT, replace(attention, width=24)).spec.stages[1].heads == 3
    assert replaced(PARENT, replace(attention, width=20)).spec.stages[1].heads == 2
    hidden = replace(PARENT, stages=(replace(PARENT.stages[0], mlp=Part.of("mlp", hidden=40)),))
    assert replaced(hidden, replace(attention, width=24)).spec.stages[1].mlp == Part.of("mlp", hidden=60)


def test_all_that_is_new_is_trained_and_a_stage_of_another_width_is_a_parents_like_any_other() -> None:
    found = replaced(PARENT, WIDE)
    child = made(found, noisy(PARENT).state_dict())
    trained = {name.split(".")[0] for name, p in child.named_parameters() if p.requires_grad}
    assert trained == {"stages", "projections"}
    assert str(WIDE) == "layers 1-2 by focal of width 24"
    assert found.spec.name == "parent_focal_1-2_width_24"
    behind = replaced(found.spec, Plan(layers=((0, 0),), mixer=Part("pooling")))
    grown = noisy(found.spec)
    assert torch.equal(behind.teacher(grown.state_dict())(images()), grown(images()))
    again = replaced(found.spec, Plan(layers=((1, 2),), mixer=Part("identity")))
    assert again.spec.stages[1].width == 24
    assert made(again, grown.state_dict())(images()).shape == (2, 5)
    assert replaced(found.spec, Plan(layers=((1, 2),), mixer=Part("identity"), width=16)).spec.stages[1].width is None
    with pytest.raises(UserError, match="layers 1-2 of parent_focal_1-2_width_24 are a stage of another width"):
        replaced(found.spec, Plan(layers=((1, 1),), mixer=Part("pooling")))


def test_widths_that_do_not_fit_are_said_in_one_line() -> None:
    with pytest.raises(UserError, match="at least 1 wide"):
        replaced(PARENT, replace(NEW, width=0))
    with pytest.raises(UserError):
        build(replaced(PARENT, replace(NEW, mixer=Part("attention"), width=9)).spec)  # two heads
    merging = replace(PARENT.stages[0], sequence=Part.of("tome", r=1), width=24)
    with pytest.raises(UserError, match="tome does not; take keep_all, or no width"):
        build(replace(PARENT, stages=(merging,)))
    with pytest.raises(UserError, match="another width than its tokens"):
        factors_of(replace(PARENT, stages=(replace(PARENT.stages[0], width=24),)))
