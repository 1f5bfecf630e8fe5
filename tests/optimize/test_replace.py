"""Replaced layers in training, on digits of 8 px: what is minimised, what is kept, and what is not worked out twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from few_digits import few_digits
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.optimize.distil import Distil, Objective, OtherSet, distance
from paretovit.optimize.replace import Parent, opened, replace_layers
from paretovit.optimize.replace_sheet import replace_sheet
from paretovit.optimize.replacement import Plan, replaced
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.training.data import Images, open_data
from paretovit.training.distillation_losses import mse
from paretovit.training.evaluate import score
from paretovit.training.objective import Step
from paretovit.training.recipe import Recipe
from paretovit.training.rows import HELD_OUT
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.checkpoint import load_model

SPEC = ModelSpec(
    name="parent", stages=(Stage(depth=4, dim=16, heads=2),), image_px=8, patch_px=2, in_chans=1, num_classes=10
)
PLAN = Plan(layers=((1, 2),), mixer=Part("focal"))
RECIPE = Recipe(name="short", epochs=2, batch_size=32, lr=3e-3)


DATA = few_digits(96, 96)
pytestmark = pytest.mark.usefixtures("one_thread")


def noisy(spec: ModelSpec, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    module = Backbone(spec).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    return module


def parent() -> Parent:
    return Parent(SPEC, noisy(SPEC).state_dict(), "noise")


def objective(plan: Plan = PLAN, recipe: Recipe = RECIPE, **changes: Any) -> tuple[Objective, Backbone]:
    """An objective, and a student that it can be asked about."""
    replacement = replaced(SPEC, plan)
    student = Backbone(replacement.spec)
    replacement.prepare(student, parent().state)
    return Objective(replacement, replacement.teacher(parent().state), Distil(**changes), recipe), student.eval()


def step(student: nn.Module, pixels: Tensor, done: float = 0.0) -> Step:
    return Step(student, student, pixels, torch.arange(len(pixels)) % 10, done)


def pixels(count: int = 6) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def behind(module: nn.Module, last: int, images: Tensor) -> Tensor:
    """Tokens behind a block, by a hook on the block itself."""
    seen: list[Tensor] = []
    blocks = [b for stage in module.stages for b in stage]
    handle = blocks[last].register_forward_hook(lambda _, __, out: seen.append(out.x))
    module(images)
    handle.remove()
    return seen[0]


def test_the_loss_is_alpha_of_the_distance_behind_the_stage_and_the_rest_of_the_labels() -> None:
    found, student = objective(alpha=0.3, loss="mse")
    told = behind(noisy(SPEC), 2, pixels())
    own = behind(student, 2, pixels())  # without the class token, which is the parent's in front of the stage
    aside = behind(noisy(SPEC), 0, pixels())[:, :1]
    apart = mse(torch.cat((aside, own), 1), told)
    labels = nn.functional.cross_entropy(student(pixels()), torch.arange(6))
    total, shown = found(step(student, pixels()))
    torch.testing.assert_close(total, 0.3 * apart + 0.7 * labels)
    torch.testing.assert_close(shown, labels)


def test_logits_are_matched_at_a_temperature() -> None:
    found, student = objective(alpha=1.0, match="logits", tau=2.0)
    p, q = ((module(pixels()) / 2).log_softmax(1) for module in (noisy(SPEC), student))
    expected = 4 * (p.exp() * (p - q)).sum(1).mean()
    torch.testing.assert_close(found(step(student, pixels()))[0], expected)


def test_every_stretch_of_layers_is_matched() -> None:
    plan = Plan(layers=((0, 0), (2, 2)), mixer=Part("identity"))
    found, student = objective(plan, alpha=1.0, loss="mse")
    teacher, replacement = noisy(SPEC), found.replacement
    losses = []
    for last, stage in ((0, 0), (2, 2)):
        ours = student.through(student.enter(pixels()), 0, stage).x
        losses.append(mse(ours, behind(teacher, last, pixels())))
    assert replacement.stages == (0, 2)
    torch.testing.assert_close(found(step(student, pixels()))[0], sum(losses) / 2)


def test_alpha_falls_to_nothing() -> None:
    found, _ = objective(alpha=0.4, schedule="linear")
    assert [found.alpha(done) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.4, 0.2, 0.0])


def test_noise_takes_the_place_of_images_in_the_distillation_alone() -> None:
    found, student = objective(alpha=1.0, loss="mse", random=1.0)
    torch.manual_seed(7)
    total, labels = found(step(student, pixels()))
    torch.manual_seed(7)
    noise = torch.randn_like(pixels())
    other, _ = objective(alpha=1.0, loss="mse")
    torch.testing.assert_close(total, other(step(student, noise))[0])
    torch.testing.assert_close(labels, other(step(student, pixels()))[1])


@pytest.mark.parametrize("layers", [((1, 2),), ((0, 1),)])
def test_a_frozen_prefix_from_memory_is_the_same_and_is_worked_out_once(layers: tuple[tuple[int, int], ...]) -> None:
    found, student = objective(replace(PLAN, layers=layers), alpha=0.5)
    fresh, _ = objective(replace(PLAN, layers=layers), alpha=0.5, cache_bytes=0)
    calls = []
    found.teacher.stem.register_forward_hook(lambda *_: calls.append(1))
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    for images in (pixels(), pixels(), pixels()[order]):
        told, wanted = found.told(images), fresh.told(images)
        for a, b in zip((told.entering.x, *told.stages), (wanted.entering.x, *wanted.stages), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found(step(student, images))[0], fresh(step(student, images))[0])
    assert len(calls) == 1
    torch.testing.assert_close(found.told(pixels(2)).stages, fresh.told(pixels(2)).stages)
    assert len(calls) == 1
    found.told(pixels(7))
    assert len(calls) == 2


def test_memory_is_bounded_and_not_used_for_images_that_change() -> None:
    one = objective()[0]
    one.told(pixels(1))
    size = one.cache.used
    few, _ = objective(cache_bytes=int(3.5 * size))
    few.told(pixels())
    assert (few.cache.used, len(few.cache.known)) == (3 * size, 3)
    for changed in ({"mixup": 0.2}, {"crop": "rrc"}, {"erasing": 0.1}, {"crop_padding": 2}):
        none, _ = objective(recipe=replace(RECIPE, **changed))
        none.told(pixels())
        assert not none.cache.known


def test_training_changes_the_new_stage_and_the_next_attention_and_nothing_else(tmp_path: Path) -> None:
    done = replace_layers(parent(), PLAN, DATA, RECIPE, out=tmp_path / "new")
    spec, state = load_model(tmp_path / "new")
    assert spec.key == done.replacement.spec.key
    begun = Backbone(spec)
    done.replacement.prepare(begun, parent().state)
    for name, tensor in state.items():
        source = done.replacement.source(name)
        if source is not None:
            assert torch.equal(tensor, parent().state[source]) != done.replacement.is_trained(name), name
    assert {row.indicator for row in done.rows} >= {"top1", "train_loss", "train_time_s"}
    assert done.rows[0].conditions.recipe == (
        f"short, from parent (noise, {parent().digest}) with layers 1-2 by focal, alpha 0.35 of mean_mse"
    )
    assert done.rows[0].origin.timing["distillation_loss"] == done.distance
    sheet = replace_sheet([done])
    assert [line[0] for line in sheet.lines] == ["parent", "parent_focal_1-2", "new / parent"]
    assert all(all(cells) for cells in sheet.lines)
    quiet, busy = (
        [
            replace(row, indicator="latency_s", value=s, origin=replace(row.origin, timing={"contended": contended}))
            for row, s in zip([r for r in done.counts if r.indicator == "macs"], (0.002, 0.001), strict=True)
        ]
        for contended in (False, True)
    )
    sheet = replace_sheet([done], quiet)
    assert [line[-1] for line in sheet.lines] == ["2.000", "1.000", "0.500"]
    assert "measure again" not in sheet.notes
    assert "measure again" in " ".join(replace_sheet([done], busy).notes.split())


def test_distilling_brings_the_features_nearer_than_labels_alone(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=4)
    taught, untaught = (
        replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path / str(a), distil=Distil(alpha=a, loss="mse"))
        for a in (1.0, 0.0)
    )
    assert taught.distance < 0.8 * untaught.distance


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    recipe = replace(RECIPE, dropout=0.1, drop_path=0.2)
    distil = Distil(schedule="linear", random=0.5)

    def stop(tick: Any) -> None:
        if tick.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path / "a", distil=distil, progress=stop)
    stopped = replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path / "a", distil=distil)
    whole = replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path / "b", distil=distil)
    ours, theirs = load_model(tmp_path / "a")[1], load_model(tmp_path / "b")[1]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert stopped.distance == whole.distance


def test_a_norm_with_statistics_of_the_parent_keeps_them(tmp_path: Path) -> None:
    spec = replace(SPEC, norm=Part("batch_norm"))
    own = Parent(spec, noisy(spec).state_dict(), "noise")
    replace_layers(own, PLAN, DATA, replace(RECIPE, epochs=1), out=tmp_path / "new")
    state = load_model(tmp_path / "new")[1]
    mean = "running_mean"
    names = [name for name in state if name.startswith("stages.2.0.norm2") and name.endswith(mean)]
    assert names
    for name in names:
        assert torch.equal(state[name], own.state[name.replace("stages.2.0", "stages.0.3")])


def test_the_distance_of_the_parent_to_itself_is_nothing() -> None:
    replacement = replaced(SPEC, Plan(layers=((1, 2),), mixer=Part("attention"), class_tokens="among"))
    teacher = replacement.teacher(parent().state)
    found = Objective(replacement, teacher, Distil(loss="mse"), RECIPE)
    assert distance(teacher, found, DATA.val) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.5}, "alpha must be from 0 to 1"),
        ({"loss": "msee"}, "did you mean mse"),
        ({"tau": 0.0}, "tau must be above 0"),
        ({"schedule": "cosine"}, "schedule must be constant or linear"),
        ({"random": -0.1}, "random must be from 0 to 1"),
        ({"match": "tokens"}, "match must be stage or logits"),
        ({"start": 1.1}, "start must be from 0 to 1"),
        ({"cache_bytes": -1}, "cache_bytes must be 0 or more"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Distil(**changes)


def test_several_processes_and_second_teachers_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its parent"):
        replace_layers(parent(), PLAN, DATA, replace(RECIPE, teacher="vit"), out=tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one process"):
        replace_layers(parent(), PLAN, DATA, RECIPE, out=tmp_path)


def test_a_parent_is_read_from_a_file_in_timms_format(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=16, num_classes=10, in_chans=1).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "vit.pth")
    found, data = opened("vit_tiny_patch16_16", "digits", weights=str(tmp_path / "vit.pth"))
    ours = Backbone(found.spec).eval()
    ours.load_state_dict(found.state)
    images = data.val.normalised(data.val.pixels[:2])
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)
    assert found.label == "vit.pth"
    with pytest.raises(UserError, match=r"vit\.pth does not fit vit_pico_patch4_8 for 10 classes"):
        opened("vit_pico_patch4_8", "digits", weights=str(tmp_path / "vit.pth"))
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot read weights"):
        opened("vit_pico_patch4_8", "digits", weights=str(tmp_path / "bad.pth"))
    with pytest.raises(UserError, match="no such file"):
        opened("vit_pico_patch4_8", "digits", weights=str(tmp_path / "none.pth"))


COPY = Plan(layers=((1, 2),), mixer=Part("attention"), class_tokens="among")


def test_tables_of_positions_in_a_file_are_brought_to_the_size_asked_for(tmp_path: Path) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10, in_chans=1)
    with torch.no_grad():
        theirs.pos_embed[:, 1:] = torch.arange(4.0).view(1, 4, 1)  # of a grid of 2 x 2
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    found, _ = opened("vit_tiny_patch16_32", "digits", weights=str(tmp_path / "vit.pth"), img_size=64)
    table = found.state["position.table"]
    assert found.spec.image_px == 64
    assert torch.equal(table[:, 0], theirs.pos_embed[:, 0])
    rows = table[0, 1:, 0].view(4, 4)
    assert rows[0, 0] < rows[0, 3] < rows[3, 3]  # places in between have values in between


def test_a_copy_of_a_stage_begins_on_the_line_from_new_weights_to_the_parents() -> None:
    replacement, state = replaced(SPEC, COPY), parent().state
    own = noisy(replacement.spec, seed=5).state_dict()
    for start in (0.0, 0.25, 1.0):
        student = noisy(replacement.spec, seed=5)
        replacement.prepare(student, state, start=start)
        for name in ("mixer.qkv.weight", "mlp.fc1.bias", "norm2.weight"):
            new, old = own[f"stages.1.1.{name}"], state[f"stages.0.2.{name}"]
            torch.testing.assert_close(student.state_dict()[f"stages.1.1.{name}"], (1 - start) * new + start * old)
    torch.testing.assert_close(student(pixels()), noisy(SPEC)(pixels()))


def test_a_copy_that_begins_as_the_parent_has_nothing_to_learn_and_one_on_the_way_has_less(tmp_path: Path) -> None:
    recipe = replace(RECIPE, weight_decay=0.0, epochs=1)
    apart = []
    for start in (0.0, 0.75, 1.0):
        distil = Distil(alpha=1.0, loss="mse", random=1.0, start=start)
        done = replace_layers(parent(), COPY, DATA, recipe, out=tmp_path / str(start), distil=distil)
        apart.append(done.distance)
    assert apart[0] > apart[1] > apart[2]
    assert apart[2] < 1e-9
    assert "begun 1 of the way to the parent" in str(done.rows[0].conditions.recipe)


def test_a_stage_that_is_no_copy_cannot_begin_near_the_parent(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only where a stage is a copy"):
        replace_layers(parent(), PLAN, DATA, RECIPE, out=tmp_path, distil=Distil(start=0.5))


def other(name: str, count: int, value: int = 0) -> Images:
    """So many equal images of one byte; with labels that no model here knows."""
    pixels = torch.full((count, 1, 8, 8), value, dtype=torch.uint8)
    classes = tuple(map(str, range(99)))
    return Images(
        name=name, split="train", pixels=pixels, labels=torch.full((count,), 98), class_names=classes, mean=(0.5,),
        std=(0.25,),
    )  # fmt: skip


def test_other_sets_take_the_place_of_images_in_the_distillation_alone() -> None:
    sets = (OtherSet(other("black", 9), 0.5), OtherSet(other("white", 9, 255), 1 / 6))
    found, student = objective(alpha=1.0, loss="mse", sets=sets)
    total, labels = found(step(student, pixels()))
    seen = torch.cat(
        (torch.full((3, 1, 8, 8), -2.0), torch.full((1, 1, 8, 8), 2.0), pixels()[4:])
    )  # 0 and 1, normalised
    plain, _ = objective(alpha=1.0, loss="mse")
    torch.testing.assert_close(total, plain(step(student, seen))[0])
    torch.testing.assert_close(labels, plain(step(student, pixels()))[1])


def test_noise_and_other_sets_share_a_batch_and_leave_the_rest_to_the_data() -> None:
    found, student = objective(alpha=1.0, match="logits", random=0.5, sets=(OtherSet(other("white", 3, 255), 0.5),))
    torch.manual_seed(7)
    total, _ = found(step(student, pixels()))
    torch.manual_seed(7)
    seen = torch.cat((torch.randn(3, 1, 8, 8), torch.full((3, 1, 8, 8), 2.0)))
    plain, _ = objective(alpha=1.0, match="logits")
    torch.testing.assert_close(total, plain(step(student, seen))[0])


def test_labels_alone_look_at_no_other_set() -> None:
    black = other("black", 2)
    found, student = objective(alpha=0.0, sets=(OtherSet(black, 1.0),))
    plain, _ = objective(alpha=0.0)
    torch.testing.assert_close(found(step(student, pixels())), plain(step(student, pixels())))


def test_other_sets_are_brought_to_the_looks_of_the_data_and_told_in_rows() -> None:
    like = DATA.train
    found = Distil(random=0.1).with_sets(["fake=0.3", "fake/7", "fake/5"], like)
    assert [one.share for one in found.sets] == pytest.approx([0.3, 0.2, 0.2])  # of what is left the data have 0.2
    for one in found.sets:
        assert one.images.pixels.shape[1:] == (1, 8, 8)
        assert (one.images.mean, one.images.std) == (like.mean, like.std)
    words = "alpha 0.35 of mean_mse, 10% noise, 30% of fake/10 (512 images), 20% of fake/7 (512 images), 20% of fake/5"
    assert str(found) == f"{words} (512 images)"
    assert Distil().with_sets([], like) == Distil()


def test_colour_images_of_another_size_teach_a_grey_model(tmp_path: Path) -> None:
    distil = Distil(alpha=1.0, loss="mse").with_sets(["digits=0.4", "fake=0.6"], DATA.train)
    done = replace_layers(parent(), PLAN, DATA, replace(RECIPE, epochs=1), out=tmp_path, distil=distil)
    recipe = str(done.rows[0].conditions.recipe)
    assert recipe.endswith(f"40% of digits ({len(open_data('digits').train)} images), 60% of fake/10 (512 images)")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fake=0.7", "fake/7=0.4"], "with noise at most 1 together, got 70% of fake/10"),
        (["fake=0"], "above 0"),
        (["fake=nan"], "above 0"),
        (["fake=1", "fake/7"], "above 0"),
        (["fake=much"], "cannot read the share in 'fake=much'"),
        (["fakke=0.2"], "did you mean fake"),
    ],
)
def test_shares_that_leave_nothing_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Distil().with_sets(names, DATA.train)
    assert "\n" not in str(error.value)


def test_a_run_on_other_sets_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    distil = Distil(random=0.2).with_sets(["fake=0.3", "digits=0.3"], DATA.train)
    recipe = replace(RECIPE, dropout=0.1)

    def stop(tick: Any) -> None:
        if tick.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path / "a", distil=distil, progress=stop)
    replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path / "a", distil=distil)
    replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path / "b", distil=distil)
    ours, theirs = load_model(tmp_path / "a")[1], load_model(tmp_path / "b")[1]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(UserError, match="weights it begins with"):
        replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path / "a", distil=replace(distil, sets=()))


def test_curves_judge_the_model_after_every_epoch_on_training_images_and_on_those_held_out(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=3, held_out=0.25)
    done = replace_layers(parent(), PLAN, DATA, recipe, out=tmp_path, curves=True)
    curves = done.rows[0].origin.timing["curves"]
    assert (list(curves), curves["epoch"]) == (["epoch", "train", HELD_OUT], [1, 2, 3])
    assert curves[HELD_OUT]["top1"] == [value for _, value in done.rows[0].origin.timing["curve"]]
    train = DATA.train.part(torch.arange(96))
    spec, state = load_model(tmp_path / "epoch-0003")
    last = Backbone(spec)
    last.load_state_dict(state)
    assert curves["train"]["label_loss"][-1] != pytest.approx(score(last, train).loss)  # a quarter is held out
    teacher = done.replacement.teacher(parent().state)
    found = Objective(done.replacement, teacher, Distil(), recipe)
    assert distance(last, found, DATA.val) == pytest.approx(done.distance)
    assert all(len(values) == 3 for part in ("train", HELD_OUT) for values in curves[part].values())
    whole = replace_layers(parent(), PLAN, DATA, replace(RECIPE, epochs=1), out=tmp_path / "whole", curves=True)
    curves = whole.rows[0].origin.timing["curves"]
    assert curves["val"]["distillation_loss"] == [pytest.approx(whole.distance)]
    trained = Backbone(spec)
    trained.load_state_dict(load_model(tmp_path / "whole")[1])
    assert curves["train"]["label_loss"] == [pytest.approx(score(trained, train).loss)]


def test_curves_of_a_run_whose_models_were_not_kept_are_refused(tmp_path: Path) -> None:
    replace_layers(parent(), PLAN, DATA, replace(RECIPE, epochs=2), out=tmp_path)
    with pytest.raises(UserError, match="does not have the model after epoch 1"):
        replace_layers(parent(), PLAN, DATA, replace(RECIPE, epochs=2), out=tmp_path, curves=True)
