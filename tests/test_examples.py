"""The scripts of `examples/` run, each at its smallest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paretovit.store import Store

FAIR = Path(__file__).parents[1] / "examples" / "fair_comparisons.py"
SAID = {
    "patch_size": ("vit_base_patch64_192", "vit_pico_patch2_16 against vit_pico_patch8_16"),
    "mixture_of_experts": ("As dear as switch_pico_patch4_16 in params", "As dear as switch_pico_patch4_16 in macs"),
    "depth_against_width": ("vit_w4096_patch32_224", "vit_d48_patch32_224 (1/16) against vit_w3072_patch32_224"),
}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, FAIR, *words], capture_output=True, text=True, check=False)


def test_a_case_that_is_not_there_is_refused():
    done = run("patch_sise")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no case patch_sise; choose from {', '.join(SAID)}" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", SAID)
def test_a_case_study_counts_and_times_its_models_once(case, tmp_path):
    words = (case, "--smallest", "--store", tmp_path / "rows.sqlite")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert all(text in " ".join(done.stdout.split()) for text in SAID[case])
    assert max(map(len, done.stdout.splitlines())) <= 100
    with Store(tmp_path / "rows.sqlite", create=False) as store:
        times = store.rows("latency_s", every=True)
        assert len(times) >= 3
        again = run(*words)
        assert again.returncode == 0
        assert store.rows("latency_s", every=True) == times
