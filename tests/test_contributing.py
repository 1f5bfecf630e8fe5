"""CONTRIBUTING.md shows four additions of one file each; here they are made, and the contract tests are run on them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = re.compile(r"^### .*?`(paretovit/\S+\.py)`\n+```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONTRACTS = {
    "zoo/mixers": "mixers",
    "cost/indicators": "indicators",
    "cost/runtimes": "runtimes",
    "report/figures": "figures",
}


def examples() -> dict[str, str]:
    return dict(EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text()))


def test_an_example_is_shown_for_each_kind_of_addition():
    assert {str(Path(path).parent.relative_to("paretovit")) for path in examples()} == set(CONTRACTS)


@pytest.mark.slow
@pytest.mark.parametrize("path", examples())
def test_one_file_is_all_it_takes_and_the_contracts_hold_it(path, tmp_path):
    for folder in ("paretovit", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / path).write_text(examples()[path])
    contract = CONTRACTS[str(Path(path).parent.relative_to("paretovit"))]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/contracts/test_{contract}.py",
         "-k", Path(path).stem],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ passed", done.stdout), done.stdout
