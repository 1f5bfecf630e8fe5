"""The command line: what a stranger types, what comes back, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from paretovit import cli
from paretovit.store import Store


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs `paretovit WORDS` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paretovit", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


BAD = [
    (["nonsense"], "No such command 'nonsense'"),
    (["count"], "Missing argument 'MODEL...'"),
    (["count", "vit_tinny_patch16_224"], "did you mean vit_tiny_patch16_224"),
    (["count", "nothing_like_it*"], "no catalog model matches"),
    (["count", "vit_tiny_patch16_224", "--img-size", "230"], "not divisible by the patch size 16; use 224 or 240 px"),
    (["count", "vit_tiny_patch16_224", "--img-size", "0"], "patch and image size must be at least 1"),
    (["count", "vit_tiny_patch16_224", "--num-classes", "-1"], "num_classes must be 0"),
    (["count", "vit_tiny_patch16_224", "--in-chans", "0"], "in_chans must be at least 1"),
    (["count", "vit_tiny_patch0_224"], "at least 1"),
    (["count", "json:nothing"], "cannot import json:nothing"),
    (["models", "--family", "kernel"], "did you mean kernel attention"),
    (["measure", "vit_tiny_patch16_224", "--runtime", "torch_egaer"], "did you mean torch_eager"),
    (["measure", "vit_tiny_patch16_224", "--indicator", "latency"], "did you mean latency_s"),
    (["measure", "vit_tiny_patch16_224", "--device", "tpu"], "use cpu, cuda or cuda:N"),
    (["measure", "vit_tiny_patch16_224", "-b", "0"], "batch size must be at least 1"),
    (["measure", "vit_tiny_patch16_224", "--store", "no/such/folder/rows.sqlite"], "folder that exists"),
    (["train", "vit_pico_patch2_8", "--data", "digitz"], "did you mean digits"),
    (["train", "vit_pico_patch2_8", "--data", "hfds/no/such/place"], "no/such/place"),
    (["train", "vit_pico_patch2_8", "--data", "digits", "--recipe", "dmeo"], "did you mean demo"),
    (["train", "vit_pico_patch2_8", "--data", "digits", "--set", "lrr=1"], "did you mean lr"),
    (["train", "vit_pico_patch2_8", "--data", "digits", "--epochs", "0"], "epochs must be at least 1"),
    (["train", "vit_pico_patch2_8", "--data", "moving/digits"], "give the model --video divided"),
    (["train", "vit_pico_patch2_8", "--data", "moving/digits", "--video", "diagonal"], "is joint or divided"),
    (["train", "timesformer_joint_pico_patch2_8", "--data", "digits"], "such as moving/DATA or videos/PATH"),
    (["evaluate", "vit_pico_patch2_8", "--data", "digits"], "no trained weights"),
    (["report"], "there is no store"),
    (["store", "import", "nothing.jsonl"], "nothing.jsonl"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(run, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.strip().count("\n") == 0
    assert "Traceback" not in err


def test_a_corrupt_store_is_named_and_left_alone(run):
    Path("rows.sqlite").write_bytes(b"no database at all" * 100)
    code, _, err = run("report", "--store", "rows.sqlite")
    assert code == 2
    assert "rows.sqlite" in err
    assert Path("rows.sqlite").read_bytes() == b"no database at all" * 100


def test_a_corrupt_checkpoint_is_named(run):
    Path("broken").mkdir()
    Path("broken/spec.json").write_text("{")
    code, _, err = run("evaluate", "broken", "--data", "digits")
    assert code == 2
    assert "spec.json" in err


def test_count_prints_the_rows_of_every_model(run):
    code, out, _ = run("count", "vit_base_patch16_224", "vit_base_patch32_224", "--json")
    rows = json.loads(out)
    assert code == 0
    found = {(row["model"], row["indicator"]): row["value"] for row in rows}
    assert found["vit_base_patch16_224", "params"] == 86_567_656
    assert found["vit_base_patch32_224", "params"] == 88_224_232
    assert len(rows) == 2 * 8
    assert set(rows[0]) == {"model", "indicator", "unit", "value", "samples", "conditions", "origin", "why"}


def test_tables_fit_100_columns(run):
    for words in (["models"], ["count", "vit_tiny_patch16_224", "performer_tiny_patch16_224"]):
        _, out, _ = run(*words)
        assert max(map(len, out.splitlines())) <= 100


def test_models_as_json_has_taxonomy_paper_and_published_numbers(run):
    code, out, _ = run("models", "--family", "token merging", "--json")
    rows = {row["model"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["tome_small_patch16_224"]["published"]["gmacs"] == 2.7
    assert all(row["family"] == "token merging" and row["paper"] for row in rows.values())


def test_train_evaluate_measure_and_report_go_together(run):
    words = ["vit_pico_patch4_8", "--data", "digits"]
    code, out, _ = run("train", *words, "--epochs", "1", "--set", "warmup_epochs=0", "--json")
    trained = {row["indicator"]: row["value"] for row in json.loads(out)}
    assert code == 0
    code, out, _ = run("evaluate", "runs/vit_pico_patch4_8", "--data", "digits", "--json")
    assert {row["indicator"]: row["value"] for row in json.loads(out)}["top1"] == trained["top1"]
    measured = [
        "measure",
        "runs/vit_pico_patch4_8",
        "--indicator",
        "params",
        "--indicator",
        "peak_bytes_infer",
        "--json",
    ]
    code, out, _ = run(*measured)
    assert (code, len(json.loads(out))) == (0, 2)
    with Store("paretovit.sqlite") as store:
        before = len(store.rows(every=True))
    assert run(*measured)[:2] == (0, out), "a second run shows the same rows"
    with Store("paretovit.sqlite") as store:
        assert len(store.rows(every=True)) == before, "and measures nothing"
    assert run("report", "--out", "page")[0] == 0
    assert "vit_pico_patch4_8" in Path("page/index.html").read_text()
    assert run("store", "export", "rows.jsonl")[0] == 0
    assert run("store", "import", "rows.jsonl", "--store", "other.sqlite")[0] == 0


STOPS = [
    (KeyboardInterrupt("stopped; both trainings are kept"), "stopped; both trainings are kept"),
    (KeyboardInterrupt(), "stopped; what was measured is kept, the same command goes on"),
]


@pytest.mark.parametrize(("stop", "line"), STOPS, ids=["with words", "without"])
def test_ctrl_c_ends_with_a_line_and_exit_code_130(run, monkeypatch, stop, line):
    def stopped(*_, **__):
        raise stop

    monkeypatch.setattr(Store, "__init__", stopped)
    code, out, err = run("report")
    assert (code, out, err) == (130, "", f"\nparetovit: {line}\n")


@pytest.mark.parametrize("words", [["--help"], ["models"], ["nonsense"]])
def test_what_needs_no_torch_does_not_wait_for_it(words):
    code = (
        "import sys; from paretovit.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("False")


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m paretovit models | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
