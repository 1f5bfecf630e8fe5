"""Cells as text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from paretovit.papers._cells import Cell
from paretovit.papers._sheets import sheet, summary, table_name
from paretovit.report.tables import table as drawn

WIDE = "Hybrid MLP Mixer"


def cell(kind: str, row: str = WIDE, table: str = "1", **facts) -> Cell:
    return Cell(paper="p", table=table, row=row, model=f"m_{row}", cell=kind, unit="1", **facts)


def test_every_row_has_a_line_as_printed_and_a_line_of_ours():
    cells = [
        cell("params", "ViT", printed=530_442, ours=530_442, verdict="exact"),
        cell("size_mb", "ViT", printed=100.3, ours=100.31, verdict="differs"),
        cell("params", "FNet", ours=12, verdict="recounted"),
        cell("size_mb", "FNet", printed=60.12, note="no row"),
    ]
    made = sheet(cells, "title")
    assert made.columns == ["model", "parameters", "Size\nMB"]
    assert made.lines == [
        ["ViT", "530,442", "100.30"],
        ["  ours", "= 530,442", "≠ 100.31"],
        ["FNet", "", "60.12"],
        ["  ours", "= 12", "a –"],
    ]
    assert made.notes == "a  no row"


def test_cells_that_differ_in_the_model_only_share_a_note():
    cells = [cell("gpu_gb", row, printed=1.0, note=f"measure m_{row}") for row in ("ViT", "ViP")]
    assert sheet(cells, "title").notes == "a  measure MODEL"


def test_further_values_of_ours_get_lines_of_their_own():
    cells = [
        cell("params", ours=5, verdict="recounted"),
        cell("top1", printed=60.0, ours=61.23, verdict="open", note="one"),
        cell("top1", printed=60.0, ours=62.34, spread=0.56, verdict="agrees", note="two"),
    ]
    assert sheet(cells, "t").lines[1:] == [["  ours", "= 5", "a 61.23"], ["  ours", "", "b 62.3 ±0.6"]]


def test_the_widest_row_there_may_be_fits_100_columns(capsys):
    accuracy = {"printed": 61.58, "ours": 61.58, "spread": 0.3, "verdict": "agrees", "note": "n" * 150}
    count = {"printed": 8_625_738, "ours": 8_625_738, "verdict": "exact"}
    cells = [
        cell("params", **count),
        cell("all_params", **count),
        cell("macs", ours=3_267_757_312, verdict="recounted"),
        cell("size_mb", printed=211.47, ours=211.47, verdict="exact"),
        cell("gpu_gb", printed=14.1, ours=14.1, verdict="agrees", note="note"),
        cell("top1", **accuracy),
        cell("top5", **accuracy),
    ]
    made = sheet(cells, "title")
    with (console := Console(width=100)).capture() as seen:
        console.print(drawn(made.lines, made.columns, made.title))
    lines = seen.get().splitlines()
    assert len(lines) == 6  # title, head of two lines, rule, printed, ours: nothing is folded
    assert "61.6 ±0.3" in lines[-1]


def test_the_summary_counts_what_is_exact_and_names_what_is_not():
    exact = cell("params", "ViT", printed=5, ours=5, verdict="exact")
    wrong = cell("params", "LeViP", "3", printed=662_410, ours=622_410, verdict="misprint")
    new = cell("params", "ViT", "6", ours=5, recounted=5, verdict="recounted")
    assert summary([exact, replace(exact, row="ViP"), wrong, new]) == [
        "2 of 3 printed parameter counts exact; 1 misprint: LeViP in table 3 (printed 662,410, ours 622,410);\n"
        "   1 of 1 parameter counts equal to the recount, none being printed"
    ]


@pytest.mark.parametrize("printed", [5.0, None])
def test_the_summary_never_passes_over_a_number_that_differs(printed):
    cells = [cell("macs", printed=printed, recounted=5e6, ours=6e6, verdict="differs")]
    said = "printed 0.00" if printed else "recounted 5.00"
    assert f"different: {WIDE} in table 1 ({said}, ours 6.00)" in " ".join(summary(cells)[0].split())


def test_several_values_of_one_cell_count_as_one_row_in_the_summary():
    one = cell("top1", printed=60.0, ours=61.0, verdict="agrees")
    (line,) = summary([one, replace(one, ours=50.0, verdict="lower"), cell("top1", "ViT", printed=60.0)])
    assert line == "1 of 2 printed top-1 accuracies met by ours; 1 lower here; 1 with none of ours beside"


def test_numbers_of_others_stand_on_lines_of_their_own_below_one_printed_number():
    cells = [
        cell("r_params", "FLOPs", printed=0.3, ours=0.304, verdict="agrees", whose="authors' runs"),
        cell("r_params", "FLOPs", printed=0.3, note="none", whose="here"),
        cell("r_inference", "FLOPs", printed=0.48, ours=0.49, verdict="agrees", whose="authors' runs"),
    ]
    made = sheet(cells, "t")
    assert made.lines == [["FLOPs", "0.30", "0.48"], ["  authors' runs", " 0.30", " 0.49"], ["  here", "a –", ""]]
    assert made.notes == "a  none"
    assert summary(cells) == [
        "2 of 2 printed correlations met by the authors' runs",
        "1 of 1 printed correlations with none of this machine's beside",
    ]


def test_answers_are_shown_by_their_names():
    made = sheet([cell("on_speed", "ViT", printed=1.0, ours=0.0, verdict="explained", note="why")], "t")
    assert made.lines == [["ViT", "on"], ["  ours", "a off"]]


def test_a_number_shows_as_many_digits_as_are_printed_and_a_near_one_says_so():
    near = cell("gmacs", "PiT", printed=1.4, ours=1.4069, verdict="near", digits=2)
    coarse = cell("gmacs", "PiT-S", printed=2.9, ours=2.8966, verdict="exact", digits=1)
    made = sheet([near, coarse], "t")
    assert made.lines == [["PiT", "1.40"], ["  ours", "≈ 1.41"], ["PiT-S", "2.9"], ["  ours", "= 2.9"]]
    assert summary([near, coarse]) == ["1 of 2 printed multiply-accumulates exact; 1 within 1%"]


def test_a_note_of_a_cell_without_a_model_stays_as_it_is():
    bare = replace(cell("top1", "mean", printed=1.0, note="no rows"), model="")
    assert sheet([bare], "t").notes == "a  no rows"


@pytest.mark.parametrize(("table", "name"), [("4.2", "table 4.2"), ("3", "table 3"), ("figure 8", "figure 8")])
def test_what_has_no_number_is_called_by_its_name(table, name):
    assert table_name(table) == name


def test_the_summary_of_several_papers_keeps_them_apart():
    one = cell("params", "ViT", printed=5, ours=5, verdict="exact")
    assert summary([one, replace(one, paper="q")]) == [
        "p:",
        "1 of 1 printed parameter counts exact",
        "q:",
        "1 of 1 printed parameter counts exact",
    ]
    assert summary([]) == []
