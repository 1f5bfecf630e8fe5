"""What is read off the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paretovit import devices
from paretovit.devices import Busy, allocator

_BURN = "import time\nend = time.time() + 1.5\nwhile time.time() < end: pass"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the kernel keeps no accounts in /proc here")
def test_what_a_process_begins_is_its_own_where_that_is_asked_for() -> None:
    shares = {}
    for family in (False, True):
        busy, start = Busy(family=family), time.perf_counter()
        # a shell between, as a compiler is begun: children of children count, too
        with subprocess.Popen(["sh", "-c", f"{sys.executable} -c '{_BURN}' & wait"]) as shell:
            time.sleep(1.2)
            shares[family] = busy.share(time.perf_counter() - start)
            assert shell.wait() == 0
    used = 1 / (os.cpu_count() or 1)  # less where others keep the cores busy
    assert shares[True] < shares[False] - 0.2 * used


def test_threads_that_wait_for_each_other_are_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    # waited, all that ran, own, stolen: three threads of ours on two cores for 10 s
    accounts = iter([(0.0, 0.0, 0.0, 0.0), (4.0, 20.0, 20.0, 0.0), (0.0, 0.0, 0.0, 0.0), (4.0, 20.0, 15.0, 0.0)])
    monkeypatch.setattr(devices, "_accounts", lambda family: next(accounts))
    assert Busy().share(10.0) == pytest.approx(0.002)
    assert Busy().share(10.0) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, ""),
        ({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2:/opt/libcuda_shim.so"}, "libjemalloc.so.2"),
        ({"LD_PRELOAD": "/lib/libother.so", "PATH": "/bin"}, ""),
        ({"MALLOC_TRIM_THRESHOLD_": "1000", "MALLOC_ARENA_MAX": "2"}, "MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=1000"),
        ({"GLIBC_TUNABLES": "glibc.cpu.hwcaps=x:glibc.malloc.tcache_count=0"}, "glibc.malloc.tcache_count=0"),
    ],
)
def test_an_allocator_is_told_where_the_environment_chooses_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    assert allocator() == said
