"""`paretovit reproduce hybrid-xformers`, from our models."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest
import torch

from paretovit import cli
from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.papers import PAPERS, Cell, heading, names, reproduce, sheets, summary
from paretovit.papers._hybrid_xformers_tables import ROWS
from paretovit.papers.hybrid_xformers import _judged, unfused
from paretovit.store import Store
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

PAPER = "hybrid-xformers"


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return reproduce(PAPER)


def _of(cells: list[Cell], kind: str) -> dict[tuple[int, str], Cell]:
    return {(int(cell.table), cell.row): cell for cell in cells if cell.cell == kind}


def test_all_62_rows_have_seven_cells_each_and_two_of_memory_where_attention_comes_fused_and_not(cells):
    memory = [cell for cell in cells if cell.cell == "gpu_gb"]
    assert len(cells) - len(memory) == 62 * 6
    assert set(Counter((cell.table, cell.row) for cell in cells if cell.cell != "gpu_gb").values()) == {6}
    ways = {model: 1 + (unfused(resolve(model)).key != resolve(model).key) for model in {cell.model for cell in cells}}
    assert Counter(cell.model for cell in memory) == ways


def test_memory_is_predicted_where_no_row_has_it(cells):
    then, now = (cell for cell in cells if (cell.table, cell.row, cell.cell) == ("1", "ViT", "gpu_gb"))
    assert then.note.startswith("predicted, unfused, as in the paper")
    assert now.note.startswith("predicted, fused")
    # softmax's inputs and outputs of four layers and heads alone, 64 images, 1,025 tokens, four bytes
    assert then.ours - now.ours > 4 * 4 * 64 * 1025**2 * 4 / 1e9


def test_the_tables_of_pools_and_rotary_positions_have_their_rows():
    assert [len(_of(reproduce(PAPER, table), "params")) for table in ("5", "6")] == [6, 8]


def test_53_of_54_printed_parameter_counts_are_exact_and_the_54th_is_a_misprint(cells):
    printed = {row: cell for row, cell in _of(cells, "params").items() if cell.printed is not None}
    other = {row: cell for row, cell in printed.items() if cell.verdict != "exact"}
    assert len(printed) == 54
    assert list(other) == [(3, "LeViP")]
    cell = other[3, "LeViP"]
    assert (cell.printed, cell.ours, cell.verdict) == (662_410, 622_410, "misprint")
    assert "misprint" in cell.note
    assert summary(cells)[0].startswith("53 of 54 printed parameter counts exact; 1 misprint: LeViP in table 3")


def test_a_misprint_excuses_no_other_number_of_ours():
    (levip,) = (row for row in ROWS if (row.table, row.name) == (3, "LeViP"))
    assert levip.params == 662_410
    verdicts = {ours: _judged(levip, "params", "1", ours, 662_410, 622_410).verdict for ours in (622_410, 622_411)}
    assert verdicts == {622_410: "misprint", 622_411: "differs"}


def test_53_of_54_printed_sizes_are_exact_and_the_54th_is_a_misprint(cells):
    printed = {row: cell for row, cell in _of(cells, "size_mb").items() if cell.printed is not None}
    other = {row: (cell.printed, cell.ours, cell.verdict) for row, cell in printed.items() if cell.verdict != "exact"}
    assert len(printed) == 54
    assert other == {(4, "LeViL"): (69.89, 69.82, "misprint")}


def test_all_trained_tensors_are_the_counted_ones_and_the_bare_ones(cells):
    counted, trained = _of(cells, "params"), _of(cells, "all_params")
    table, token, projection = 1025 * 128, 128, 4 * 1025 * 64
    for row, bare in {
        (1, "ViT"): table + token,
        (1, "ViL"): table + token + projection,
        (1, "MLP Mixer"): 0,
        (3, "LeViT"): 0,
        (3, "CCL"): 1024 * 128 + 4 * 1024 * 64,
        (3, "CvP"): 11 * 2 * 128,
        (6, "ViN"): token,
    }.items():
        assert trained[row].ours - counted[row].ours == bare
    assert {cell.verdict for cell in trained.values()} == {"recounted"}


def test_macs_are_the_recount_but_for_named_reasons(cells):
    found = _of(cells, "macs")
    assert {cell.verdict for cell in found.values()} == {"recounted", "explained"}
    explained = {row[1].removeprefix("Hybrid ") for row, cell in found.items() if cell.verdict == "explained"}
    assert explained <= {"FNet", "ViN", "LeViN", "CCN", "CvN", "PiN"}
    fourier = found[1, "FNet"].ours - found[1, "FNet"].recounted
    assert fourier == 11_152_924  # 4 x 5/4 x 1025 x 128 x log2(1025 x 128), each layer rounded
    assert f"{fourier:,}" in found[1, "FNet"].note


def test_table_6_prints_no_counts_and_names_the_rows_whose_counts_rope_changes(cells):
    counts = {row[1]: cell for row, cell in _of(cells, "params").items() if row[0] == 6}
    assert all(cell.printed is None and cell.verdict == "recounted" for cell in counts.values())
    assert (counts["ViL"].ours, counts["Hybrid ViL"].ours) == (464_906, 557_642)
    assert [name for name, cell in counts.items() if cell.note] == ["ViL", "Hybrid ViL"]


def test_every_cell_that_is_not_as_printed_says_why(cells):
    assert all(cell.note for cell in cells if cell.verdict not in ("exact", "recounted"))


@pytest.mark.parametrize("name", ["vix_vit_patch1_32", "vix_vin_patch1_32"])
def test_an_unfused_model_is_the_same_function(name):
    spec = resolve(name, img_size=8)
    assert unfused(spec).key != spec.key
    torch.manual_seed(0)
    ours, theirs = build(spec).eval(), build(unfused(spec)).eval()
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-4, rtol=1e-4)


def test_what_has_nothing_to_fuse_is_left_as_it_is():
    spec = resolve("vix_fnet_patch1_32")
    assert unfused(spec) == spec


def test_rows_of_a_store_stand_beside_what_is_printed():
    spec = resolve("vix_pit_patch1_32")
    made = {"model": spec.name, "origin": Origin(how="predicted")}
    at_64 = Conditions(spec=unfused(spec).key, batch_size=64, dtype="float32")
    trained = Conditions(spec=spec.key, data="torch/cifar10", split="val", recipe="vix", seed=0)
    rows = [
        Measurement(**made, indicator="peak_bytes_train", unit="B", value=14.0e9, conditions=at_64),
        Measurement(**made, indicator="top1", unit="1", value=0.63, conditions=trained),
    ]
    cells = [cell for cell in reproduce(PAPER, "5", rows) if cell.row == "PiT"]
    found = {cell.cell: cell for cell in reversed(cells)}  # of several the first
    assert (found["gpu_gb"].printed, found["gpu_gb"].ours, found["gpu_gb"].verdict) == (14.7, 14.0, "agrees")
    assert found["gpu_gb"].note.startswith("predicted, unfused, as in the paper")
    assert (found["top1"].printed, found["top1"].ours, found["top5"].ours) == (63.49, 63.0, None)


def test_unknown_papers_and_tables_are_answered_with_the_known_ones():
    with pytest.raises(UserError, match="did you mean hybrid-xformers"):
        reproduce("hybrid-xformer")
    with pytest.raises(UserError, match="has no table 7; it has 1, 2, 3, 4, 5, 6"):
        reproduce(PAPER, "7")


def test_every_paper_states_its_title_and_tables_without_being_imported():
    assert PAPER in names()
    for name in PAPERS.names():
        assert PAPERS.fact(name, "title")
        assert all(isinstance(table, str) and caption for table, caption in PAPERS.fact(name, "tables").items())


def test_sheets_of_all_tables_fit_100_columns(cells):
    made = sheets(cells)
    assert [one.title.split(":")[0] for one in made] == [f"{PAPER}, table {number}" for number in range(1, 7)]
    text = "\n".join([heading(cells), *(one.notes for one in made), *summary(cells)])
    assert max(map(len, text.splitlines())) <= 100


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs `paretovit reproduce WORDS` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paretovit", "reproduce", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vix"], "unknown paper 'vix'; known: efficiency-misnomer"),
        ([PAPER, "--table", "9"], "has no table 9"),
        ([PAPER, "--table", "5", "--store", "no.sqlite"], "there is no store at no.sqlite"),
        ([PAPER, "--table", "5", "--results", "no.jsonl"], "cannot read no.jsonl"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.strip().count("\n") == 0


def test_the_command_prints_tables_within_100_columns_and_what_they_come_to(run, tmp_path):
    code, out, _ = run(PAPER, "--table", "5")
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 100
    assert any("Hybrid PiN" in line and "990,298" in line and "67.87" in line for line in lines)
    assert "6 of 6 printed parameter counts exact" in lines
    assert not list(tmp_path.iterdir())  # reading makes no store


def test_json_is_a_list_of_cells_with_rows_of_result_files_beside_them(run, tmp_path):
    spec = resolve("vix_hybrid_pip_patch1_32")
    conditions = Conditions(spec=spec.key, data="hfds/somewhere/cifar10", split="val", recipe="vix", seed=0)
    row = Measurement(
        model=spec.name, indicator="top5", unit="1", value=0.97, conditions=conditions, origin=Origin(how="trained")
    )
    with Store(tmp_path / "made.sqlite") as store:
        store.append([row], [spec])
        store.export_lines(tmp_path / "made.jsonl")
    code, out, _ = run(PAPER, "--table", "5", "--results", "made.jsonl", "--json")
    found = {(cell["model"], cell["cell"]): cell for cell in json.loads(out)}
    assert code == 0
    assert len(found) == 6 * 7
    cell = found["vix_hybrid_pip_patch1_32", "top5"]
    assert {"table", "model", "cell", "printed", "ours", "verdict", "note"} <= set(cell)
    assert (cell["table"], cell["printed"], cell["ours"], cell["verdict"]) == ("5", 97.88, 97.0, "open")
    assert found["vix_pin_patch1_32", "params"]["verdict"] == "exact"
