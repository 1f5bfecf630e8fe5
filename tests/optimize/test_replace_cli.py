"""`paretovit replace` as a stranger types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from paretovit import cli
from paretovit.store import Store
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import load_model, save_model


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs `paretovit replace WORDS` beside a parent in `parent`: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    spec = resolve("vit_pico_patch4_8", in_chans=1, num_classes=10)
    save_model(Path("parent"), spec, build(spec))

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paretovit", "replace", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


def test_a_parent_and_what_took_its_place_stand_side_by_side_and_the_result_is_a_model(run):
    words = ["parent", "--layers", "1-2", "--mixer", "pooling", "--data", "digits", "--epochs", "1", "--out", "new"]
    words += ["--set", "train_images=160", "--set", "warmup_epochs=0"]
    words += ["--embed", "--depth", "1", "--alpha", "0.5", "--loss", "mse"]
    code, out, _ = run(*words)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    for word in ("vit_pico_patch4_8_pooling_1-2_embed", "top-1", "new / parent", "Distillation loss"):
        assert word in out
    spec, _ = load_model(Path("new"))
    assert [(stage.depth, stage.mixer.name) for stage in spec.stages] == [
        (1, "attention"), (1, "pooling"), (1, "attention"),
    ]  # fmt: skip
    code, out, _ = run(*words, "--json")  # what is finished is not done again
    found = json.loads(out)
    assert {"params", "macs", "top1", "train_time_s"} <= {row["indicator"] for row in found["rows"]}
    recipes = {row["conditions"].get("recipe") for row in found["rows"] if row["indicator"] == "train_time_s"}
    assert "alpha 0.5 of mse" in recipes.pop()


def test_a_budget_is_chosen_for_and_everything_tried_is_shown(run):
    words = ["parent", "--budget", "macs=0.8x", "--mixers", "identity", "--pieces", "3", "--beam", "1", "--data"]
    words += ["digits", "--epochs", "1", "--out", "auto", "--set", "train_images=160", "--set", "warmup_epochs=0"]
    code, out, err = run(*words)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    for word in ("which layers to replace for macs=0.8x", "chosen", "late", "new / parent"):
        assert word in out
    assert "after the full training" in err
    load_model(Path("auto/model"))
    code, out, err = run(*words, "--json")  # what is finished is not done again
    found = json.loads(out)
    assert (code, found["chosen"]) == (0, load_model(Path("auto/model"))[0].key)


def test_stretches_may_have_mixers_of_their_own(run):
    words = ["parent", "--layers", "0,2", "--mixer", "pooling,identity", "--data", "digits", "--epochs", "1"]
    assert run(*words, "--out", "new", "--set", "train_images=160", "--set", "warmup_epochs=0")[0] == 0
    spec, _ = load_model(Path("new"))
    assert [stage.mixer.name for stage in spec.stages] == ["pooling", "attention", "identity", "attention"]
    assert spec.name == "vit_pico_patch4_8_pooling_0_identity_2"


def test_each_mixer_named_makes_a_model_of_its_own_beside_the_parent(run):
    words = ["parent", "--layers", "1-2", "--mixer", "pooling", "--mixer", "focal", "--mixer", "identity", "--data"]
    words += ["digits", "--epochs", "1", "--out", "new", "--set", "train_images=160", "--set", "warmup_epochs=0"]
    code, out, _ = run(*words, "--curves", "--distill-data", "fake=0.25", "--distill-data", "digits")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("new / parent") == 3
    assert out.count("Distillation loss") == 3
    for mixer in ("pooling", "focal", "identity"):
        assert load_model(Path("new", mixer))[0].name == f"vit_pico_patch4_8_{mixer}_1-2"
    code, out, _ = run(*words, "--curves", "--distill-data", "fake=0.25", "--distill-data", "digits", "--json")
    found = json.loads(out)
    assert [one["model"] for one in found] == [f"vit_pico_patch4_8_{m}_1-2" for m in ("pooling", "focal", "identity")]
    top1 = next(row for row in found[0]["rows"] if "25% of fake/10" in str(row["conditions"].get("recipe")))
    assert "37.5% of digits" in top1["conditions"]["recipe"]
    assert top1["origin"]["timing"]["curves"]["epoch"] == [1]


@pytest.mark.slow
def test_accuracy_macs_and_latency_of_all_are_measured_beside_the_parents(run):
    words = [
        "parent",
        "--layers",
        "1-2",
        "--mixer",
        "pooling",
        "--mixer",
        "identity",
        "--data",
        "digits",
        "--out",
        "new",
    ]
    code, out, _ = run(*words, "--epochs", "1", "--set", "warmup_epochs=0", "--measure", "--store", "rows.sqlite")
    assert code == 0
    assert "latency" in out
    lines = [line.split() for line in out.splitlines() if line.startswith("vit_pico")]
    assert [len(line) for line in lines[-3:]] == [5, 5, 5]  # the name, and four numbers
    with Store("rows.sqlite") as store:
        assert len(store.rows("latency_s")) == len(store.rows("params")) == 3


def test_a_parent_from_a_file_may_be_of_another_image_size(run):
    spec = resolve("vit_pico_patch4_8", img_size=16, in_chans=1, num_classes=10)
    torch.save(build(spec).state_dict(), "weights.pth")
    words = ["vit_pico_patch4_8", "--weights", "weights.pth", "--layers", "1-2", "--mixer", "pooling", "--data"]
    words += ["digits", "--epochs", "1", "--out", "new", "--set", "train_images=160", "--set", "warmup_epochs=0"]
    assert run(*words, "--img-size", "16")[0] == 0
    assert load_model(Path("new"))[0].image_px == 16
    assert run(*words, "--out", "small")[0] == 0  # the places of 16 px brought to those of 8
    assert load_model(Path("small"))[0].image_px == 8
    torch.save(build(resolve("vit_nano_patch4_8", in_chans=1, num_classes=10)).state_dict(), "weights.pth")
    code, _, err = run(*words, "--out", "wide")
    assert code == 2
    assert "does not fit" in err


CHOICE = ["--data", "digits", "--out", "new"]
PLAIN = ["--mixer", "focal", "--layers", "1-2", "--data", "digits", "--out", "new"]
BAD = [
    (["parent", *PLAIN, "--layers", "2-5"], "has 4 layers, from 0 to 3"),
    (["parent", *PLAIN, "--layers", "2"], "the layers 2 overlap"),
    (["parent", *PLAIN, "--layers", "x"], "cannot read the layers"),
    (["parent", *PLAIN, "--layers", "3"], "(--class-mixer)"),
    (["parent", *PLAIN, "--mixer", "fokal"], "did you mean focal"),
    (["parent", *PLAIN, "--class-token-among"], "cannot carry class tokens"),
    (["parent", *PLAIN, "--class-token-among", "--class-mixer"], "give one of the two"),
    (["parent", *PLAIN, "--mixer", "focal,pooling"], "2 mixers for 1 stretches"),
    (["parent", *PLAIN, "--distill-data", "fake=2"], "with noise at most 1 together"),
    (["parent", *PLAIN, "--distill-data", "fakke"], "did you mean fake"),
    (["parent", *CHOICE, "--budget", "macs=0.7x", "--curves"], "--curves is for one plan"),
    (["parent", *PLAIN, "--start", "0.5"], "only where a stage is a copy"),
    (["parent", *CHOICE], "or what it may cost"),
    (["parent", *PLAIN, "--budget", "macs=0.7x"], "--budget chooses layers"),
    (["parent", *CHOICE, "--budget", "macs"], "no budget"),
    (["parent", *CHOICE, "--budget", "macs=3x"], "keeps the budget"),
    (["parent", *CHOICE, "--budget", "macs=0.1x"], "nothing reaches"),
    (["parent", *CHOICE, "--budget", "macs=0.7x", "--mixers", "fokal"], "did you mean focal"),
    (["parent", *PLAIN, "--loss", "mes"], "did you mean mse"),
    (["parent", *PLAIN, "--alpha", "2"], "alpha must be from 0 to 1"),
    (["parent", *PLAIN, "--depth", "0"], "at least 1 deep"),
    (["parent", *PLAIN, "--width", "0"], "at least 1 wide"),
    (["parent", *PLAIN[2:], "--mixer", "attention", "--width", "33"], "33"),
    (["parent", *PLAIN, "--recipe", "dmeo"], "did you mean demo"),
    (["parent", *PLAIN, "--weights", "a.pth"], "has weights of its own"),
    (["vit_pico_patch4_8", *PLAIN], "has no trained weights"),
    (["vit_pico_patch4_8", *PLAIN, "--weights", "a.pth"], "no such file"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_one_line_and_exit_code_2(run, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.strip().count("\n") == 0
    assert not Path("new").exists()
