from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.training.data import Data, open_data
from paretovit.training.data.fake import Fake
from paretovit.training.folder import BEST
from paretovit.training.loop import STATE, Execution, TrainResult, how_trained, make_optimizer, train
from paretovit.training.progress import Tick, Watch
from paretovit.training.recipe import Recipe
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import SPEC, WEIGHTS, load_about, load_model, save_model

STEPS = 6  # of an epoch: 200 digits in batches of 32


class Killed(BaseException):
    """Ends a run without letting it tidy up, as kill -9 does."""


def stopping_at(step: int, error: BaseException) -> Watch:
    def watch(tick: Tick) -> None:
        if tick.done == step:
            raise error

    return watch


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder)[1]


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def qualities(result: TrainResult) -> dict[str, float | None]:
    """The values that must come out the same twice: all but the times."""
    rows = {row.indicator: row.value for row in result.rows if row.unit != "s"}
    return rows | {"curve": result.rows[0].origin.timing["curve"]}


@pytest.fixture
def whole_run(tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe) -> TrainResult:
    return train(small_spec, few_digits, short, out=tmp_path / "whole")


def test_a_small_model_learns_the_digits(tmp_path: Path, small_spec: ModelSpec, short: Recipe):
    recipe = replace(short, epochs=6, drop_path=0.0, crop_padding=0)
    result = train(small_spec, open_data("digits"), recipe, out=tmp_path)
    rows = {row.indicator: row.value for row in result.rows}
    assert rows["top1"] > 0.5  # chance is 0.1
    assert rows["images_seen"] == 6 * 44 * 32  # 44 full batches in 1,437 images
    assert not result.module.training


def test_the_checkpoint_is_the_trained_model(whole_run: TrainResult, small_spec: ModelSpec):
    spec, state = load_model(whole_run.checkpoint)
    assert spec == small_spec
    assert all(torch.equal(state[name], tensor) for name, tensor in whole_run.module.state_dict().items())


@pytest.mark.parametrize("step", [1, STEPS, STEPS + 3, 2 * STEPS + 5])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, whole_run: TrainResult, small_spec: ModelSpec, few_digits: Data, short: Recipe, step: int
):
    with pytest.raises(Killed):
        train(small_spec, few_digits, short, out=tmp_path / "cut", progress=stopping_at(step, Killed()))
    torch.rand(100)  # whatever else the program draws in between does not matter
    resumed = train(small_spec, few_digits, short, out=tmp_path / "cut")
    assert same_weights(tmp_path / "cut", whole_run.checkpoint)
    assert qualities(resumed) == qualities(whole_run)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("count", range(1, 14))
def test_a_kill_at_any_moment_of_saving_loses_at_most_an_epoch_and_no_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_spec: ModelSpec,
    few_digits: Data,
    short: Recipe,
    call: str,
    count: int,
):
    short = replace(short, epochs=2)
    whole = train(small_spec, few_digits, short, out=tmp_path / "whole")
    made, real = 0, getattr(os, call)

    def counted(*arguments: object) -> None:
        nonlocal made
        made += 1
        if made == count:
            raise Killed
        real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, counted)
        try:
            train(small_spec, few_digits, short, out=tmp_path / "cut")
        except Killed:
            if (tmp_path / "cut" / WEIGHTS).exists():
                assert build(small_spec).load_state_dict(weights(tmp_path / "cut"))
    resumed = train(small_spec, few_digits, short, out=tmp_path / "cut")
    assert same_weights(tmp_path / "cut", whole.checkpoint)
    assert qualities(resumed) == qualities(whole)


def test_a_finished_run_is_not_run_again(
    whole_run: TrainResult, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    again = train(small_spec, few_digits, short, out=whole_run.checkpoint, progress=stopping_at(1, Killed()))
    assert again.rows == whole_run.rows


def test_starting_over_replaces_what_was_there(
    whole_run: TrainResult, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    other = replace(short, seed=1)
    result = train(small_spec, few_digits, other, out=whole_run.checkpoint, resume=False)
    assert result.rows[0].conditions.seed == 1
    assert qualities(result) != qualities(whole_run)


def test_starting_over_never_leaves_old_weights_beside_a_new_spec(
    whole_run: TrainResult, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    other = replace(small_spec, patch_px=2)
    with pytest.raises(Killed):
        train(other, few_digits, short, out=whole_run.checkpoint, resume=False, progress=stopping_at(1, Killed()))
    with pytest.raises(UserError, match="no checkpoint"):
        load_model(whole_run.checkpoint)


def test_a_folder_with_another_training_is_left_alone(
    whole_run: TrainResult, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    before = weights(whole_run.checkpoint)
    out = whole_run.checkpoint
    with pytest.raises(UserError, match=r"recipe field lr 0.003, not 0.001"):
        train(small_spec, few_digits, replace(short, lr=0.001), out=out)
    with pytest.raises(UserError, match=r"model small .*, not small "):
        train(replace(small_spec, patch_px=2), few_digits, short, out=out)
    with pytest.raises(UserError, match=r"data digits .200 and 60 images., not digits .1437 and 360"):
        train(small_spec, open_data("digits"), short, out=out)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(out).items())


def test_a_model_that_was_not_trained_here_is_not_overwritten(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    save_model(tmp_path, small_spec, build(small_spec))
    before = weights(tmp_path)
    with pytest.raises(UserError, match="give another --out"):
        train(small_spec, few_digits, short, out=tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(tmp_path).items())


def test_a_checkpoint_tells_how_it_was_trained(tmp_path: Path, whole_run: TrainResult, small_spec: ModelSpec):
    assert how_trained(whole_run.checkpoint) == ("short", 0)
    save_model(tmp_path / "untrained", small_spec, build(small_spec))
    assert how_trained(tmp_path / "untrained") == (None, None)


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    with pytest.raises(KeyboardInterrupt, match=r"epoch 2 of 3 is kept after step 2 of 6 in .*--resume"):
        train(small_spec, few_digits, short, out=tmp_path, progress=stopping_at(STEPS + 2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt, match=r"epoch 1 of 3 is kept after step 2 of 6 in .*--resume"):
        train(small_spec, few_digits, short, out=tmp_path / "new", progress=stopping_at(2, KeyboardInterrupt()))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    wild = replace(short, lr=1e30, clip_grad=None, warmup_epochs=0)
    says = r"^small: loss \S+ with gradient norm \S+ at step 2 \(gradients: not finite in [^\n]+\); no epoch [^\n]*lr$"
    with pytest.raises(UserError, match=says):
        train(small_spec, few_digits, wild, out=tmp_path)


@contextmanager
def disk_with_room_for(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_last_epoch_that_was_saved(
    tmp_path: Path, whole_run: TrainResult, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    out = tmp_path / "cut"
    with pytest.raises(Killed):
        train(small_spec, few_digits, short, out=out, progress=stopping_at(STEPS + 1, Killed()))
    with disk_with_room_for((out / STATE).stat().st_size // 2), pytest.raises(UserError, match=r"cannot write [^\n]*$"):
        train(small_spec, few_digits, short, out=out)
    assert sorted(path.name for path in out.iterdir()) == [BEST, WEIGHTS, SPEC, STATE]
    assert qualities(train(small_spec, few_digits, short, out=out)) == qualities(whole_run)


def test_a_damaged_training_state_is_one_line(
    whole_run: TrainResult, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    file = whole_run.checkpoint / STATE
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"^cannot read .*{STATE}: [^\n]+$"):
        train(small_spec, few_digits, short, out=whole_run.checkpoint)


def test_made_up_images_yield_costs_and_no_accuracy(tmp_path: Path, small_spec: ModelSpec, short: Recipe):
    fake = Data(Fake(), "", 8, 1)
    result = train(small_spec, fake, replace(short, epochs=1, batch_size=256), out=tmp_path)
    assert {row.indicator for row in result.rows} == {"images_seen", "train_time_s", "train_epoch_s"}


def test_a_model_for_other_images_is_refused_before_it_is_built(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    with pytest.raises(UserError, match="--num-classes 10"):
        train(replace(small_spec, num_classes=1000), few_digits, short, out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("device", "says"), [("tpu", "unknown device"), ("cuda:99", "CUDA")])
def test_a_device_that_is_not_there_is_refused(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe, device: str, says: str
):
    with pytest.raises(UserError, match=says):
        train(small_spec, few_digits, short, out=tmp_path, device=device)


def test_an_auxiliary_loss_trains_only_where_the_recipe_weighs_it(tmp_path: Path, few_digits: Data, short: Recipe):
    stage = Stage(depth=1, dim=16, heads=2, mlp=Part.of("switch", experts=2))
    spec = ModelSpec(name="switch", stages=(stage,), image_px=8, patch_px=4, in_chans=1, num_classes=10)
    short = replace(short, epochs=1)
    for name, aux_weights in {
        "plain": (),
        "zero": (("switch_balance", 0.0),),
        "unknown": (("of_another_model", 5.0),),
        "weighed": (("switch_balance", 5.0),),
    }.items():
        train(spec, few_digits, replace(short, aux_weights=aux_weights), out=tmp_path / name)
    assert same_weights(tmp_path / "plain", tmp_path / "zero")
    assert same_weights(tmp_path / "plain", tmp_path / "unknown")
    assert not same_weights(tmp_path / "plain", tmp_path / "weighed")


def test_only_matrices_and_filters_decay(small_spec: ModelSpec, short: Recipe):
    module = build(small_spec)
    free = [p for g in make_optimizer(module, short).param_groups if g["weight_decay"] == 0 for p in g["params"]]
    names = {name for name, parameter in module.named_parameters() if any(parameter is other for other in free)}
    decayed = {name for name, _ in module.named_parameters()} - names
    assert decayed
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)
    assert "class_token" in names
    assert any(name.startswith("position.") for name in names)


def test_all_parameters_decay_where_the_recipe_says_so(small_spec: ModelSpec, short: Recipe):
    groups = make_optimizer(build(small_spec), replace(short, decay_all=True)).param_groups
    assert {group["weight_decay"] for group in groups} == {short.weight_decay}


def test_mixed_precision_learns_as_well_and_is_a_condition_of_the_times(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    exact = train(small_spec, few_digits, short, out=tmp_path / "exact")
    mixed = train(small_spec, few_digits, replace(short, amp_dtype="bfloat16"), out=tmp_path / "mixed")
    losses = [next(row.value for row in r.rows if row.indicator == "train_loss") for r in (exact, mixed)]
    assert losses[0] != losses[1]
    assert abs(losses[0] - losses[1]) < 0.05
    assert {row.conditions.dtype for row in mixed.rows if row.indicator.endswith("_s")} == {"bfloat16"}
    assert all(p.dtype == torch.float32 for p in mixed.module.parameters())
    with pytest.raises(UserError, match="amp_dtype must be float32, bfloat16 or float16, got int8"):
        replace(short, amp_dtype="int8")


@pytest.mark.parametrize("opt", ["sgd", "lamb"])
def test_other_optimizers_of_timm_resume_as_exactly(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe, opt: str
):
    recipe = replace(short, opt=opt, epochs=2)
    train(small_spec, few_digits, recipe, out=tmp_path / "whole")
    with pytest.raises(Killed):
        train(small_spec, few_digits, recipe, out=tmp_path / "cut", progress=stopping_at(STEPS + 1, Killed()))
    train(small_spec, few_digits, recipe, out=tmp_path / "cut")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_an_unknown_optimizer_is_answered_with_the_nearest(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    with pytest.raises(UserError, match=r"unknown optimizer 'adamww'; did you mean adamw"):
        train(small_spec, few_digits, replace(short, opt="adamww"), out=tmp_path)


def test_every_step_is_reported_with_the_accuracy_of_the_epoch_before(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    ticks: list[Tick] = []
    result = train(small_spec, few_digits, short, out=tmp_path, progress=ticks.append)
    curve = dict(result.rows[0].origin.timing["curve"])
    assert [(tick.epoch, tick.done, tick.total) for tick in ticks] == [(1 + i // STEPS, i + 1, 18) for i in range(18)]
    assert [tick.score for tick in ticks] == [None] * STEPS + [curve[1]] * STEPS + [curve[2]] * STEPS


@pytest.mark.slow
def test_a_compiled_model_learns_as_one_that_is_not_and_is_kept_under_the_same_names(
    tmp_path: Path, small_spec, few_digits, short
):
    recipe = replace(short, epochs=2, drop_path=0.0, accumulate=2, ema=0.9)
    plain = train(small_spec, few_digits, recipe, out=tmp_path / "plain")
    compiled = train(small_spec, few_digits, recipe, out=tmp_path / "fast", execution=Execution(compile=True))
    # not the weights: the bias of keys has no gradient but rounding, which AdamW makes steps of
    pixels = few_digits.val.normalised(few_digits.val.pixels)
    torch.testing.assert_close(compiled.module(pixels), plain.module(pixels), atol=2e-3, rtol=1e-3)
    losses = [[e["loss"] for e in load_about(r.checkpoint / STATE)["epochs"]] for r in (plain, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert load_model(tmp_path / "fast")[1].keys() == load_model(tmp_path / "plain")[1].keys()


@pytest.mark.slow
def test_a_compiled_training_that_was_stopped_goes_on(tmp_path: Path, small_spec, few_digits, short):
    def stop(tick: Tick) -> None:
        if tick.done == 8:
            raise KeyboardInterrupt

    compiled = Execution(compile=True)
    whole = train(small_spec, few_digits, short, out=tmp_path / "whole", execution=compiled)
    with pytest.raises(KeyboardInterrupt):
        train(small_spec, few_digits, short, out=tmp_path / "cut", execution=compiled, progress=stop)
    cut = train(small_spec, few_digits, short, out=tmp_path / "cut", execution=compiled)
    pixels = few_digits.val.normalised(few_digits.val.pixels)
    torch.testing.assert_close(cut.module(pixels), whole.module(pixels), atol=2e-3, rtol=1e-3)
