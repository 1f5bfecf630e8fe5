"""Results that others published, as rows of a store: one file per layout.

An imported row says so: its origin is "published" and its conditions name the source. It is never mixed with what is
measured here, for the source keeps its column apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from paretovit.errors import UserError, unknown
from paretovit.folder import Folder
from paretovit.measurement import Measurement
from paretovit.spec import ModelSpec

Published = tuple[list[Measurement], list[ModelSpec]]


class Importer(ABC):
    """Reads one layout of published results. `title` says whose and what; without `needs_path` there is no file."""

    title: ClassVar[str]
    needs_path: ClassVar[bool] = True

    @abstractmethod
    def read(self, path: Path) -> Published:
        """Every row at that path, and the specs of the models that it can name by one. Without `needs_path` the path
        is not looked at.

        The same files give the same rows, word for word. Raises `UserError` with file and line for what is not as
        the layout has it.
        """


IMPORTERS: Folder[Importer] = Folder("paretovit.importers", "layout of published results")


def read(layout: str, path: str | Path | None = None) -> Published:
    """The rows and specs of published results, for `Store.append_new`.

    `layout` is its name on the command line, such as "timm-results" for the file `timm_results.py`.

    Raises `UserError` for a layout that nobody knows, and for files that are not as it has them.
    """
    name = layout.replace("-", "_")
    if name not in IMPORTERS:
        raise unknown(IMPORTERS.what, layout, names())
    importer = IMPORTERS[name]()
    if not importer.needs_path:
        if path is not None:
            raise UserError(f"{layout} is no file; leave out {path}")
        return importer.read(Path())
    if path is None or not Path(path).exists():
        missing = f"{layout} wants a path" if path is None else f"there is nothing at {path}"
        raise UserError(f"{missing}; give the folder of {importer.title}")
    return importer.read(Path(path))


def names() -> list[str]:
    """Every layout as it is called on the command line."""
    return [name.replace("_", "-") for name in IMPORTERS.names()]
