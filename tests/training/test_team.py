"""Two processes, joined by gloo, do what one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paretovit.errors import UserError
from paretovit.training.loop import Execution, train
from paretovit.training.team import Team
from paretovit.zoo.checkpoint import load_about, load_model, load_tensors

CODE = """
import json, os, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from few_digits import few_digits
from paretovit.spec import ModelSpec, Stage
from paretovit.training.loop import Execution, train
from paretovit.training.recipe import Recipe
spec = ModelSpec(name="small", stages=(Stage(depth=2, dim=32, heads=2),), image_px=8, patch_px=4, in_chans=1,
                 num_classes=10)
recipe = Recipe(name="together", epochs=2, batch_size=32, lr=3e-3, warmup_epochs=1, clip_grad=1.0, crop_padding=1,
                hflip=True, augment="3a", label_smoothing=0.1, **json.loads(sys.argv[2]))
stop = int(sys.argv[3])
fsdp = sys.argv[4] == "True"

def watch(tick):
    if tick.done == stop:
        raise KeyboardInterrupt

try:
    done = train(spec, few_digits(200, 60), recipe, out=sys.argv[1], progress=watch,
                 execution=Execution(fsdp=fsdp, keep=1))
    assert done.is_first == (os.environ.get("RANK", "0") == "0")
    assert done.module(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
except KeyboardInterrupt:
    pass
"""


def run(out: Path, processes: int, *, stop: int = -1, fsdp: bool = False, **changes: object) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = CODE.format(tests=str(Path(__file__).parents[1]))
    started = []
    for rank in range(processes):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        if processes > 1:
            env |= {"WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        words = [sys.executable, "-c", code, str(out), json.dumps(changes), str(stop), str(fsdp)]
        started.append(subprocess.Popen(words, env=env))
    assert [process.wait(timeout=240) for process in started] == [0] * processes


def losses(out: Path) -> list[float]:
    return [epoch["loss"] for epoch in load_about(out / "training.safetensors")["epochs"]]


@pytest.mark.slow
def test_two_processes_have_the_losses_and_weights_of_one(tmp_path: Path):
    pytest.importorskip("accelerate")
    for processes in (1, 2):
        run(tmp_path / str(processes), processes, accumulate=2)
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-4)
    one, two = (load_model(tmp_path / str(n))[1] for n in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-3, rtol=1e-3)
    epochs = [load_about(tmp_path / str(n) / "training.safetensors")["epochs"] for n in (1, 2)]
    assert [e["images"] for e in epochs[0]] == [e["images"] for e in epochs[1]] == [192, 192]
    assert all(e["score"]["images"] == 60 for e in epochs[1]), (
        "the images to judge by are shared out, each counted once"
    )


@pytest.mark.slow
def test_two_processes_that_were_stopped_go_on_bit_for_bit(tmp_path: Path):
    pytest.importorskip("accelerate")
    noisy = {"drop_path": 0.3, "dropout": 0.1}
    run(tmp_path / "whole", 2, **noisy)
    run(tmp_path / "cut", 2, stop=4, **noisy)
    assert load_about(tmp_path / "cut" / "training.safetensors")["under_way"]["steps"] == 4
    run(tmp_path / "cut", 2, **noisy)
    whole, cut = (load_model(tmp_path / name)[1] for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.parametrize("opt", ["adamw", "lamb"])
def test_two_processes_that_share_a_model_out_do_what_one_does(tmp_path: Path, opt: str):
    pytest.importorskip("accelerate")
    changes = {"opt": opt, "ema": 0.9, "accumulate": 2}
    run(tmp_path / "1", 1, **changes)
    run(tmp_path / "2", 2, fsdp=True, **changes)
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-4)
    one, two = (load_tensors(tmp_path / n / "training.safetensors")[0] for n in "12")
    assert {name: tensor.shape for name, tensor in one.items() if "random" not in name} == {
        name: tensor.shape for name, tensor in two.items() if "random" not in name
    }, "an ordinary checkpoint: whole weights, averages and moments"
    for folder in ("", "best", "epoch-0002"):
        one, two = (load_model(tmp_path / n / folder)[1] for n in "12")
        for name in one:
            torch.testing.assert_close(one[name], two[name], atol=1e-3, rtol=1e-3)
    epochs = load_about(tmp_path / "2" / "training.safetensors")["epochs"]
    assert [(e["images"], e["score"]["images"]) for e in epochs] == [(192, 60)] * 2


@pytest.mark.slow
def test_a_model_that_is_shared_out_goes_on_bit_for_bit_or_as_a_whole(tmp_path: Path):
    pytest.importorskip("accelerate")
    run(tmp_path / "whole", 2, fsdp=True, ema=0.9)
    for name in ("cut", "alone"):
        run(tmp_path / name, 2, fsdp=True, stop=4, ema=0.9)
        assert load_about(tmp_path / name / "training.safetensors")["under_way"]["steps"] == 4
    run(tmp_path / "cut", 2, fsdp=True, ema=0.9)
    run(tmp_path / "alone", 1, ema=0.9)
    whole, cut, alone = (load_model(tmp_path / name)[1] for name in ("whole", "cut", "alone"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    assert losses(tmp_path / "alone") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    for name in whole:
        torch.testing.assert_close(alone[name], whole[name], atol=1e-3, rtol=1e-3)


def test_sharing_out_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, small_spec, few_digits, short, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UserError, match=r"^[^\n]*torchrun[^\n]*$"):
        train(small_spec, few_digits, short, out=tmp_path, execution=Execution(fsdp=True))
    with pytest.raises(UserError, match="compiled"):
        Execution(fsdp=True, compile=True)
    half = replace(short, amp_dtype="float16")
    with pytest.raises(UserError, match="bfloat16"):
        train(small_spec, few_digits, half, out=tmp_path, execution=Execution(fsdp=True))


def test_one_process_is_a_team_without_help(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team = Team("cpu")
    module = torch.nn.Linear(1, 1)
    assert (team.rank, team.size, team.is_first) == (0, 1, True)
    assert team.spread(module) is module
    assert team.total(1.5, True) == [1.5, True]


def test_a_tracker_is_told_the_recipe_and_every_epoch(tmp_path: Path, small_spec, few_digits, short):
    tracking = pytest.importorskip("accelerate.tracking")

    class Notes(tracking.GeneralTracker):
        name, requires_logging_directory, tracker = "notes", False, None

        def __init__(self) -> None:
            super().__init__()
            self.config, self.lines = {}, []

        def store_init_configuration(self, values):
            self.config = values

        def log(self, values, step, **how):
            self.lines.append((step, values))

    notes = Notes()
    result = train(small_spec, few_digits, short, out=tmp_path, execution=Execution(trackers=(notes,)))
    assert notes.config["lr"] == short.lr
    curve = dict(result.rows[0].origin.timing["curve"])
    assert [(step, facts["top1"]) for step, facts in notes.lines] == [(6 * epoch, curve[epoch]) for epoch in (1, 2, 3)]


def test_a_tracker_that_is_not_there_is_refused_in_one_line(tmp_path: Path):
    pytest.importorskip("accelerate")
    for name in ("tensorbord", "comet_ml"):
        with pytest.raises(UserError, match=rf"^[^\n]*{name}[^\n]*$"):
            Team("cpu", trackers=(name,), folder=tmp_path)
