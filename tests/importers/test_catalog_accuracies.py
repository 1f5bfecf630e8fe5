"""Published accuracies of the catalog as rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretovit import cli
from paretovit.errors import UserError
from paretovit.importers import read
from paretovit.measurement import wilson
from paretovit.store import Store
from paretovit.zoo.catalog import resolve


def test_a_row_for_every_printed_accuracy():
    rows, specs = read("catalog")
    assert len(rows) == len(specs) == len({row.model for row in rows}) > 80
    assert {(row.indicator, row.origin.how, row.conditions.data) for row in rows} == {
        ("top1", "published", "ImageNet-1k")
    }
    assert all(0.5 < row.value < 0.9 and row.origin.timing["printed by"] for row in rows)
    by_name = {row.model: row for row in rows}
    swin = by_name["swin_tiny_patch4_window7_224"]
    assert (swin.value, swin.conditions.spec) == (pytest.approx(0.812), resolve("swin_tiny_patch4_window7_224").key)
    assert swin.origin.timing["interval_95"] == list(wilson(40_600, 50_000))


def test_it_is_imported_once(tmp_path: Path):
    found = read("catalog")
    with Store(f"{tmp_path}/rows.sqlite") as store:
        assert [store.append_new(*found) for _ in range(2)] == [len(found[0]), 0]


def test_the_command_wants_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["paretovit", "import", "catalog", "--store", f"{tmp_path}/rows.sqlite"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert "new rows in" in capsys.readouterr().out


def test_a_path_is_refused_where_there_is_none_and_asked_for_where_there_is(tmp_path: Path):
    with pytest.raises(UserError, match="leave out"):
        read("catalog", tmp_path)
    with pytest.raises(UserError, match="wants a path; give the folder of timm's results"):
        read("timm-results")
