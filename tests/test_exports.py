"""What `import paretovit` offers: the verbs of its contract, each with a meaning of its own."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import paretovit
from paretovit.errors import UserError

VERBS = ("build", "prepare", "measure", "train", "propose", "draw", "catalog", "Store")


def test_every_verb_is_there_and_says_what_it_does():
    assert set(VERBS) <= set(paretovit.__all__)
    assert paretovit.__all__ == sorted(paretovit.__all__) == sorted(paretovit._HOMES)
    for name in paretovit.__all__:
        assert inspect.getdoc(getattr(paretovit, name)), name


def test_the_catalog_is_every_named_model_or_one_class_of_them():
    whole = paretovit.catalog()
    assert len(whole) > 200
    assert [entry.name for entry in whole if entry.family == "token merging"] == [
        entry.name for entry in paretovit.catalog("token merging")
    ]
    assert all(paretovit.resolve(entry.name).key == entry.spec.key for entry in whole[:5])
    with pytest.raises(UserError, match="did you mean token merging"):
        paretovit.catalog("token mergin")


def test_the_catalog_needs_no_torch():
    code = "import sys, paretovit; print(len(paretovit.catalog()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "False"
