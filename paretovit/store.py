"""Rows and specs in one SQL database: appended, never changed, asked for as tables. No torch.

By default a SQLite file in write-ahead mode, so that many processes may append while others read; any
PostgreSQL URL serves a team. A row's identity is its indicator and its conditions (and, for a published row
that has no spec, its model's name). Of rows with one identity the newest speaks; the older ones stay.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from paretovit.errors import UserError, unknown
from paretovit.measurement import Conditions, Measurement
from paretovit.spec import ModelSpec, from_json, to_json

VERSION = 1
_TURN = 0x5041_5245  # any number that others are unlikely to lock
_BUSY_S = 60.0  # how long one writer waits for the others

_schema = sql.MetaData()
_about = sql.Table(
    "paretovit_about", _schema, sql.Column("version", sql.Integer, primary_key=True, autoincrement=False)
)
_specs = sql.Table(
    "paretovit_specs",
    _schema,
    sql.Column("key", sql.String(16), primary_key=True),
    sql.Column("content", sql.Text, nullable=False),
)
_rows = sql.Table(
    "paretovit_rows",
    _schema,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("indicator", sql.Text, nullable=False, index=True),
    sql.Column("model", sql.Text, nullable=False),
    sql.Column("conditions", sql.Text, nullable=False),
    sql.Column("content", sql.Text, nullable=False),
)


@dataclass(frozen=True)
class Column:
    """One indicator under one set of conditions, the spec aside."""

    indicator: str
    conditions: Conditions


@dataclass(frozen=True)
class Line:
    """A model in a table. `key` is its spec's key, or its name where a published row knows no spec."""

    key: str
    name: str
    spec: ModelSpec | None


@dataclass(frozen=True, eq=False)
class Table:
    """Models by columns; `cells[i][j]` is the row of `lines[i]` in `columns[j]`, or None where there is none.

    A table equals itself only, so that what is worked out from one can be kept by it.
    """

    lines: tuple[Line, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Measurement | None, ...], ...] = field(repr=False)

    def measurements(self, column: Column) -> list[Measurement | None]:
        """One column's rows, in the order of the lines."""
        at = self.columns.index(column)
        return [line[at] for line in self.cells]

    def values(self, column: Column) -> list[float]:
        """One column's values, in the order of the lines; NaN where there is none."""
        return [float("nan") if row is None or row.value is None else row.value for row in self.measurements(column)]


class Store:
    """The rows at a path or database URL; made if it is not there, unless `create` is false.

    Raises `UserError` for a file that is damaged or not a store, for one written by a newer version, and for a
    place that cannot be read or written. What was appended before an error stays.
    """

    def __init__(self, url_or_path: str | Path = "paretovit.sqlite", *, create: bool = True) -> None:
        self.url = _url(url_or_path)
        self.place = self.url.database if self.url.drivername == "sqlite" else self.url.render_as_string()
        if not create and self._is_file and not Path(str(self.url.database)).exists():
            raise UserError(f"there is no store at {self.place}; name another, or fill it with `paretovit measure`")
        with self._explained():
            try:
                self._engine = sql.create_engine(
                    self.url, connect_args={"timeout": _BUSY_S} if self.url.get_backend_name() == "sqlite" else {}
                )
            except ModuleNotFoundError as error:
                package = _DRIVERS.get(str(error.name), error.name)
                raise UserError(f"{self.place} needs a database driver: pip install {package}") from error
            if self._is_file:
                sql.event.listen(self._engine, "connect", _use_wal)
            self._open()

    def append(self, rows: Iterable[Measurement], specs: Iterable[ModelSpec] = ()) -> None:
        """Add rows and the specs they speak of, all or none. A spec that is known is left as it is."""
        row_values = [_row_values(row, _dump(row.to_json())) for row in rows]
        spec_values = [{"key": spec.key, "content": _dump(to_json(spec))} for spec in specs]
        self._insert(row_values, spec_values)

    def append_new(self, rows: Iterable[Measurement], specs: Iterable[ModelSpec] = ()) -> int:
        """As `append`, without the rows that are here already, word for word; the number of those that were not."""
        with self._explained(), self._engine.connect() as connection:
            known = set(connection.execute(sql.select(_rows.c.content)).scalars())
        new = {}
        for row in rows:
            text = _dump(row.to_json())
            if text not in known and text not in new:
                new[text] = _row_values(row, text)
        self._insert(list(new.values()), [{"key": spec.key, "content": _dump(to_json(spec))} for spec in specs])
        return len(new)

    def rows(
        self, indicator: str | None = None, model: str | None = None, *, every: bool = False, **conditions: Any
    ) -> list[Measurement]:
        """The newest row of each identity, in the order they were appended; with `every`, the older ones too.

        `conditions` are fields of `Conditions` and select by equality: `rows("latency_s", runtime="torch_eager")`.
        """
        _check_conditions(conditions)
        query = sql.select(_rows.c.content).order_by(_rows.c.id)
        if indicator is not None:
            query = query.where(_rows.c.indicator == indicator)
        if model is not None:
            query = query.where(_rows.c.model == model)
        with self._explained(), self._engine.connect() as connection:
            contents = connection.execute(query).scalars().all()
        found = [Measurement.from_json(json.loads(content)) for content in contents]
        found = [row for row in found if all(getattr(row.conditions, k) == v for k, v in conditions.items())]
        return found if every else _newest(found)

    def has(self, conditions: Conditions, indicator: str) -> bool:
        """Whether there is an answer: a value, or a reason why there is none."""
        query = sql.select(_rows.c.id).where(_rows.c.conditions == conditions.text, _rows.c.indicator == indicator)
        with self._explained(), self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def missing(self, wanted: Iterable[tuple[Conditions, str]]) -> list[tuple[Conditions, str]]:
        """Those of the wanted that have no row yet. A row that says `why` is an answer."""
        with self._explained(), self._engine.connect() as connection:
            query = sql.select(_rows.c.conditions, _rows.c.indicator).distinct()
            answered = {tuple(pair) for pair in connection.execute(query)}
        return [(conditions, name) for conditions, name in wanted if (conditions.text, name) not in answered]

    def specs(self) -> dict[str, ModelSpec]:
        """Every known spec by its key."""
        with self._explained(), self._engine.connect() as connection:
            pairs = connection.execute(sql.select(_specs.c.key, _specs.c.content).order_by(_specs.c.key)).all()
        return {key: from_json(json.loads(content)) for key, content in pairs}

    def indicators(self) -> list[str]:
        """Every indicator that has a row, sorted."""
        with self._explained(), self._engine.connect() as connection:
            return sorted(connection.execute(sql.select(_rows.c.indicator).distinct()).scalars())

    def columns(self) -> list[Column]:
        """Every indicator under every set of conditions there is, in the order of first appearance."""
        return list(dict.fromkeys(Column(row.indicator, row.conditions.column()) for row in self.rows()))

    def table(self, columns: Sequence[Column | str], where: Mapping[str, Any] | None = None) -> Table:
        """One line per model that has any of the columns, one column per indicator under one set of conditions.

        A column given as a bare indicator takes the conditions that its rows share. `where` selects rows by
        fields of `Conditions`; a row that does not state a field does not depend on it and passes. Raises
        `UserError` where rows of several conditions would have to share a column.
        """
        where = dict(where or {})
        _check_conditions(where)
        passing = [
            row for row in self.rows() if all(getattr(row.conditions, k) in (None, "", (), v) for k, v in where.items())
        ]
        chosen = tuple(c if isinstance(c, Column) else _only_column(c, passing) for c in columns)
        return arrange(passing, chosen, self.specs())

    def export_lines(self, path: str | Path) -> None:
        """Write every spec and every row as JSON lines; the file is there in whole or not at all."""
        path = Path(path)
        lines = [_dump({"spec": to_json(spec)}) for spec in self.specs().values()]
        lines += [_dump({"row": row.to_json()}) for row in self.rows(every=True)]
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with open(handle, "w", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in lines)
                os.chmod(temporary, 0o644)  # a temporary file is made for its owner alone
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; choose a folder with room to write") from error

    def import_lines(self, path: str | Path) -> int:
        """Append what `export_lines` wrote and return the number of new rows; rows already here are not doubled.

        Raises `UserError` with the number of the first line that is not ours; then nothing is imported.
        """
        rows: list[Measurement] = []
        specs: list[ModelSpec] = []
        for number, line in enumerate(_lines(path), start=1):
            try:
                content = json.loads(line)
                if set(content) == {"spec"}:
                    specs.append(from_json(content["spec"]))
                    continue
                row = _checked(Measurement.from_json(content["row"]))
                _dump(row.to_json())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(
                    f"{path}, line {number}, is not a row or spec of paretovit ({reason}); nothing was imported"
                ) from error
            rows.append(row)
        return self.append_new(rows, specs)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def _is_file(self) -> bool:
        return self.url.get_backend_name() == "sqlite" and self.url.database not in (None, "", ":memory:")

    def _open(self) -> None:
        """Check that the place is a store that we can read, or make it one."""
        with self._engine.connect() as connection:
            tables = sql.inspect(connection).get_table_names()
            version = connection.execute(sql.select(_about.c.version)).scalar() if _about.name in tables else None
        if version is not None and version > VERSION:
            raise UserError(f"{self.place} was written by a newer paretovit; upgrade: pip install -U paretovit")
        if version is not None:
            return
        if self._is_file and tables and not set(tables) <= set(_schema.tables):
            raise UserError(f"{self.place} is a database, but not a store of paretovit; name another file")
        with self._engine.begin() as connection:
            # Several processes may open the same new store at once: "if not exists" is enough for SQLite, which has
            # one writer; in PostgreSQL two may both find nothing there, so they take turns.
            if self._engine.dialect.name == "postgresql":
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_TURN)))
            for table in _schema.sorted_tables:
                connection.execute(sql.schema.CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(sql.schema.CreateIndex(index, if_not_exists=True))
            connection.execute(self._insert_new(_about), {"version": VERSION})

    def _insert(self, row_values: list[dict[str, Any]], spec_values: list[dict[str, Any]]) -> None:
        with self._explained(), self._engine.begin() as connection:
            if spec_values:
                connection.execute(self._insert_new(_specs), spec_values)
            if row_values:
                connection.execute(sql.insert(_rows), row_values)

    def _insert_new(self, table: sql.Table) -> sqlite.Insert | postgresql.Insert:
        """An insert that leaves a line with the same primary key as it is."""
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        return dialect.insert(table).on_conflict_do_nothing()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what databases say into what a user can do about it."""
        try:
            yield
        except NoSuchModuleError as error:
            raise UserError(f"unknown kind of database in {self.place}; give a file or a postgresql:// URL") from error
        except DatabaseError as error:
            said = str(error.orig).strip()
            for part, mend in _MENDS.items():
                if part in said.lower():
                    raise UserError(f"{self.place}: {mend}") from error
            if not self._is_file and isinstance(error, sql.exc.OperationalError):
                first = (said or "no answer").splitlines()[0]
                raise UserError(f"cannot use {self.place}: {first}; check the URL and the server") from error
            raise


_DRIVERS = {"psycopg": '"psycopg[binary]"', "psycopg2": "psycopg2-binary"}
_KEPT = "what was stored before is kept"
_MENDS = {
    "not a database": "this file is not a store of paretovit; name another file",
    "malformed": "the store is damaged; move it away and bring its rows back with `import` from an export",
    "disk is full": f"the disk is full; {_KEPT}; make room and run again, which goes on from here",
    "disk i/o error": f"the disk is full or failing; {_KEPT}; make room and run again, which goes on from here",
    "readonly": f"the store cannot be written; {_KEPT}; copy it to a folder that you may write to",
    "unable to open": "the store cannot be opened or made; give a path in a folder that exists and can be written",
    "is locked": f"another process held the store for {_BUSY_S:.0f} s; {_KEPT}; run again when it has ended",
}


def arrange(
    rows: Iterable[Measurement], columns: Sequence[Column] = (), specs: Mapping[str, ModelSpec] | None = None
) -> Table:
    """Rows as a table of those columns, or of all they have; of rows for one cell the last one counts."""
    rows = list(rows)
    columns = tuple(columns) or tuple(dict.fromkeys(Column(row.indicator, row.conditions.column()) for row in rows))
    place = {column: at for at, column in enumerate(columns)}
    lines: dict[str, list[Measurement | None]] = {}
    names: dict[str, str] = {}
    for row in rows:
        at = place.get(Column(row.indicator, row.conditions.column()))
        if at is None:
            continue
        key = row.conditions.spec or row.model
        names[key] = row.model
        lines.setdefault(key, [None] * len(columns))[at] = row
    return Table(
        lines=tuple(Line(key, names[key], (specs or {}).get(key)) for key in lines),
        columns=columns,
        cells=tuple(tuple(cells) for cells in lines.values()),
    )


def _url(url_or_path: str | Path) -> URL:
    if isinstance(url_or_path, str) and "://" in url_or_path:
        try:
            return make_url(url_or_path)
        except (ArgumentError, ValueError) as error:
            raise UserError(f"cannot read {url_or_path!r} as a database URL: {error}") from error
    path = Path(url_or_path).expanduser()
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it, such as {path / 'paretovit.sqlite'}")
    return URL.create("sqlite", database=str(path))


def _use_wal(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")


def _dump(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _row_values(row: Measurement, content: str) -> dict[str, Any]:
    return {"indicator": row.indicator, "model": row.model, "conditions": row.conditions.text, "content": content}


def _newest(rows: list[Measurement]) -> list[Measurement]:
    newest = {(row.indicator, row.conditions.text, row.conditions.spec or row.model): row for row in rows}
    return list(newest.values())


def _check_conditions(names: Iterable[str]) -> None:
    known = [f.name for f in fields(Conditions)]
    for name in names:
        if name not in known:
            raise unknown("condition", name, known)


def _only_column(indicator: str, rows: list[Measurement]) -> Column:
    """The column of that indicator. Raises `UserError` where the rows were not taken under the same conditions."""
    found = list(dict.fromkeys(row.conditions.column() for row in rows if row.indicator == indicator))
    if not found:
        raise unknown("indicator in this store", indicator, {row.indicator for row in rows})
    if len(found) == 1:
        return Column(indicator, found[0])
    listed = []
    for name, values in differing(found).items():
        listed.append(f"{name} ({', '.join(str(value) for value in values)})")
    first = next(iter(differing(found)))
    say = f"say which, such as {first}={getattr(found[0], first)!r}"
    raise UserError(f"{indicator} was taken under several conditions that one column must not mix: "
                    f"{'; '.join(listed)}; {say}")  # fmt: skip


def differing(conditions: Sequence[Conditions]) -> dict[str, list[Any]]:
    """The fields in which these conditions are not all equal, each with its distinct values."""
    values = {f.name: list(dict.fromkeys(getattr(c, f.name) for c in conditions)) for f in fields(Conditions)}
    return {name: distinct for name, distinct in values.items() if len(distinct) > 1}


def _lines(path: str | Path) -> list[bytes]:
    try:
        return Path(path).read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a file that `export` wrote") from error


def _checked(row: Measurement) -> Measurement:
    """The row, if its words are words and its numbers numbers: JSON from elsewhere may hold anything."""
    words = (row.model, row.indicator, row.unit, row.why)
    if not all(isinstance(word, str) for word in words) or not all(isinstance(s, int | float) for s in row.samples):
        raise TypeError("model, indicator, unit and why are text, samples are numbers")
    return row
