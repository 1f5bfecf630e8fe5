"""A run that is killed, interrupted or refused: nothing is lost and nothing differs."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part
from paretovit.training.data import Data
from paretovit.training.folder import BEST, exclusive
from paretovit.training.loop import STATE, Begin, Execution, train
from paretovit.training.optimizer import make_optimizer, with_dropout
from paretovit.training.progress import Tick, Watch
from paretovit.training.recipe import DEMO, Recipe
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import load_about, load_model

STEPS = 6  # of an epoch: 200 digits in batches of 32

EVERYTHING = {
    "ema": 0.9,
    "accumulate": 2,
    "dropout": 0.1,
    "hflip": True,
    "crop": "src",
    "augment": "3a",
    "erasing": 0.3,
    "mixup": 0.8,
    "cutmix": 1.0,
    "repeats": 2,
    "layer_decay": 0.8,
}


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


def history(folder: Path) -> list[dict]:
    """What was written of every epoch, but for times and memory."""
    epochs = load_about(folder / STATE)["epochs"]
    for epoch in epochs:
        for timed in ("seconds", "peak_bytes"):
            del epoch[timed]
        del epoch["score"]["seconds"]
    return epochs


@pytest.mark.parametrize("opt", ["adamw", "lamb", "adamp"])
@pytest.mark.parametrize("step", [1, 4, STEPS, STEPS + 2])
def test_a_run_stopped_within_an_epoch_goes_on_bit_for_bit(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe, opt: str, step: int
):
    recipe = replace(short, epochs=2, opt=opt, **EVERYTHING)
    train(small_spec, few_digits, recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(small_spec, few_digits, recipe, out=tmp_path / "cut", progress=stopping_at(step, KeyboardInterrupt()))
    torch.rand(100)
    ticks: list[Tick] = []
    train(small_spec, few_digits, recipe, out=tmp_path / "cut", progress=ticks.append)
    assert ticks[0].done == step + 1, "no step is done twice"
    assert same_weights(tmp_path / "cut", tmp_path / "whole")
    assert history(tmp_path / "cut") == history(tmp_path / "whole")


def test_mixed_precision_with_a_scaler_goes_on_bit_for_bit(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    recipe = replace(short, epochs=2, amp_dtype="float16")
    train(small_spec, few_digits, recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(small_spec, few_digits, recipe, out=tmp_path / "cut", progress=stopping_at(8, KeyboardInterrupt()))
    assert load_about(tmp_path / "cut" / STATE)["scaler"]["_growth_tracker"] == 8
    train(small_spec, few_digits, recipe, out=tmp_path / "cut")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_a_state_written_within_an_epoch_is_enough_after_a_kill(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    recipe, often = replace(short, epochs=2), Execution(save_every_s=1e-9)
    train(small_spec, few_digits, recipe, out=tmp_path / "whole")
    with pytest.raises(Killed):
        train(small_spec, few_digits, recipe, out=tmp_path / "cut", execution=often, progress=stopping_at(5, Killed()))
    assert load_about(tmp_path / "cut" / STATE)["under_way"]["steps"] == 4
    train(small_spec, few_digits, recipe, out=tmp_path / "cut")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


PREPARED = """
import os, signal, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from few_digits import few_digits
from paretovit.spec import ModelSpec, Stage
from paretovit.training.loop import Execution, train
from paretovit.training.recipe import Recipe
spec = ModelSpec(name="small", stages=(Stage(depth=1, dim=16, heads=2),), image_px=8, patch_px=4, in_chans=1,
                 num_classes=10)
recipe = Recipe(name="killed", epochs={epochs}, batch_size=8, lr=3e-3, warmup_epochs=1, drop_path=0.3, crop_padding=1,
                ema=0.9)
def run(**more):
    often = Execution(save_every_s=0.02, keep=2)
    train(spec, few_digits(200, 60), recipe, out=sys.argv[1], execution=often, **more)
"""


def prepared(epochs: int) -> str:
    return PREPARED.format(tests=str(Path(__file__).parents[1]), epochs=epochs)


@pytest.mark.slow
def test_fifty_kills_at_random_moments_change_no_bit(tmp_path: Path):
    code = prepared(epochs=12) + "run()"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([sys.executable, "-c", code, str(whole)], check=True)
    draw, kills, seen, log = random.Random(0), 0, set(), tmp_path / "log"
    while kills < 50:
        with log.open("w") as file:
            process = subprocess.Popen([sys.executable, "-c", code, str(cut)], stderr=file)
        # up to the first state that it writes it only gets ready; after that, any moment
        before = (cut / STATE).stat().st_mtime_ns if (cut / STATE).exists() else 0
        while process.poll() is None and (not (cut / STATE).exists() or (cut / STATE).stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05))
        if process.poll() is not None:
            assert process.returncode == 0, log.read_text()
            assert same_weights(cut, whole)
            assert history(cut) == history(whole)
            shutil.rmtree(cut)  # done before all kills were spent: once more from the beginning
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        about = load_about(cut / STATE)
        seen.add((len(about["epochs"]), about["under_way"]["steps"]))
    subprocess.run([sys.executable, "-c", code, str(cut)], check=True)
    assert len(seen) > 15, "the kills came at too few different steps to say anything"
    assert same_weights(cut, whole)
    assert same_weights(cut / BEST, whole / BEST)
    assert history(cut) == history(whole)
    assert sorted(p.name for p in cut.iterdir()) == sorted(p.name for p in whole.iterdir())


STOPPED = """
came = []
def at_a_bad_moment(module):  # the optimizer has stepped, nothing is counted yet
    if not came:
        came.append(True)
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
try:
    run(after_step=at_a_bad_moment)
except KeyboardInterrupt as stopped:
    print(stopped)
print("restored" if before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) else "changed")
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_a_request_to_stop_finishes_the_step_that_it_comes_in(tmp_path: Path, how: str):
    """In a process of its own: a signal that nobody catches must not end the tests."""
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    command = [sys.executable, "-c", prepared(epochs=2) + STOPPED, str(cut), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"epoch 1 of 2 is kept after step 1 of 25 in .*--resume", done.stdout), done.stdout
    assert done.stdout.endswith("restored\n")
    for out in (cut, whole):
        subprocess.run([sys.executable, "-c", prepared(epochs=2) + "run()", str(out)], check=True)
    assert same_weights(cut, whole)
    assert history(cut) == history(whole)


def test_a_run_in_another_thread_leaves_signals_alone(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    thread = threading.Thread(
        target=lambda: train(small_spec, few_digits, replace(short, epochs=1, warmup_epochs=0), out=tmp_path)
    )
    thread.start()
    thread.join()
    assert (tmp_path / STATE).exists()


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe):
    with exclusive(tmp_path), pytest.raises(UserError, match=r"^another run is training in \S+; [^\n]*--out$"):
        train(small_spec, few_digits, short, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path):
    code = "import sys, os, signal\nfrom pathlib import Path\nfrom paretovit.training.folder import exclusive\n"
    code += "with exclusive(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    with exclusive(tmp_path):
        pass


def test_the_last_epochs_and_the_best_are_kept(tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe):
    recipe = replace(short, epochs=5)
    result = train(small_spec, few_digits, recipe, out=tmp_path, execution=Execution(keep=2))
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [BEST, "epoch-0004", "epoch-0005"]
    assert same_weights(tmp_path / "epoch-0005", tmp_path)
    assert not same_weights(tmp_path / "epoch-0004", tmp_path)
    curve = [accuracy for _, accuracy in result.rows[0].origin.timing["curve"]]
    first_best = curve.index(max(curve)) + 1
    again = train(small_spec, few_digits, recipe, out=tmp_path / "again", execution=Execution(keep=5))
    assert same_weights(tmp_path / BEST, again.checkpoint / f"epoch-{first_best:04}")


def test_the_averaged_weights_are_judged_and_kept(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    recipe = replace(short, epochs=1, warmup_epochs=0, drop_path=0.0)
    seen: list[dict[str, torch.Tensor]] = []

    def note(module: nn.Module) -> None:
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})

    plain = train(small_spec, few_digits, recipe, out=tmp_path / "plain", after_step=note)
    averaged = train(small_spec, few_digits, replace(recipe, ema=0.75), out=tmp_path / "averaged")
    torch.manual_seed(0)
    name = "head.weight"
    begun = begin_weights(small_spec, recipe)[name]
    for step in seen:
        begun = 0.75 * begun + 0.25 * step[name]
    torch.testing.assert_close(weights(averaged.checkpoint)[name], begun)
    assert not torch.equal(weights(plain.checkpoint)[name], weights(averaged.checkpoint)[name])


def begin_weights(spec: ModelSpec, recipe: Recipe) -> dict[str, torch.Tensor]:
    from paretovit.training.batches import seed_of

    torch.manual_seed(seed_of(recipe, "initial weights"))
    return build(spec).state_dict()


def test_a_batch_in_parts_gives_the_gradient_of_the_whole(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    recipe = replace(short, epochs=1, warmup_epochs=0, drop_path=0.0, opt="sgd")
    for accumulate in (1, 4):
        train(small_spec, few_digits, replace(recipe, accumulate=accumulate), out=tmp_path / str(accumulate))
    one, four = weights(tmp_path / "1"), weights(tmp_path / "4")
    for name in one:
        torch.testing.assert_close(one[name], four[name], atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="accumulate must be a divisor of batch_size"):
        replace(recipe, accumulate=5)


def test_recomputing_activations_changes_nothing_but_the_memory(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    recipe = replace(short, epochs=1, warmup_epochs=0)
    train(small_spec, few_digits, recipe, out=tmp_path / "plain")
    train(small_spec, few_digits, recipe, out=tmp_path / "again", execution=Execution(checkpointing=True))
    assert same_weights(tmp_path / "plain", tmp_path / "again")


def test_layers_nearer_to_the_head_learn_faster(small_spec: ModelSpec):
    groups = make_optimizer(build(small_spec), replace(DEMO, layer_decay=0.5)).param_groups
    scales = {group["lr_scale"] for group in groups}
    assert scales == {1.0, 0.5, 0.25, 0.125}  # head; block 1; block 0; stem


def test_dropout_is_on_while_training_and_only_for_models_on_the_skeleton(small_spec: ModelSpec):
    module, image = build(small_spec), torch.rand(2, 1, 8, 8)
    before = module.eval()(image)
    with_dropout(module, 0.5)
    assert torch.equal(module.eval()(image), before)
    assert not torch.equal(module.train()(image), module(image))
    with pytest.raises(UserError, match="models on the skeleton"):
        with_dropout(nn.Linear(2, 2), 0.1)


def test_random_features_are_redrawn_when_the_recipe_says_so(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    stage = replace(small_spec.stages[0], mixer=Part("performer"))
    spec, drawn = replace(small_spec, stages=(stage,), name="performer"), []

    def note(module: nn.Module) -> None:
        drawn.append(module.stages[0][0].mixer.projection.sum().item())

    recipe = replace(short, epochs=2, redraw_every=4)
    train(spec, few_digits, recipe, out=tmp_path / "whole", after_step=note)
    changed = [step for step in range(1, len(drawn)) if drawn[step] != drawn[step - 1]]
    assert changed == [4, 8]
    with pytest.raises(KeyboardInterrupt):
        train(spec, few_digits, recipe, out=tmp_path / "cut", progress=stopping_at(6, KeyboardInterrupt()))
    train(spec, few_digits, recipe, out=tmp_path / "cut")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_a_growing_loss_is_stopped_with_the_layers_to_blame(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    steps: list[int] = []

    def grow(step):
        logits = step.forward(step.pixels)
        loss = nn.functional.cross_entropy(logits, step.targets)
        return loss, loss.detach() * 1.2 ** len(steps)

    with pytest.raises(
        UserError, match=r"^small: the loss has grown from \S+ to \S+ at step \d+ \(gradients: largest in"
    ):
        train(
            small_spec,
            few_digits,
            replace(short, epochs=20),
            out=tmp_path,
            objective=grow,
            after_step=lambda module: steps.append(1),
        )


def test_what_a_run_begins_from_is_in_its_rows_and_in_what_a_folder_holds(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    def frozen(module: nn.Module) -> None:
        module.stem.requires_grad_(False)

    begin = Begin(name="a frozen stem", prepare=frozen)
    result = train(small_spec, few_digits, replace(short, epochs=2), out=tmp_path, begin=begin)
    assert result.rows[0].conditions.recipe == "short, from a frozen stem"
    assert torch.equal(weights(tmp_path)["stem.proj.weight"], begin_weights(small_spec, short)["stem.proj.weight"])
    with pytest.raises(UserError, match="weights it begins with a frozen stem, not new ones"):
        train(small_spec, few_digits, replace(short, epochs=2), out=tmp_path)


def test_the_curve_says_what_had_been_spent_by_each_epoch(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    rows = {row.indicator: row for row in train(small_spec, few_digits, short, out=tmp_path).rows}
    spent = rows["top1"].origin.timing["spent"]
    assert spent["images_seen"] == [192, 384, 576]
    assert spent["train_time_s"][-1] == pytest.approx(rows["train_time_s"].value, abs=0.01)
    assert rows["train_time_s"].origin.timing["process_peak_bytes"] > 10**7
    json.dumps(rows["top1"].to_json())
