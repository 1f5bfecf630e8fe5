"""A figure by its name."""

from __future__ import annotations

import re

import pytest

from paretovit.errors import UserError
from paretovit.report.draw import draw
from paretovit.report.figures import FIGURES
from paretovit.store import arrange


@pytest.fixture
def table(sample_store):
    return arrange(sample_store.rows(), specs=sample_store.specs())


def test_a_figure_is_the_one_that_the_report_draws(table, tmp_path):
    for name in ("pareto", "correlation"):
        assert draw(table, name).to_dict() == FIGURES[name]().draw(table).to_dict()
    draw(table, out=tmp_path / "front.svg")
    assert (tmp_path / "front.svg").read_text().startswith("<svg")


def test_what_cannot_be_drawn_is_named(sample_store, tmp_path):
    counted = sample_store.table(["params", "macs"])
    with pytest.raises(UserError, match=re.escape(f"pareto draws nothing without {FIGURES['pareto'].needs}")):
        draw(counted, out=tmp_path / "front.svg")
    with pytest.raises(UserError, match="did you mean pareto"):
        draw(counted, "parreto")
    with pytest.raises(UserError, match="ends in"):
        draw(counted, "pairs", out=tmp_path / "front.txt")
    assert list(tmp_path.iterdir()) == []
