from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import paretovit.zoo.folders
from paretovit.errors import UserError
from paretovit.folder import Folder, class_name
from paretovit.spec import Part
from paretovit.zoo.folders import MIXERS, SEQUENCES, make

FOLDERS = [value for value in vars(paretovit.zoo.folders).values() if isinstance(value, Folder)]


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.package)
def folder(request: pytest.FixtureRequest) -> Folder[object]:
    return request.param


def test_names_are_the_files(folder: Folder[object]) -> None:
    package = Path(paretovit.zoo.folders.__file__).parent / folder.package.rsplit(".", 1)[1]
    files = {path.name.removesuffix(".py") for path in package.iterdir() if path.suffix == ".py"}
    assert folder.names() == sorted(name for name in files if not name.startswith("_"))
    assert "__init__" not in folder


def test_every_file_holds_its_class_with_a_summary(folder: Folder[object]) -> None:
    for name in folder.names():
        kind = folder[name]
        assert kind.__name__ == class_name(name)
        assert kind.__module__ == f"{folder.package}.{name}"
        assert folder.summary(name) == (kind.__doc__ or "").strip().split("\n")[0]
        assert folder.summary(name), f"{name} has no docstring"


def test_every_class_is_one_of_the_folders_kind_and_none_inherits_from_another(folder: Folder[object]) -> None:
    kinds = [folder[name] for name in folder.names()]
    for kind in kinds:
        assert kind.__mro__[1].__module__ == folder.package, (
            f"{kind.__name__} must inherit from the folder's base class"
        )


def test_file_names_become_class_names() -> None:
    assert class_name("pooled_attention") == "PooledAttention"
    assert class_name("fnet") == "Fnet"


def test_facts_are_read_from_the_source_without_importing_it() -> None:
    code = (
        "import sys; from paretovit.zoo.folders import MIXERS, SEQUENCES;"
        "print(MIXERS.fact('attention', 'family'), MIXERS.fact('attention', 'answers'), SEQUENCES.fact('evit', 'ask'),"
        "SEQUENCES.fact('evit', 'family_by_option'), SEQUENCES.summary('keep_all'), 'torch' in sys.modules, sep='|')"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed.split("|") == [
        "baseline",
        "('class_row', 'keys')",
        "class_row",
        "{'fuse=True': 'token merging'}",
        "No token is removed or merged.",
        "False",
    ]


def test_a_fact_that_is_not_stated_is_the_default() -> None:
    assert MIXERS.fact("attention", "colour") is None
    assert MIXERS.fact("attention", "colour", "blue") == "blue"


@pytest.mark.parametrize("ask", [MIXERS.__getitem__, MIXERS.summary, lambda name: MIXERS.fact(name, "family")])
def test_a_wrong_name_is_answered_with_the_nearest(ask) -> None:
    with pytest.raises(UserError, match=r"unknown token mixer 'atention'; did you mean attention"):
        ask("atention")


def test_a_name_like_no_other_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"known: .*keep_all"):
        SEQUENCES["qqq"]


def test_no_name_leads_out_of_the_folder() -> None:
    for name in ("__init__", "../backbone", "_private", ""):
        assert name not in MIXERS
        with pytest.raises(UserError):
            MIXERS[name]


def test_parts_are_made_with_their_options() -> None:
    readouts = paretovit.zoo.folders.READOUTS
    assert make(readouts, Part("mean"), 32).dim == 32


def test_an_option_that_a_part_does_not_have_is_named_in_one_line() -> None:
    with pytest.raises(UserError, match=r"read-out mean\(colour=blue\).*colour") as caught:
        make(paretovit.zoo.folders.READOUTS, Part.of("mean", colour="blue"), 32)
    assert "\n" not in str(caught.value)
