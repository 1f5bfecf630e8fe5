"""What the store promises: nothing lost, nothing doubled, nothing mixed."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.spec import ModelSpec, Stage
from paretovit.store import Column, Store


def spec(name: str, dim: int = 64) -> ModelSpec:
    return ModelSpec(name=name, stages=(Stage(depth=2, dim=dim, heads=2),), image_px=8, patch_px=1, num_classes=10)


VIT, WIDE = spec("vit"), spec("wide", 128)


def row(model: ModelSpec, indicator: str, value: float | None, why: str = "", **conditions) -> Measurement:
    return Measurement(
        model=model.name,
        indicator=indicator,
        unit="s",
        value=value,
        conditions=Conditions(spec=model.key, **conditions),
        origin=Origin(how="measured"),
        why=why,
    )


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


def test_rows_and_specs_come_back_equal(store):
    full = replace(
        row(VIT, "latency_s", 0.25, device="Abacus", batch_size=1, assumptions=(("price", 2.5),)),
        samples=(0.2, 0.25, 0.3),
        origin=Origin(how="measured", time="2025-01-01", versions={"torch": "2"}, timing={"anchor_rounds": [1.0]}),
    )
    store.append([full], [VIT])
    assert store.rows() == [full]
    assert store.specs() == {VIT.key: VIT}


def test_the_newest_row_of_an_identity_speaks_and_the_older_stay(store):
    old, new, other = row(VIT, "latency_s", 1.0), row(VIT, "latency_s", 2.0), row(WIDE, "latency_s", 3.0)
    store.append([old])
    store.append([other, new])
    assert sorted(r.value for r in store.rows()) == [2.0, 3.0]
    assert store.rows(every=True) == [old, other, new]


def test_rows_are_selected_by_indicator_model_and_conditions(store):
    eager, compiled = row(VIT, "latency_s", 1.0, runtime="a"), row(VIT, "latency_s", 2.0, runtime="b")
    store.append([eager, compiled, row(WIDE, "latency_s", 3.0, runtime="a"), row(VIT, "params", 4.0)])
    assert store.rows("latency_s", "vit", runtime="a") == [eager]
    assert store.rows("latency_s", runtime="b") == [compiled]


def test_a_condition_that_does_not_exist_is_refused(store):
    with pytest.raises(UserError, match="did you mean runtime"):
        store.rows(runtim="torch_eager")


def test_a_row_with_a_reason_is_an_answer(store):
    store.append([row(VIT, "latency_s", None, why="ran out of memory")])
    conditions = Conditions(spec=VIT.key)
    assert store.has(conditions, "latency_s")
    assert store.missing([(conditions, "latency_s"), (conditions, "params"), (Conditions(spec="x"), "latency_s")]) == [
        (conditions, "params"),
        (Conditions(spec="x"), "latency_s"),
    ]


def test_a_table_has_a_line_per_model_and_each_column_its_own_conditions(store):
    store.append(
        [
            row(VIT, "latency_s", 1.0, device="Abacus", runtime="eager"),
            row(WIDE, "latency_s", 2.0, device="Abacus", runtime="eager"),
            row(VIT, "top1", 0.9, data="digits", recipe="demo"),
        ],
        [VIT],
    )
    table = store.table(["latency_s", "top1"])
    assert [(line.name, line.spec) for line in table.lines] == [("vit", VIT), ("wide", None)]
    latency, top1 = table.columns
    assert latency == Column("latency_s", Conditions(device="Abacus", runtime="eager"))
    assert table.values(latency) == [1.0, 2.0]
    assert [r and r.value for r in table.measurements(top1)] == [0.9, None]


def test_a_table_refuses_to_mix_conditions_and_says_what_to_say(store):
    store.append([row(VIT, "latency_s", 1.0, runtime="eager", threads=1)])
    store.append([row(WIDE, "latency_s", 2.0, runtime="compiled", threads=1)])
    with pytest.raises(UserError, match=r"runtime \(eager, compiled\); say which, such as runtime='eager'") as refusal:
        store.table(["latency_s"])
    assert "threads" not in str(refusal.value)
    assert store.table(["latency_s"], {"runtime": "compiled"}).lines[0].name == "wide"


def test_a_filter_passes_rows_that_do_not_depend_on_it(store):
    store.append([row(VIT, "latency_s", 1.0, runtime="eager"), row(VIT, "params", 5.0)])
    table = store.table(["latency_s", "params"], {"runtime": "eager"})
    assert [r.value for r in table.cells[0]] == [1.0, 5.0]


def test_an_indicator_without_rows_is_answered_with_the_nearest(store):
    store.append([row(VIT, "latency_s", 1.0)])
    with pytest.raises(UserError, match="did you mean latency_s"):
        store.table(["latency"])


def test_published_rows_without_a_spec_are_told_apart_by_their_model(store):
    rows = [replace(row(m, "top1", v), conditions=Conditions(source="table 1")) for m, v in ((VIT, 0.7), (WIDE, 0.8))]
    store.append(rows)
    assert store.rows() == rows
    assert [line.name for line in store.table(["top1"]).lines] == ["vit", "wide"]


def _append_many(path: Path, writer: int, start) -> None:
    start.wait()
    with Store(path) as store:
        for number in range(200):
            store.append([row(VIT, f"indicator_{writer}", float(number), seed=number)], [VIT])


def test_four_processes_append_at_once_and_nothing_is_lost(tmp_path):
    context = multiprocessing.get_context("spawn")
    path, start = tmp_path / "store.sqlite", context.Event()
    writers = [context.Process(target=_append_many, args=(path, writer, start)) for writer in range(4)]
    for writer in writers:
        writer.start()
    start.set()  # all open the store, which is not there yet, at the same time
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    with Store(path) as store:
        found = {(r.indicator, r.value) for r in store.rows(every=True)}
    assert found == {(f"indicator_{writer}", float(number)) for writer in range(4) for number in range(200)}


def test_an_append_is_whole_or_not_at_all(store):
    def rows():
        yield row(VIT, "latency_s", 1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.append(rows(), [VIT])
    assert store.rows() == []
    assert store.specs() == {}


def test_export_and_import_give_the_same_store_and_a_second_import_adds_nothing(store, tmp_path):
    counted = replace(row(VIT, "params", 5), samples=(5,))
    store.append([row(VIT, "latency_s", 1.0), row(VIT, "latency_s", 2.0), row(VIT, "macs", None, "odd")], [VIT, WIDE])
    store.append([counted])
    store.export_lines(tmp_path / "rows.jsonl")
    with Store(tmp_path / "other.sqlite") as other:
        assert other.import_lines(tmp_path / "rows.jsonl") == 4
        assert other.import_lines(tmp_path / "rows.jsonl") == 0
        assert other.rows(every=True) == store.rows(every=True)
        assert other.specs() == store.specs()


def test_an_export_that_fails_leaves_the_former_file(store, tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text("former")
    store.append([row(VIT, "latency_s", 1.0)])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        store.export_lines(path)
    assert path.read_text() == "former"
    assert {p.name for p in tmp_path.iterdir() if p.suffix == ".jsonl" or "rows" in p.name} == {"rows.jsonl"}


@pytest.mark.parametrize(
    "garbage",
    ["{", "[]", "{}", '{"row": {"model": 3}}', '{"spec": {"name": "x"}}', "\udcff", '{"row": {"value": "NaN"}}'],
)
def test_a_garbage_line_is_named_and_nothing_is_imported(store, tmp_path, garbage):
    store.append([row(VIT, "latency_s", 1.0)], [VIT])
    path = tmp_path / "rows.jsonl"
    store.export_lines(path)
    path.write_text(path.read_text() + garbage + "\n", errors="surrogateescape")
    with Store(tmp_path / "other.sqlite") as other:
        with pytest.raises(UserError, match="line 3") as refusal:
            other.import_lines(path)
        assert "\n" not in str(refusal.value)
        assert other.rows() == []
        assert other.specs() == {}


def test_a_value_that_is_not_finite_is_not_imported(store, tmp_path):
    content = row(VIT, "latency_s", 1.0).to_json() | {"value": float("inf")}
    (tmp_path / "rows.jsonl").write_text(json.dumps({"row": content}) + "\n")
    with pytest.raises(UserError, match="line 1"):
        store.import_lines(tmp_path / "rows.jsonl")


def test_a_garbage_file_is_not_a_store(tmp_path):
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"this is no database, whatever its name says " * 100)
    with pytest.raises(UserError, match="not a store of paretovit"):
        Store(path)
    assert path.read_bytes().startswith(b"this is no database")


def test_a_damaged_store_is_said_to_be_damaged(tmp_path):
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.append([row(VIT, f"i{n}", 1.0) for n in range(2000)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"), Store(path) as store:
        store.rows()


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(UserError, match="not a store of paretovit"):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_store_of_a_newer_version_asks_for_an_upgrade(tmp_path):
    path = tmp_path / "store.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE paretovit_about SET version = 99")
    with pytest.raises(UserError, match="newer paretovit"):
        Store(path)


def test_a_folder_that_does_not_exist_is_one_line(tmp_path):
    with pytest.raises(UserError, match="folder that exists") as refusal:
        Store(tmp_path / "absent" / "store.sqlite")
    assert "\n" not in str(refusal.value)


def test_a_folder_is_no_store(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        Store(tmp_path)


def test_a_store_to_be_read_is_not_made(tmp_path):
    with pytest.raises(UserError, match="there is no store"):
        Store(tmp_path / "typo.sqlite", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_was_stored_before(tmp_path):
    with Store(tmp_path / "store.sqlite") as store:
        first = row(VIT, "latency_s", 1.0)
        store.append([first])
        with store._engine.connect() as connection:
            pages = connection.execute(sql.text("PRAGMA page_count")).scalar()

        @sql.event.listens_for(store._engine, "begin")
        def limit(connection):
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(UserError, match="disk is full"):
            store.append([row(VIT, f"i{n}", 1.0) for n in range(5000)])
        assert store.rows() == [first]


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    with Store(tmp_path / "store.sqlite") as store:
        sql.event.listen(store._engine, "begin", lambda c: c.exec_driver_sql("PRAGMA query_only = ON"))
        with pytest.raises(UserError, match="cannot be written"):
            store.append([row(VIT, "latency_s", 1.0)])


@pytest.mark.parametrize("url", ["nosuch://host/db", "postgresql://host:port/db"])
def test_a_url_that_cannot_be_used_is_one_line(url):
    with pytest.raises(UserError) as refusal:
        Store(url)
    assert "\n" not in str(refusal.value)


def test_ten_thousand_rows_are_appended_within_seconds(store):
    rows = [row(VIT, "latency_s", 1.0, seed=n) for n in range(10_000)]
    start = time.process_time()
    store.append(rows)
    assert time.process_time() - start < 2
