"""What the README shows is there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import paretovit
from paretovit import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_package_exports_what_the_example_imports():
    imported = [node for node in ast.walk(ast.parse(EXAMPLE)) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imported for alias in node.names}
    assert names
    assert names <= set(paretovit.__all__)
    assert all(getattr(paretovit, name) for name in paretovit.__all__)


def test_every_command_it_shows_exists():
    shown = {shlex.split(line)[1] for line in README.splitlines() if line.startswith("paretovit ")}
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert shown
    assert shown <= known


def test_every_file_it_names_is_there():
    for path in re.findall(r"^(paretovit/\S*)|`(results/\S+|benchmarks/\S*)`|\((docs/\S+)\)", README, re.MULTILINE):
        assert (ROOT / "".join(path)).exists(), path


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLE, "README.md", "exec"), {})
    assert (tmp_path / "report" / "index.html").is_file()
