"""The machine that numbers are taken on: its name, its facts, and how busy others keep it."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from paretovit.errors import UserError
from paretovit.measurement import Origin

_LIBRARIES = ("paretovit", "torch", "torchvision", "timm", "numpy")


def num_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_device(device: str) -> str:
    """The torch device string, if this machine has it. Raises `UserError` for others."""
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return device
    if kind != "cuda" or (index and not index.isdigit()):
        raise UserError(f"unknown device {device!r}; use cpu, cuda or cuda:N")
    import torch

    found = torch.cuda.device_count()
    if not found:
        raise UserError("no CUDA device is visible to torch; use --device cpu, or check the driver and `nvidia-smi`")
    if index and int(index) >= found:
        raise UserError(f"there is no {device}: torch sees {found} CUDA device(s), cuda:0 to cuda:{found - 1}")
    return device


@cache
def device_name(device: str = "cpu") -> str:
    """The hardware by name, such as "AMD EPYC, 2 cores" or "NVIDIA H200"."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {num_threads()} core{'s' if num_threads() > 1 else ''}"


def origin(how: str, **timing: Any) -> Origin:
    """Where a row made now comes from; `timing` goes into it as it is."""
    return Origin(
        how=how,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        versions=dict(_versions()),
        machine=dict(_machine()),
        timing=timing,
    )


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for library in _LIBRARIES:
        try:
            found.append((library, version(library)))
        except PackageNotFoundError:
            continue
    return tuple(found)


@cache
def _machine() -> tuple[tuple[str, Any], ...]:
    facts: list[tuple[str, Any]] = [
        ("system", f"{platform.system()} {platform.release()}"),
        ("processor", _processor()),
    ]
    facts.append(("cores", num_threads()))
    with suppress(ValueError, OSError, AttributeError):
        facts.append(("memory_bytes", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    return tuple(facts)


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def _commit() -> str:
    """Commit of the checkout this package runs from, "-dirty" where its files differ; "" if installed elsewhere."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("-dirty" if head and git("status", "--porcelain", "--", "paretovit") else "")
    except OSError:
        return ""


class Busy:
    """How much of this machine others used since `start`: read from the kernel's accounts, where it keeps them.

    Three signs are looked at, since each is blind to something: the time that this process's threads stood in
    the run queue (exact, but only theirs), the time that other processes ran (in ticks of 10 ms, all of it),
    and the time that the hypervisor took.
    """

    def __init__(self) -> None:
        self.cores = os.cpu_count() or 1
        self.start()

    def start(self) -> None:
        self._at = _accounts()

    def share(self, wall_s: float) -> float:
        """The largest of the three signs, as a share of the window of `wall_s` seconds; 0 where nothing is known."""
        waited0, ran0, own0, stolen0 = self._at
        waited1, ran1, own1, stolen1 = _accounts()
        if wall_s <= 0:
            return 0.0
        # what all processes ran is told in ticks of 10 ms, and read twice: up to two ticks are no sign of anybody
        others_s = (ran1 - ran0) - (own1 - own0) - 0.02
        signs = (
            (waited1 - waited0) / wall_s,
            others_s / wall_s / self.cores,
            (stolen1 - stolen0) / wall_s / self.cores,
        )
        return round(min(max(*signs, 0.0), 1.0), 4)


def _accounts() -> tuple[float, float, float, float]:
    """Seconds so far: own threads waiting to run (the longest one), all processes running, this one, stolen."""
    waited = 0.0
    try:
        for task in Path("/proc/self/task").iterdir():
            try:
                waited = max(waited, int((task / "schedstat").read_text().split()[1]) / 1e9)
            except (OSError, IndexError):
                continue
    except OSError:
        pass
    own = sum(os.times()[:2])
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return waited, own, own, 0.0
    user, nice, system, _, _, irq, softirq, stolen = (int(word) / os.sysconf("SC_CLK_TCK") for word in words[:8])
    return waited, user + nice + system + irq + softirq, own, stolen
