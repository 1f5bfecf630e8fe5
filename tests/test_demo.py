"""The demo may be killed at any moment: run again, it ends with the rows of a run that nobody disturbed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from paretovit.measurement import Measurement
from paretovit.store import Store

ROOT = Path(__file__).parent.parent
PANEL = '("vit_pico_patch4_8", "fnet_pico_patch4_8", "evit_fuse_pico_patch4_8")'


@pytest.fixture
def demo(tmp_path):
    """A copy of the demo over three models and two epochs, in a folder of its own."""
    text = (ROOT / "demo" / "demo.py").read_text()
    start, end = text.index("PANEL = ("), text.index("\n)\n", text.index("PANEL = (")) + 3
    text = text[:start] + f"PANEL = {PANEL}\n" + text[end:]
    text = text.replace("DEMO,", 'with_changes(DEMO, ["epochs=2"]),').replace(
        "import DEMO", "import DEMO, with_changes"
    )
    text = text.replace("CARE = Care(rounds=9, visit_s=0.08)", "CARE = Care(rounds=3, visit_s=0.02, patience_s=0.0)")
    (tmp_path / "demo.py").write_text(text)
    return tmp_path / "demo.py"


def run(demo: Path, *, stop_after_s: float | None = None, how: signal.Signals = signal.SIGKILL) -> int:
    with subprocess.Popen(
        [sys.executable, demo], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            _, err = process.communicate(timeout=stop_after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, how)
            _, err = process.communicate()
        else:
            assert process.returncode == 0, err.decode()[-2000:]
        return process.returncode


def rows(demo: Path) -> list[Measurement]:
    with Store(demo.parent / "runs" / "demo.sqlite", create=False) as store:
        return store.rows(every=True)


def identity(row: Measurement) -> tuple[str, str, str]:
    return (row.model, row.indicator, row.conditions.text)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_anywhere_it_ends_with_the_same_rows_and_measures_nothing_twice(demo, how):
    start = time.monotonic()
    run(demo)
    whole_s = time.monotonic() - start
    expected = rows(demo)
    shutil.rmtree(demo.parent / "runs")
    for share in (0.3, 0.45, 0.6, 0.75, 0.9):
        run(demo, stop_after_s=share * whole_s, how=how)
    assert run(demo) == 0
    found = rows(demo)
    assert max(Counter(map(identity, found)).values()) == 1, "something was measured twice"
    assert sorted(map(identity, found)) == sorted(map(identity, expected))
    exact = {
        "params",
        "macs",
        "activations",
        "elementwise_ops",
        "bytes_moved",
        "top1",
        "top5",
        "train_loss",
        "images_seen",
    }
    exact |= {"peak_bytes_infer", "peak_bytes_train"}
    values = {identity(row): row.value for row in expected if row.indicator in exact}
    assert {identity(row): row.value for row in found if row.indicator in exact} == values
    assert (demo.parent / "report" / "index.html").is_file()
