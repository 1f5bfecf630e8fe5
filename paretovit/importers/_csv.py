"""CSV files of others, read with suspicion: what is not as expected is refused with its file and line."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paretovit.errors import UserError


@dataclass(frozen=True)
class Record:
    """One line of a CSV file, and where it stands."""

    path: Path
    line: int
    values: dict[str, str]

    def text(self, column: str) -> str:
        """What the column holds. Raises `UserError` where that is nothing."""
        if not self.values[column]:
            raise self.refused(column, "is empty")
        return self.values[column]

    def number(self, column: str) -> float:
        """The column as a finite number. Raises `UserError` for anything else."""
        try:
            value = float(self.text(column))
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise self.refused(column, f"is {self.values[column][:40]!r}, not a number") from error
        if not math.isfinite(value):
            raise self.refused(column, f"is {self.values[column]!r}, not a finite number")
        return value

    def positive(self, column: str) -> float:
        """As `number`. Raises `UserError` for 0 and below, too."""
        value = self.number(column)
        if value <= 0:
            raise self.refused(column, f"is {self.values[column]}, which must be above 0")
        return value

    def positive_or_none(self, column: str) -> float | None:
        """As `positive`; None where the column is empty."""
        return self.positive(column) if self.values[column] else None

    def count(self, column: str) -> int:
        """As `positive`, for whole numbers, also where they are written as 1024.0."""
        value = self.positive(column)
        if value != int(value):
            raise self.refused(column, f"is {self.values[column]}, not a whole number")
        return int(value)

    def share(self, column: str) -> float:
        """As `number`. Raises `UserError` for what is not from 0 to 1."""
        value = self.number(column)
        if not 0 <= value <= 1:
            raise self.refused(column, f"is {self.values[column]}, not a share from 0 to 1")
        return value

    def refused(self, column: str, what: str) -> UserError:
        """The error for this line."""
        return UserError(f"{self.path}, line {self.line}: {column} {what}; nothing was imported")


def records(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[Record]:
    """The lines of a CSV file whose first line names those columns, in any order.

    Raises `UserError` for a file that cannot be read or holds no line, for a column that is missing, there twice or
    unknown (it may be one of the `optional` under another name), and for a line with more or fewer cells.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            head = next(reader, [])
            missing = [column for column in columns if column not in head]
            strange = [column for column in head if column not in (*columns, *optional) or head.count(column) > 1]
            if missing or strange:
                said = [f"no column {', '.join(missing)}"] if missing else []
                said += [f"unknown or doubled column {', '.join(dict.fromkeys(strange))[:200]}"] if strange else []
                raise UserError(f"{path}, line 1: {'; '.join(said)}; nothing was imported")
            found = []
            for cells in reader:
                if len(cells) != len(head):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells under {len(head)} columns; "
                        "nothing was imported"
                    )
                found.append(Record(path, reader.line_num, dict(zip(head, map(str.strip, cells), strict=True))))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the folder or file of results") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error.reason}); nothing was imported") from error
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; nothing was imported") from error
    if not found:
        raise UserError(f"{path} has no line below its first; nothing was imported")
    return found
