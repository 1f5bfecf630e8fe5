import io
from dataclasses import replace

from rich.console import Console

from paretovit.report.tables import catalog_table, rows_table, table
from paretovit.zoo.catalog import entries


def printed(what) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(what)
    return console.file.getvalue()


def test_rows_are_shown_with_units_intervals_and_flags_within_100_columns(sample_store):
    text = printed(rows_table(sample_store.rows()))
    assert max(map(len, text.splitlines())) <= 100
    for name in ("vit_mini", "synthesizer_random_mini", "latency", "ms", "±", "%"):
        assert name in text


def test_a_missing_value_is_a_dash_and_its_reason_is_said(sample_store):
    text = printed(rows_table(sample_store.rows("peak_bytes_train")))
    line = next(line for line in text.splitlines() if line.strip().startswith("switch_mini"))
    assert line.split() == ["switch_mini", "–"]
    assert "– peak memory, training of switch_mini: ran out of memory at batch 32" in text


def test_a_value_of_a_busy_machine_is_flagged_and_has_no_interval(sample_store):
    text = printed(rows_table(sample_store.rows("latency_s")))
    line = next(line for line in text.splitlines() if line.strip().startswith("fnet_mini"))
    assert line.split()[-1] == "!"
    assert "±" not in line
    assert "! taken while others used the machine" in text


def test_what_a_value_takes_for_granted_is_said(sample_store):
    (row, *_) = sample_store.rows("latency_s")
    assumed = replace(row.conditions, assumptions=(("energy", "stated power"), ("watts", 30.0)))
    text = printed(rows_table([row, replace(row, indicator="energy_j", conditions=assumed)]))
    assert "energy per 1,000 images: with energy stated power, watts 30.0" in text
    assert "latency: with" not in text


def test_names_that_look_like_markup_are_shown_as_they_are():
    assert "[red]x" in printed(table([["[red]x", "1"]], ["model", "a"]))


def test_the_catalog_is_shown_with_its_published_figures_within_100_columns():
    lines = printed(catalog_table(list(entries().values()))).splitlines()
    assert max(map(len, lines)) <= 100
    named = {line.split()[0]: line.split() for line in lines if line.split()}
    assert named["vit_tiny_patch16_224"][1:5] == ["5.7", "1.3", "72.2", "Dosovitskiy"]
    assert set(entries()) <= set(named)
