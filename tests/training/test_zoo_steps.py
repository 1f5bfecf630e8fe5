"""`benchmarks/zoo_steps.py` on tiny models."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from paretovit.errors import UserError
from paretovit.store import Store
from paretovit.training.data import open_data
from paretovit.training.loop import Steps
from paretovit.zoo.catalog import resolve

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODELS = ["vit_pico_patch2_8", "performer_pico_patch2_8"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("zoo_steps")
    sys.modules.pop("zoo_steps", None)


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *models: str) -> int:
    monkeypatch.setattr(sys, "argv", ["zoo_steps.py", "--data", "digits", "--out", str(out), *models])
    return script.main()


def rows(script: ModuleType, out: Path) -> dict:
    with Store("sqlite://") as store:
        store.import_lines(out)
        return {row.model: row for row in store.rows(script.INDICATOR)}


def test_a_step_lowers_the_loss_and_is_taken_once(script, monkeypatch, tmp_path, capsys):
    out = tmp_path / "steps.jsonl"
    assert run(script, monkeypatch, out, MODELS[0]) == 0
    first = rows(script, out)[MODELS[0]]
    assert run(script, monkeypatch, out, *MODELS) == 0
    found = rows(script, out)
    assert found[MODELS[0]] == first
    assert all(row.value < row.origin.timing["before"] for row in found.values())
    assert "2 of 2 models made a step; the loss is then lower in 2" in capsys.readouterr().out


def test_a_model_that_fails_says_why_and_stops_no_other(script, monkeypatch, tmp_path, capsys):
    out, real = tmp_path / "steps.jsonl", Steps.step

    def step(self: Steps, phase) -> float:
        if any("performer" in type(module).__module__ for module in self.model.modules()):
            raise RuntimeError("no kernel\nfor this")
        return real(self, phase)

    monkeypatch.setattr(Steps, "step", step)
    assert run(script, monkeypatch, out, *reversed(MODELS)) == 1
    found = rows(script, out)
    assert (found[MODELS[1]].value, found[MODELS[1]].why) == (None, "no kernel")
    assert found[MODELS[0]].value is not None
    assert "1 of 2 models made a step" in capsys.readouterr().out


def test_a_model_that_cannot_be_made_says_why_and_stops_no_other(script, monkeypatch, tmp_path):
    out, real = tmp_path / "steps.jsonl", Steps.__init__

    def begin(self: Steps, spec, *others) -> None:
        if spec.name == MODELS[0]:
            raise UserError("no such part; take another")
        real(self, spec, *others)

    monkeypatch.setattr(Steps, "__init__", begin)
    assert run(script, monkeypatch, out, *MODELS) == 1
    found = rows(script, out)
    assert (found[MODELS[0]].value, found[MODELS[0]].why) == (None, "no such part; take another")
    assert found[MODELS[1]].value is not None


def test_pictures_are_brought_to_what_a_model_takes(script):
    pictures = open_data("digits", in_chans=3).train.part(torch.arange(4))
    assert script.shown(pictures, resolve("vit_pico_patch2_16")).pixels.shape == (4, 3, 16, 16)
    clips = script.shown(pictures, resolve("timesformer_divided_tiny_patch8_32")).pixels
    assert clips.shape == (4, 3, 8, 32, 32)
    assert (clips == clips[:, :, :1]).all()
