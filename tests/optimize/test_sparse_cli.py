"""`paretovit roofline` and `sparsify` as a stranger types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from paretovit import cli


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
    (["roofline", "vit_tiny_patch16_224", "--device", "a1000"], "did you mean a100"),
    (["roofline", "vit_tiny_patch16_224", "--device", "t4", "--dtype", "bfloat16"], "T4 has no peak for bfloat16"),
    (["roofline", "vit_tiny_patch16_224", "-b", "0"], "batch size must be at least 1"),
    (["roofline", "vit_pico_patch4_8", "--figure", "layers.jpg"], "ends in .svg, .png or .html"),
    (["sparsify", "vit_pico_patch4_8", "--out", "a", "--pattern", "2:5"], "take N:M"),
    (["sparsify", "vit_pico_patch4_8", "--out", "a", "--layers", "2-9"], "there is no block 9"),
    (["sparsify", "vit_pico_patch4_8", "--out", "a", "--score", "wanda"], "give --data"),
    (["sparsify", "vit_pico_patch4_8", "--out", "a", "--recipe", "demo"], "give --data"),
    (["sparsify", "vit_pico_patch4_8", "--out", "a", "--epochs", "3"], "give --recipe"),
    (["sparsify", "vit_pico_patch4_8", "--out", "a", "--where", "roofline", "--for", "a11"], "unknown device"),
    (["sparsify", "vit_pico_patch4_8", "--out", "a", "--dtype", "int8"], "take float16, bfloat16 or float32"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(run, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.strip().count("\n") == 0


def test_a_roofline_is_a_table_a_document_and_a_figure(run):
    code, out, _ = run("roofline", "vit_tiny_patch16_224", "--device", "h200", "--figure", "layers.svg")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert "H200" in out
    assert Path("layers.svg").read_text().startswith("<svg")
    code, out, _ = run("roofline", "vit_tiny_patch16_224", "--json")
    assert {"device", "source", "batch_size", "layers", "speedup"} <= json.loads(out).keys()


def test_a_sparse_checkpoint_is_a_model_like_any_other(run):
    code, out, _ = run("sparsify", "vit_pico_patch4_8", "--layers", "1-3", "--permute", "--out", "sparse")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert {path.name for path in Path("sparse").iterdir()} == {
        "spec.json", "model.safetensors", "compressed.safetensors",
    }  # fmt: skip
    code, out, _ = run("count", "sparse", "vit_pico_patch4_8", "--json")
    rows = json.loads(out)
    macs = {row["model"]: row["value"] for row in rows if row["indicator"] == "macs"}
    assert macs["vit_pico_patch4_8_2of4_1-3"] == macs["vit_pico_patch4_8"]  # on a CPU zeros are multiplied, too
    code, _, err = run("sparsify", "sparse", "--out", "again")
    assert code == 2
    assert "masked already" in err
