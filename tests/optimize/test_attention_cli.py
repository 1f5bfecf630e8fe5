"""`paretovit attention` as a stranger types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paretovit import cli
from paretovit.measurement import Measurement
from paretovit.optimize.attention_pictures import map_picture, over_image
from paretovit.spec import Part
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import save_model


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs `paretovit attention WORDS` beside a model in `parent` and a picture: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for name, architecture in (("parent", "vit"), ("other", "performer")):
        spec = resolve(f"{architecture}_pico_patch4_8", in_chans=1, num_classes=10)
        save_model(Path(name), spec, build(spec))
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("cat.png")
    Path("bad.png").write_bytes(Path("cat.png").read_bytes()[:60])

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paretovit", "attention", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


def test_every_layer_is_a_line_and_what_was_asked_for_is_a_picture(run):
    code, out, err = run("parent", "--image", "cat.png", "--layers", "0,2-3", "--heads", "1", "--out", "maps")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    assert [line.split()[0] for line in out.splitlines() if line[:1].isdigit()][:4] == ["0", "1", "2", "3"]
    files = sorted(path.name for path in Path("maps").glob("*.png"))
    assert files == [f"cat-layer0{i}-head01-{kind}.png" for i in (0, 2, 3) for kind in ("image", "map")]
    with Image.open("maps/cat-layer00-head01-map.png") as picture:
        assert picture.size[0] == picture.size[1]
        assert picture.size[0] % 5 == 0  # a class token and 4 patches
    rows = [Measurement.from_json(row) for row in json.loads(Path("maps/attention.json").read_text())["rows"]]
    assert [(row.indicator, row.conditions.part) for row in rows[:2]] == [
        ("attention_distance", "layer 0"), ("stripe_score", "layer 0"),
    ]  # fmt: skip
    assert rows[0].conditions.data.startswith("cat.png (")
    assert 0 < rows[0].value < 8 * 2**0.5


def test_json_is_one_document_and_all_heads_may_be_asked_for(run):
    code, out, _ = run("parent", "--image", "cat.png", "--heads", "all", "--layers", "1", "--out", "maps", "--json")
    assert code == 0
    assert len(json.loads(out)["pictures"]) == 4


BAD = [
    (["parent", "--image", "bad.png"], "cannot read bad.png"),
    (["parent", "--image", "none.png"], "cannot read none.png"),
    (["parent", "--image", "cat.png", "--layers", "4"], "there are 4 layers"),
    (["parent", "--image", "cat.png", "--layers", "x"], "cannot read the layers"),
    (["parent", "--image", "cat.png", "--heads", "2"], "there are 2 heads"),
    (["other", "--image", "cat.png"], "layer 0 mixes its tokens by Performer"),
    (["vit_pico_patch4_8", "--image", "cat.png"], "has no trained weights"),
    (["parent", "--image", "cat.png", "--pretrained"], "has weights of its own"),
    (["vit_pico_patch4_8", "--image", "cat.png", "--weights", "w.pth"], "no such file"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_one_line_and_exit_code_2(run, words, message):
    code, out, err = run(*words, "--out", "maps")
    assert (code, out) == (2, "")
    assert message in err
    assert err.strip().count("\n") == 0
    assert not Path("maps").exists()


def test_a_map_is_brightest_where_the_weight_is_largest_and_its_rows_are_queries():
    weights = np.full((3, 3), 0.1)
    weights[0, 2] = 0.8
    picture = np.asarray(map_picture(weights))
    block = len(picture) // 3
    assert picture[block // 2, -1] == 255
    assert picture[-1, block // 2] == 0


def test_what_is_attended_to_is_bright_over_the_image():
    weights = np.zeros((2, 2))
    weights[0, 1] = 1.0
    picture = np.asarray(over_image(weights, Image.new("L", (8, 8), 128))).astype(int).sum(-1)
    assert picture[0, -1] > picture[-1, 0] + 200


def test_a_model_without_a_grid_has_no_distance_and_says_so(run, tmp_path):
    torch.manual_seed(0)
    spec = resolve("tome_pico_patch2_8", in_chans=1, num_classes=10)
    assert spec.stages[0].sequence != Part("keep_all")
    save_model(Path("merging"), spec, build(spec))
    code, out, _ = run("merging", "--image", "cat.png", "--out", "maps")
    assert code == 0
    assert "–" in out
    assert "no distance" in out
