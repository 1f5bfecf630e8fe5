"""What happens to a run when the process of a model crashes, hangs, is killed or runs out of memory."""

from __future__ import annotations

import os
import time

import pytest

from paretovit.cost.measure import Care, measure
from paretovit.cost.subject import Setting
from paretovit.cost.worker import Nursery
from paretovit.errors import Unmeasurable
from paretovit.zoo.catalog import resolve

MODELS = """
import os, signal, time, torch
from torch import nn

class Small(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.head, self.what = nn.Linear(3, 2), what
    def forward(self, x):
        self.what()
        return self.head(x.mean((2, 3)))

def fine(): return Small(lambda: None)
def leaves(): return Small(lambda: os._exit(3))
def killed(): return Small(lambda: os.kill(os.getpid(), signal.SIGKILL))
def hangs(): return Small(lambda: time.sleep(60))
def raises(): return Small(lambda: 1 / 0)
def greedy(): return Small(lambda: torch.empty(1 << 60))
def not_a_module(): return 1
"""


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("leaves", "its process ended with exit code 3"),
        ("killed", "was killed .signal 9.: most likely the machine ran out of memory"),
        ("hangs", "no answer within 6 s"),
        ("raises", "ZeroDivisionError"),
        ("greedy", "out of memory"),
        ("not_a_module", "returned int, not a torch.nn.Module"),
        ("nowhere", "cannot import own_models:nowhere"),
    ],
)
def test_a_model_that_ends_badly_is_a_row_with_its_reason(own_models, name, reason):
    models = [f"own_models:{name}", "own_models:fine"]
    rows = measure(
        models, indicators=["latency_s"], threads=1, care=Care(rounds=2, visit_s=0.01, timeout_s=6.0, patience_s=0.0)
    )
    bad, fine = (row for model in models for row in rows if row.model == model)
    assert bad.value is None
    assert __import__("re").search(reason, bad.why), bad.why
    assert fine.value is not None, fine.why


def test_leaving_the_nursery_leaves_no_process_behind(own_models):
    with Nursery() as nursery:
        worker = nursery.worker(resolve("own_models:fine"), Setting(visit_s=0.01))
        worker.settle("latency_s", timeout_s=60)
        assert _runs(worker.pid)
    for _ in range(50):
        if not _runs(worker.pid):
            break
        time.sleep(0.1)
    assert not _runs(worker.pid)


def test_a_worker_that_is_gone_answers_every_question_with_its_end(own_models):
    with Nursery() as nursery:
        worker = nursery.worker(resolve("own_models:leaves"), Setting(visit_s=0.01))
        for _ in range(2):
            with pytest.raises(Unmeasurable, match="exit code 3"):
                worker.settle("latency_s", timeout_s=60)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return os.path.exists(f"/proc/{pid}")
