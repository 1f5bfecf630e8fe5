"""`import`, `favor` and `compare` as a stranger types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from paretovit import cli

ACCURACY = """model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation
resnet50.a1_in1k,224,80.100,19.900,95.000,5.000,25.56,0.950,bicubic
vit_tiny_patch16_224.augreg_in21k_ft_in1k,224,75.400,24.600,92.800,7.200,5.72,0.900,bicubic
"""
SPEED = """model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,param_count,infer_gmacs,infer_macts
resnet50,224,4303.1,238.0,1024,25.56,4.11,11.11
vit_tiny_patch16_224,224,18553.5,55.2,1024,5.72,1.26,5.97
"""  # noqa: E501


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs `paretovit WORDS` in a folder with timm's tables: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "results-imagenet.csv").write_text(ACCURACY)
    (tables / "benchmark-infer-amp-nchw-pt291-cu128-4090.csv").write_text(SPEED)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paretovit", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


def test_tables_of_timm_are_imported_once_and_answer_which_model_to_favor(run):
    code, out, _ = run("import", "timm-results", "tables")
    assert (code, out) == (0, "12 new rows in paretovit.sqlite\n")
    assert run("import", "timm-results", "tables")[1].startswith("0 new rows")
    code, out, err = run("favor", "--min", "top1=80%", "--min", "images_per_s=1k", "--device", "4090")
    assert (code, err) == (0, "")
    assert "Of 2 models 1 keeps published top-1 accuracy ≥ 80.00% and published throughput ≥" in " ".join(out.split())
    assert "timm benchmark-infer-amp-nchw-pt291-cu128-4090" in out  # the source is said
    assert max(map(len, out.splitlines())) <= 100
    code, out, _ = run("favor", "--min", "images_per_s=10k", "--json")
    assert [model["model"] for model in json.loads(out)["ranked"]] == ["vit_tiny_patch16_224.augreg_in21k_ft_in1k"]


def test_models_are_compared_by_counts_alone_where_there_is_no_store(run):
    code, out, err = run("compare", "vit_pico_patch2_8", "fnet_pico_patch2_8")
    assert (code, err) == (0, "")
    assert "vit_pico_patch2_8 against fnet_pico_patch2_8: " in out
    assert "Contradictions beyond the noise" in out
    assert max(map(len, out.splitlines())) <= 100
    assert not Path("paretovit.sqlite").exists()


def test_a_baseline_is_matched_and_all_other_indicators_shown(run):
    words = ("compare", "vit_pico_patch2_8", "fnet_pico_patch2_8", "--match", "params", "--by", "width")
    code, out, _ = run(*words)
    assert code == 0
    assert "As dear as fnet_pico_patch2_8 in params: vit_pico_patch2_8" in out
    content = json.loads(run(*words, "--json")[1])
    (group,) = content["matches"]
    assert group["ways"][0]["reached"]
    indicators = {row["indicator"] for row in group["rows"]}
    assert {"params", "macs", "activations", "peak_bytes_train"} <= indicators


BAD = [
    (["import", "timm", "tables"], "timm-results"),
    (["import", "timm-results", "nowhere"], "there is nothing at nowhere"),
    (["import", "wttf-runs", "tables"], "runs.csv"),
    (["favor", "--max", "latency_s=1"], "there is no store"),
    (["favor", "--store", "rows.sqlite"], "say at least one bound"),
    (["compare", "vit_pico_patch2_8", "--match", "macs"], "name the model that is to be resized"),
    (["compare", "vit_pico_patch2_8", "fnet_pico_patch2_8", "--match", "mcs"], "did you mean macs"),
    (["compare", "vit_pico_patch2_8", "fnet_pico_patch2_8", "--match", "macs", "--by", "dept"], "did you mean depth"),
    (["compare", "vit_pico_patch2_8", "--store", "gone.sqlite"], "there is no store"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(run, words, message):
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not Path("paretovit.sqlite").exists()
