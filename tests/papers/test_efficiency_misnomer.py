"""`paretovit reproduce efficiency-misnomer`."""

from __future__ import annotations

import pytest

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.papers import Cell, reproduce, sheets, summary
from paretovit.zoo.catalog import resolve

PAPER = "efficiency-misnomer"


@pytest.fixture(scope="module")
def cells() -> dict[tuple[str, str], Cell]:
    return {(cell.row, cell.cell): cell for cell in reproduce(PAPER)}


def test_fourteen_of_fifteen_parameter_counts_are_printed_to_the_digit(cells):
    found = {row: cell.verdict for (row, kind), cell in cells.items() if kind == "mparams"}
    assert len(found) == 15
    assert {row for row, verdict in found.items() if verdict != "exact"} == {"ViT-B/8"}
    cut = cells["ViT-B/8", "mparams"]
    assert (cut.printed, int(10 * cut.ours) / 10, cut.verdict) == (86.5, 86.5, "near")
    assert "cuts the last digit off" in cut.note


def test_all_macs_are_within_one_percent_of_the_print(cells):
    found = [cell for (_, kind), cell in cells.items() if kind == "gmacs"]
    assert len(found) == 15
    assert {cell.verdict for cell in found} == {"exact", "near"}
    assert all(abs(cell.ours - cell.printed) <= 0.01 * cell.printed + 0.005 for cell in found)


def test_the_tokens_printed_for_vit_b_64_are_not_those_of_its_macs(cells):
    tokens = cells["ViT-B/64", "tokens"]
    assert (tokens.printed, tokens.ours, tokens.verdict) == (17, 10, "explained")
    assert [cells[f"ViT-B/{patch}", "tokens"].verdict for patch in (8, 16, 32)] == ["exact"] * 3
    # with the 17 tokens it would be 1.60, as the note says
    seventeen = resolve("vit_base_patch64_256")
    assert (seventeen.image_px // seventeen.patch_px) ** 2 + 1 == 17
    assert "1.60" in cells["ViT-B/64", "gmacs"].note


def test_depth_and_width_are_two_ways_to_the_same_macs_and_parameters(cells):
    deep, wide = (cells[row, "gmacs"] for row in ("D48", "W3072"))
    assert deep.ours == pytest.approx(wide.ours, rel=0.01)
    assert cells["D48", "mparams"].ours < cells["W3072", "mparams"].ours


def test_what_the_text_says_of_parameters_and_macs_holds_for_our_models(cells):
    found = {row: cell for (row, kind), cell in cells.items() if kind == "holds"}
    assert len(found) == 4
    assert {(cell.printed, cell.ours, cell.verdict) for cell in found.values()} == {(1.0, 1.0, "agrees")}
    sharing = next(cell for row, cell in found.items() if row.startswith("sharing"))
    # one block of twelve: 1,774,464 of ViT-S's 22,050,664 parameters in place of 21,293,568, and no table of places
    assert sharing.note == "ViT-S: 0.11 times the parameters, 1.00 times the macs"


def test_a_time_of_another_device_stands_beside_and_is_not_compared():
    spec = resolve("vit_d48_patch32_224")
    row = Measurement(
        model=spec.name,
        indicator="images_per_s",
        unit="1/s",
        value=50.0,
        conditions=Conditions(spec=spec.key, device="Abacus 9000", runtime="torch_eager", batch_size="best"),
        origin=Origin(how="measured"),
    )
    found = {(cell.row, cell.cell): cell for cell in reproduce(PAPER, "2", [row])}
    cell = found["D48", "tpu_ms"]
    assert (cell.printed, cell.ours, cell.verdict) == (0.64, 20.0, "elsewhere")
    assert cell.note == "measured: Abacus 9000, torch_eager"
    assert found["D32", "tpu_ms"].verdict == "missing"


def test_sheets_fit_100_columns(cells):
    made = sheets(list(cells.values()))
    assert [sheet.title.split(":")[0] for sheet in made] == [
        f"{PAPER}, {name}" for name in ("table 1", "table 2", "section 2.2")
    ]
    text = "\n".join([*(sheet.notes for sheet in made), *summary(list(cells.values()))])
    assert max(map(len, text.splitlines())) <= 100
