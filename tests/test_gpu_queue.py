"""The scripts of `benchmarks/gpu/`, as far as they go without a GPU."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from paretovit.cost.folders import RUNTIMES
from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.store import Store
from paretovit.zoo.catalog import resolve

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
QUEUE = BENCHMARKS / "gpu"
SCRIPTS = sorted(path.name for path in QUEUE.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
MIB = 2**20


@pytest.fixture
def script(monkeypatch):
    """A script of the queue as a module, with what it finds beside itself; nothing of it stays."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(QUEUE))
    yield importlib.import_module
    for name in ("bm_memory", "costs", "pieces", "memory", "rows"):
        if name not in before:
            sys.modules.pop(name, None)


def run(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """On a machine that shows no GPU."""
    return subprocess.run(
        [sys.executable, QUEUE / name, *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "COLUMNS": "100"},
    )


NEEDED = {"sparse_2_4.py": ["--roofs", "roofs.jsonl"], "vix_table1.py": ["--data", "digits"]}


def test_the_queue_is_what_is_tested_here():
    assert SCRIPTS == ["costs.py", "memory.py", "sparse_2_4.py", "vix_table1.py"]
    told = (QUEUE / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"benchmarks/gpu/(\w+\.py)", told)) == set(SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_help_and_is_refused_in_one_line_without_a_gpu(name, tmp_path):
    helped = run(name, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert f"python benchmarks/gpu/{name}" in helped.stdout
    refused = run(name, "--out", tmp_path / "rows.jsonl", *NEEDED.get(name, []))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"{name}: no CUDA device is visible to torch")
    assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def peak(spec, name: str, how: str, value: float, batch_size: int) -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=name,
        unit="B",
        value=value,
        conditions=Conditions(spec=spec.key, device="a card" if how == "measured" else None, batch_size=batch_size),
        origin=Origin(how=how),
    )


def test_errors_of_a_prediction_are_told_with_and_without_what_all_models_have_in_common(script):
    memory = script("memory")
    specs = [resolve(f"{name}_pico_patch2_8") for name in ("vit", "fnet", "pool_vit")]
    rows = []
    for at, spec in enumerate(specs, start=1):
        macs = Measurement(
            model=spec.name, indicator="macs", unit="1", value=1e6 * at**2, conditions=Conditions(spec=spec.key),
            origin=Origin(how="counted"),
        )  # fmt: skip
        rows += [macs, peak(spec, "peak_bytes_infer", "predicted", 100 * MIB * at, 8)]
        rows.append(peak(spec, "peak_bytes_infer", "measured", 100 * MIB * at + 32 * MIB, 8))
        rows.append(peak(spec, "peak_bytes_train", "predicted", 7.0, 64))  # not measured: nothing is said of it
    (one,) = memory.peaks(rows)
    assert (one.name, one.batch_size, list(one.macs)) == ("peak_bytes_infer", 8, [1e6, 4e6, 9e6])
    np.testing.assert_allclose(one.errors, [32 / 132, 32 / 232, 32 / 332])
    (line,) = memory.verdict(rows)
    assert line.startswith("peak_bytes_infer, batch 8: 3 models; predicted: median error 1.4e-01, largest 24.24%; line")
    assert memory.with_a_constant(rows) == [
        "peak_bytes_infer, batch 8: 3 models; 32.0 MiB more than predicted in the median; with them: "
        "median error 0.0%, largest 0.0%"
    ]


def test_two_models_are_too_few_for_a_line(script):
    memory = script("memory")
    spec = resolve("vit_pico_patch2_8")
    rows = [peak(spec, "peak_bytes_infer", how, 5.0, 8) for how in ("predicted", "measured")]
    macs = Measurement(
        model=spec.name, indicator="macs", unit="1", value=1.0, conditions=Conditions(spec=spec.key),
        origin=Origin(how="counted"),
    )  # fmt: skip
    assert memory.verdict([macs, *rows]) == [
        "peak_bytes_infer, batch 8: 1 models; predicted: median error 0.0e+00, largest 0.00%"
    ]


def test_predictions_need_no_device_and_are_made_once(script, tmp_path, capsys):
    memory = script("memory")
    options = Namespace(
        out=tmp_path / "rows.jsonl", device="cpu", minutes=9, models=["vit_pico_patch2_8"], batches=[1, 2],
        foretell=True,
    )  # fmt: skip
    assert memory.main(options) == 0
    first = options.out.read_text()
    with Store("sqlite://") as store:
        store.import_lines(options.out)
        rows = [row for row in store.rows() if row.indicator.startswith("peak")]
    assert {(row.indicator, row.conditions.batch_size, row.origin.how) for row in rows} == {
        (name, batch_size, "predicted") for name in ("peak_bytes_infer", "peak_bytes_train") for batch_size in (1, 2)
    }
    assert memory.main(options) == 0
    assert options.out.read_text() == first
    assert memory.main(Namespace(**vars(options) | {"minutes": -1})) == 2  # two batch sizes, not begun
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.slow
def test_what_is_measured_stands_beside_the_prediction_and_agrees_on_a_cpu(script, tmp_path, capsys):
    memory = script("memory")
    options = Namespace(
        out=tmp_path / "rows.jsonl", device="cpu", minutes=9, models=["vit_pico_patch2_8"], batches=[2], foretell=False
    )
    assert memory.main(options) == 0
    out = capsys.readouterr().out
    errors = [float(share) for share in re.findall(r"largest (\S+)%", out)]
    assert len(errors) == 4  # two peaks, with and without a constant
    assert max(errors) < 5


def test_costs_names_models_and_runtimes_that_are_there(script, capsys):
    costs = script("costs")
    assert [resolve(name).name for name in costs.PANEL] == list(costs.PANEL)
    assert set(costs.ORDER) <= set(RUNTIMES.names())
    assert all("cuda" in RUNTIMES[name].devices for name in costs.ORDER)
    assert costs.here(["torch_eager"]) == ["torch_eager"]
    assert "images_per_s" in costs.asked_of("torch_cudagraphs")
    assert "images_per_s" not in costs.asked_of("torch_compile")


def test_costs_says_which_runtimes_it_goes_without(script, capsys, monkeypatch):
    costs = script("costs")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert costs.here(["torch_eager", "torch_cudagraphs"]) == ["torch_eager"]
    assert capsys.readouterr().err.startswith("without torch_cudagraphs: torch_cudagraphs needs a GPU")
    with pytest.raises(UserError, match="none of torch_cudagraphs can run here"):
        costs.here(["torch_cudagraphs"])


def test_costs_measures_in_groups_around_one_anchor_until_the_time_is_over(script, tmp_path, monkeypatch):
    costs = script("costs")
    called = []
    monkeypatch.setattr(costs, "carry_out", lambda specs, out, **how: called.append((specs, how)))
    options = Namespace(
        out=tmp_path / "rows.jsonl", device="cpu", minutes=9, dtype="float32", batch_size=4, runtimes=["torch_eager"],
        models=[f"vit_pico_patch2_{px}" for px in (4, 6, 8, 10, 12, 14)],
    )  # fmt: skip
    assert costs.main(options) == 0
    assert [[spec.image_px for spec in specs] for specs, _ in called] == [[4, 6, 8, 10], [4, 12, 14]]
    assert {how["device"] for _, how in called} == {"cpu"}
    assert costs.main(Namespace(**vars(options) | {"minutes": -1})) == 2
