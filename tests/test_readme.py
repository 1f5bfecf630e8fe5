"""What the README shows is there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

import paretovit
from paretovit import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README, **{p.name: p.read_text(encoding="utf-8") for p in (ROOT / "docs").glob("*.md")}}
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_package_exports_what_the_example_imports():
    imported = [node for node in ast.walk(ast.parse(EXAMPLE)) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imported for alias in node.names}
    assert names
    assert names <= set(paretovit.__all__)
    assert all(getattr(paretovit, name) for name in paretovit.__all__)


def shown_commands(page: str) -> list[list[str]]:
    """The words of each command line of a page, the remark behind it among them."""
    return [shlex.split(line)[1:] for line in PAGES[page].splitlines() if line.startswith("paretovit ")]


@pytest.mark.parametrize("page", ["README.md", "commands.md"])
def test_every_command_it_shows_exists_with_its_options(page: str) -> None:
    known = {command.name or command.callback.__name__: command for command in cli.app.registered_commands}
    described = typer.main.get_command(cli.app).commands
    commands = shown_commands(page)
    assert len(commands) > 10
    for name, *words in commands:
        assert name in known
        options = {flag for parameter in described[name].params for flag in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, (name, words)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_it_names_is_there(page: str) -> None:
    named = re.findall(
        r"^(paretovit/\S*)|`((?:results|benchmarks)/\S+?)`|\]\(((?:docs/|\.\./)?[\w-]+\.md)\)", PAGES[page], re.M
    )
    beside = ROOT if page == "README.md" else ROOT / "docs"
    for path in named:
        assert ((beside if path[2] else ROOT) / "".join(path)).exists(), path


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLE, "README.md", "exec"), {})
    assert (tmp_path / "report" / "index.html").is_file()
