"""The thesis's tables: what its costs determine is met, and where our fuller model says otherwise it says why."""

from __future__ import annotations

import pytest

from paretovit.papers import reproduce
from paretovit.papers._vit_optimization_strategies_tables import REGIMES

PAPER = "vit-optimization-strategies"
_WIDTHS = {"Tiny-16": 192, "Small-16": 384, "Base-16": 768}
_RIDGE = 125e12 / 600e9  # FLOP per byte of an A10


def test_all_15_rows_of_table_4_3_agree_as_the_thesis_assumes():
    cells = [cell for cell in reproduce(PAPER, "4.3") if cell.whose == "as assumed"]
    assert len(cells) == 2 * len(REGIMES) == 30
    assert {cell.verdict for cell in cells} == {"exact"}


def test_its_assumptions_are_these_by_a_closed_formula():
    """Inputs alone are moved, so a layer's intensity is the number of its outputs, in FLOP per byte of fp16."""
    for name, _, layer, dense, sparse in REGIMES:
        D = _WIDTHS[name]
        outputs = {"MLP-Dense0": 4 * D, "MLP-Dense1": D, "Attn-InProject": 3 * D, "Attn-OutProject": D, "Outro-MLP": 10}
        assert (outputs[layer] >= _RIDGE, outputs[layer] / 2 >= _RIDGE) == (dense == "compute", sparse == "compute")


def test_in_full_what_differs_is_explained():
    cells = [cell for cell in reproduce(PAPER, "4.3") if cell.whose == "in full"]
    differing = [cell for cell in cells if cell.ours != cell.printed]
    assert len(differing) == 8
    assert all(cell.verdict == "explained" and "weights, their indices and outputs" in cell.note for cell in differing)


@pytest.mark.parametrize("table", ["1.1", "3.2", "4.2"])
def test_every_cell_of_a_table_that_costs_determine_is_exact(table):
    assert {cell.verdict for cell in reproduce(PAPER, table)} == {"exact"}


def test_maxvits_parameters_are_printed_with_the_statistics_of_batch_norms():
    cells = {cell.row: cell for cell in reproduce(PAPER, "1.2") if cell.cell == "mparams"}
    assert [row for row, cell in cells.items() if cell.verdict == "explained"] == [
        row for row in cells if row.startswith("MaxViT")
    ]
    assert all(cell.verdict == "exact" for row, cell in cells.items() if not row.startswith("MaxViT"))


def test_peaks_are_those_of_the_data_sheets():
    cells = reproduce(PAPER, "4.1")
    assert sum(cell.verdict == "exact" for cell in cells) == 7
    (near,) = (cell for cell in cells if cell.verdict == "near")
    assert (near.row, near.cell) == ("A40", "sparse_tflops")
