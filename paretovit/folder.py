"""A directory used as a registry: `pooled_attention.py` holds `PooledAttention`.

Listing the names imports nothing, so what `ls` shows and what the program offers agree, and a part whose
library is not installed costs nothing until it is asked for. Facts that a class states as literals
(`family = "low-rank attention"`) are read from the source, so the catalog can be printed without torch.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from paretovit.errors import unknown

T = TypeVar("T")


class Folder(Generic[T]):
    """The classes in the files of one package, by file name.

    `Folder("paretovit.zoo.mixers", "token mixer")["linformer"]` is the class `Linformer` in `linformer.py`.
    `what` is the word used for an entry in messages.
    """

    def __init__(self, package: str, what: str) -> None:
        self.package, self.what = package, what
        root = Path(__file__).parent
        self._dir = root.joinpath(*package.split(".")[1:])

    def names(self) -> list[str]:
        """Every entry, sorted; nothing is imported."""
        return sorted(p.stem for p in self._dir.glob("*.py") if not p.stem.startswith("_"))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> type[T]:
        """The class of that name. Raises `UserError` with the nearest names for one that does not exist."""
        self._check(name)
        module = importlib.import_module(f"{self.package}.{name}")
        return getattr(module, class_name(name))

    def fact(self, name: str, attribute: str, default: Any = None) -> Any:
        """A literal class attribute, read from the source without importing the file."""
        self._check(name)
        return _facts(self._dir / f"{name}.py", class_name(name)).get(attribute, default)

    def summary(self, name: str) -> str:
        """The first line of the class's docstring, read from the source."""
        return str(self.fact(name, "__doc__", "")).strip().split("\n")[0]

    def _check(self, name: str) -> None:
        if name not in self:
            raise unknown(self.what, name, self.names())


def class_name(file_name: str) -> str:
    """`pooled_attention` -> `PooledAttention`."""
    return "".join(word.capitalize() for word in file_name.split("_"))


@cache
def _facts(path: Path, cls: str) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not (isinstance(node, ast.ClassDef) and node.name == cls):
            continue
        facts["__doc__"] = ast.get_docstring(node) or ""
        for item in node.body:
            if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
                name, value = item.targets[0].id, item.value
            elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
                name, value = item.target.id, item.value
            else:
                continue
            try:
                facts[name] = ast.literal_eval(value)
            except ValueError:
                continue  # computed, not stated: only the imported class knows it
    return facts
