"""Trainings of a search for real: at once, halted, killed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest

from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement
from paretovit.optimize.halving import Asked
from paretovit.optimize.scale import PATH, Plan, SearchPath, scale
from paretovit.optimize.scale_ray import RayWorkers, _there
from paretovit.optimize.scale_train import Trainings, accuracies
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.training.folder import exclusive
from paretovit.training.loop import STATE, keep
from paretovit.training.recipe import DEMO
from paretovit.zoo.catalog import resolve
from paretovit.zoo.factors import Factors, with_factors

START = resolve("vit_pico_patch4_8", in_chans=1, num_classes=10)
SPECS = [with_factors(START, Factors(1, 1, 8 + 2 * more, 2, 8, 4)) for more in range(3)]
SHORT = replace(DEMO, epochs=3, warmup_epochs=0, train_images=100)


def trainings(runs: Path, **keys) -> Trainings:
    return Trainings(**({"data": "digits", "recipe": SHORT, "runs": runs} | keys))


def outcomes(trainings: Trainings, specs: Sequence[ModelSpec], until: int | None = None) -> dict:
    return {one.spec: outcome for one, outcome in trainings(deque(Asked(spec, until) for spec in specs))}


def curve(rows) -> list[list[float]]:
    return next(row.origin.timing["curve"] for row in rows if row.indicator == "top1")


def test_a_training_that_rested_comes_to_what_one_without_rest_does(tmp_path):
    whole = curve(trainings(tmp_path / "whole").one(SPECS[0]))
    halting = trainings(tmp_path / "halting")
    first = outcomes(halting, SPECS[:1], 1)[SPECS[0]]
    assert first == whole[0][1]
    before = (tmp_path / "halting" / SPECS[0].key / STATE).stat().st_mtime_ns
    assert outcomes(halting, SPECS[:1], 1) == {SPECS[0]: first}
    assert (tmp_path / "halting" / SPECS[0].key / STATE).stat().st_mtime_ns == before  # read, not trained
    assert outcomes(halting, SPECS[:1], 2) == {SPECS[0]: whole[1][1]}
    assert curve(outcomes(halting, SPECS[:1])[SPECS[0]]) == whole
    assert accuracies(tmp_path / "halting" / SPECS[0].key) == [top1 for _, top1 in whole]
    assert accuracies(tmp_path / "none") == []


def test_a_signal_while_the_last_epoch_before_a_rest_is_kept_is_heard(tmp_path, monkeypatch):
    halting = trainings(tmp_path)

    def kept_then_interrupted(*given, **keys):
        keep(*given, **keys)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("paretovit.training.loop.keep", kept_then_interrupted)
    with pytest.raises(KeyboardInterrupt):
        outcomes(halting, SPECS[:1], 1)
    monkeypatch.undo()
    assert len(accuracies(tmp_path / SPECS[0].key)) == 1
    assert isinstance(outcomes(halting, SPECS[:1], 1)[SPECS[0]], float)


@pytest.mark.parametrize("how", [{}, pytest.param({"jobs": 2}, marks=pytest.mark.slow)])
def test_more_may_be_asked_for_while_trainings_come_in(tmp_path, how):
    waiting, came = deque(Asked(spec, 1) for spec in SPECS[:2]), []
    with trainings(tmp_path, **how) as running:
        for asked, _ in running(waiting):
            came.append(asked)
            if asked == Asked(SPECS[0], 1):
                waiting.extend([Asked(SPECS[0], 2), Asked(SPECS[2], 1)])
    assert sorted(came, key=str) == sorted([*(Asked(spec, 1) for spec in SPECS), Asked(SPECS[0], 2)], key=str)


def test_what_diverges_is_an_outcome_and_alone_an_error(tmp_path):
    wild = trainings(tmp_path, recipe=replace(SHORT, lr=1e30, clip_grad=None))
    assert pickle.loads(pickle.dumps(Unmeasurable("why"))).args == ("why",)  # as it comes from another process
    assert isinstance(outcomes(wild, SPECS[:1])[SPECS[0]], Unmeasurable)
    with pytest.raises(Unmeasurable):
        wild.one(SPECS[0])


@pytest.mark.parametrize(("bad", "why"), [({"jobs": 0}, "at least 1"), ({"jobs": 2, "device": "cuda"}, "for the CPU")])
def test_jobs_out_of_range_are_refused(tmp_path, bad, why):
    with pytest.raises(UserError, match=why):
        trainings(tmp_path, **bad)


AT_ONCE = [pytest.param({"jobs": 2}, id="processes"), pytest.param({"ray": "local"}, id="ray")]


@pytest.mark.slow
def test_processes_stay_from_one_call_to_the_next(tmp_path):
    with trainings(tmp_path, jobs=2) as at_once:
        outcomes(at_once, SPECS[:2], 1)
        workers = {process.pid for process in active_children()}
        outcomes(at_once, SPECS[:2], 2)
        assert {process.pid for process in active_children()} == workers
        assert len(workers) == 2
    assert not active_children()


@pytest.mark.slow
def test_a_cluster_says_what_was_wrong_in_a_line(tmp_path):
    """An error of a training comes as itself, and what was lost on the way as one that says how to go on."""
    with trainings(tmp_path, data="nowhere", ray="local") as at_once, pytest.raises(UserError, match=r"^unknown data"):
        outcomes(at_once, SPECS[:1])
    workers = RayWorkers("local", gpu=False)
    try:
        with pytest.raises(UserError, match=r"was lost \(.*; what was measured and trained is kept"):
            workers.submit(os._exit, 1).result()
    finally:
        workers.end()
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        RayWorkers("127.0.0.1:1", gpu=False)


@pytest.mark.slow
def test_a_machine_of_a_cluster_that_is_lost_ends_in_a_line_and_the_same_call_goes_on(tmp_path):
    """Two nodes of one core; one is killed with a training on it."""
    from ray.cluster_utils import Cluster  # takes a second

    long, specs = replace(SHORT, epochs=200), SPECS[:2]
    whole = outcomes(trainings(tmp_path / "whole", recipe=long), specs)
    runs, epochs = tmp_path / "runs", []
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()

        def lose() -> None:
            _wait_until(lambda: all((runs / spec.key / STATE).exists() for spec in specs))
            epochs.extend(len(accuracies(runs / spec.key)) for spec in specs)
            cluster.remove_node(lost, allow_graceful=False)

        thread = threading.Thread(target=lose)
        thread.start()
        was_lost = pytest.raises(UserError, match=r"a training on the cluster was lost \(.*; what was measured and tr")
        with trainings(runs, recipe=long, ray=cluster.address) as at_once, was_lost:
            outcomes(at_once, specs)
        thread.join()
        assert max(epochs) < long.epochs, "lost too late to show anything"
        _wait_until(lambda: all(_is_free(runs / spec.key) for spec in specs))
        with trainings(runs, recipe=long, ray=cluster.address) as at_once:
            rest = outcomes(at_once, specs)
    finally:
        cluster.shutdown()
    assert {spec: curve(rows) for spec, rows in rest.items()} == {spec: curve(rows) for spec, rows in whole.items()}


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'paretovit\[ray\]'"):
        RayWorkers("local", gpu=False)


def test_a_machine_that_does_not_share_the_folder_is_told_of(tmp_path):
    with pytest.raises(UserError, match=f"does not see {tmp_path / 'gone'}; begin where all of them share files"):
        _there(str(tmp_path / "gone"), os.getpid)


@pytest.mark.slow
@pytest.mark.parametrize("how", AT_ONCE)
def test_two_at_once_come_to_what_one_after_the_other_does(tmp_path, how):
    one = outcomes(trainings(tmp_path / "one"), SPECS)
    with trainings(tmp_path / "two", **how) as at_once:
        rested = outcomes(at_once, SPECS[:2], 1)
        two = outcomes(at_once, SPECS)
    for spec in SPECS[:2]:
        assert rested[spec] == curve(one[spec])[0][1]
    assert set(one) == set(two) == set(SPECS)
    for spec in SPECS:
        assert all(isinstance(row, Measurement) for row in two[spec])
        assert curve(two[spec]) == curve(one[spec])
        values = [{row.indicator: row.value for row in rows[spec] if row.unit != "s"} for rows in (one, two)]
        assert values[0] == values[1]


_LONG = """
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from pathlib import Path
from test_scale_train import SHORT, SPECS, outcomes, trainings
if __name__ == "__main__":
    with trainings(Path(sys.argv[1]), recipe=replace(SHORT, epochs=100_000), **{how}) as at_once:
        outcomes(at_once, SPECS)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at_once", AT_ONCE)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_do_not_outlive_their_parent(tmp_path, how, at_once):
    """Both trainings are under way when the parent is gone: soon nobody holds their folders, and they can go on."""
    script = tmp_path / "long.py"
    script.write_text(_LONG.format(tests=str(Path(__file__).parent), how=at_once), encoding="utf-8")
    runs = tmp_path / "runs"
    process = subprocess.Popen([sys.executable, str(script), str(runs)], stderr=subprocess.PIPE, text=True)
    states = [runs / spec.key / STATE for spec in SPECS[:2]]
    try:
        _wait_until(lambda: process.poll() is not None or all(state.exists() for state in states))
        assert process.poll() is None, process.stderr.read()
        os.kill(process.pid, how)
        _, said = process.communicate(timeout=120)
        assert how == signal.SIGKILL or "stopped; what was measured and trained is kept" in said
        for state in states:
            _wait_until(lambda folder=state.parent: _is_free(folder))
            assert len(accuracies(state.parent)) >= 1
        assert how == signal.SIGKILL or not (runs / SPECS[2].key).exists()  # what waited was not begun
    finally:
        process.kill()


_SEARCH = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_scale_train import searched
if __name__ == "__main__":
    searched(Path(sys.argv[1]), jobs=2)
"""


def searched(folder: Path, jobs: int) -> SearchPath:
    """One step by halving; the kept models' folders and the rows in `folder`."""
    with Store(folder / "rows.sqlite") as store:
        return scale(
            "vit_pico_patch4_8", "digits", SHORT, Plan(steps=1, halving=True), cost="macs", out=folder / "out",
            store=store, jobs=jobs,
        )  # fmt: skip


@pytest.mark.slow
def test_a_search_killed_among_trainings_goes_on_to_the_path_of_one_after_the_other(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = searched(tmp_path / "one", jobs=1).to_json()
    script = tmp_path / "search.py"
    script.write_text(_SEARCH.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    command, out = [sys.executable, str(script), str(tmp_path / "two")], tmp_path / "two" / "out"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        # the start's own, and beside it one of the step that follows
        _wait_until(lambda: process.poll() is not None or len(list(out.glob(f"runs/*/{STATE}"))) >= 2)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert not (out / PATH).exists() or len(json.loads((out / PATH).read_text())["steps"]) == 1, "killed too late"
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=400, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((out / PATH).read_text()) == whole


def _is_free(folder: Path) -> bool:
    try:
        with exclusive(folder):
            return True
    except UserError:
        return False


def _wait_until(holds, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
