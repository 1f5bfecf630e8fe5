"""Who may import whom: a module imports only from floors below its own, and from its own package.

Every import counts, also those inside functions and under `if TYPE_CHECKING`: a floor is about what a module
knows, not about when it is loaded.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "paretovit"

# the ground: what every floor stands on
GROUND = -1
FLOORS = {
    "errors": GROUND,
    "progress": GROUND,
    "spec": 0,
    "measurement": 0,
    "folder": 0,
    "store": 1,
    "devices": 1,
    "zoo": 1,
    "cost": 2,
    "training": 2,
    "analysis": 2,
    "importers": 2,
    "report": 3,
    "papers": 3,
    "optimize": 3,
    "transfer": 3,
    "cli": 4,
    "__main__": 5,
}
NO_TORCH = (
    "errors",
    "spec",
    "measurement",
    "folder",
    "store",
    "zoo.catalog",
    "zoo.taxonomy",
    "zoo.timm_rows",
    "zoo.folders",
    "zoo.registration",
    "zoo.videos",
)
HEAVY = {"torch", "timm", "torchvision", "numpy", "scipy", "sklearn", "altair", "datasets"}


def modules() -> list[str]:
    """Every module by its dotted name without the package in front: "zoo.mixers.attention"; "" is the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return [".".join(p.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".") for p in paths]


def source(module: str) -> str:
    path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


def imports(module: str, text: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that `module` imports: `from a import b` is "a.b"."""
    full = f"paretovit.{module}".rstrip(".").split(".")
    package = full if not module or PACKAGE.joinpath(*module.split(".")).is_dir() else full[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((node.lineno, str(name.value)) for name in node.args[:1] if isinstance(name, ast.Constant))


def complaints(module: str, text: str) -> list[str]:
    """One sentence for every import that goes sideways or up."""
    own = module.split(".")[0]
    found = []
    for line, name in imports(module, text):
        parts = name.split(".")
        if parts[0] != "paretovit" or (len(parts) > 1 and parts[1] == own):
            continue
        where = f"paretovit/{module.replace('.', '/')}, line {line}"
        if len(parts) < 2 or parts[1] not in FLOORS:
            found.append(f"{where} imports {name}: inside the package, import from the module that holds it")
        elif FLOORS[parts[1]] >= FLOORS[own]:
            found.append(
                f"{where} (floor {FLOORS[own]}) imports {name} (floor {FLOORS[parts[1]]}): move what both need a floor "
                f"down, or pass it in"
            )
    return found


@pytest.mark.parametrize("module", [module for module in modules() if module])
def test_a_module_imports_only_from_floors_below_and_its_own_package(module: str) -> None:
    assert module.split(".")[0] in FLOORS, f"{module} has no floor: add it to the table in {Path(__file__).name}"
    found = complaints(module, source(module))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("zoo.build", "from paretovit.store import Store", "(floor 1) imports paretovit.store.Store (floor 1)"),
        ("spec", "def f():\n    import paretovit.zoo.build", "line 2 (floor 0) imports paretovit.zoo.build"),
        ("analysis", "if TYPE_CHECKING:\n    from paretovit.cost import measure", "imports paretovit.cost.measure"),
        ("cost.counting", "from ..report import page", "(floor 2) imports paretovit.report.page (floor 3)"),
        ("cost", "from .. import cli", "imports paretovit.cli (floor 4)"),
        ("report.page", "from paretovit import build", "import from the module that holds it"),
        ("training.loop", "importlib.import_module('paretovit.papers.wttf')", "imports paretovit.papers.wttf"),
    ],
)
def test_an_import_sideways_or_up_is_named(module: str, text: str, said: str) -> None:
    (complaint,) = complaints(module, text)
    assert said in complaint


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("zoo.build", "from paretovit.zoo.backbone import Backbone"),
        ("zoo.build", "from .backbone import Backbone"),
        ("zoo.build", "from paretovit.spec import ModelSpec"),
        ("spec", "from paretovit.errors import UserError"),
        ("cli", "from paretovit import store"),
        ("cost.counting", "import torch"),
    ],
)
def test_an_import_from_below_is_not(module: str, text: str) -> None:
    assert complaints(module, text) == []


def test_no_mixer_imports_another() -> None:
    """What two of them need lies in a module of the folder that is named for it, with an underscore in front."""
    mixers = [module for module in modules() if module.startswith("zoo.mixers.") and "._" not in module]
    assert len(mixers) > 20
    found = [
        f"{module} imports {name}"
        for module in mixers
        for _, name in imports(module, source(module))
        if any(name.startswith(f"paretovit.{other}.") for other in mixers)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("module", NO_TORCH)
def test_the_light_modules_never_import_heavy_libraries_at_their_top(module: str) -> None:
    top = ast.Module([node for node in ast.parse(source(module)).body if not isinstance(node, ast.If)], [])
    statements = [node for node in top.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.split(".")[0] for _, name in imports(module, ast.unparse(ast.Module(statements, [])))}
    assert not names & HEAVY


def test_every_library_that_the_core_imports_at_its_top_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {entry.split(">")[0].split("[")[0].lower() for entry in project["dependencies"]}
    called = {"sklearn": "scikit-learn", "vl_convert": "vl-convert-python", "PIL": "torchvision"}  # or comes with it
    for module in modules():
        for node in ast.parse(source(module)).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for _, name in imports(module, ast.unparse(node)):
                    library = name.split(".")[0]
                    if library != "paretovit" and library not in sys.stdlib_module_names:
                        assert called.get(library, library).lower() in named, f"{module} imports {library}"
