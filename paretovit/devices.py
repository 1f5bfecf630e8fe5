"""The machine that numbers are taken on: its name, its facts, how busy others keep it. And peak rates of devices."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from paretovit.errors import UserError, unknown
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
    return f"{processor()}, {num_threads()} core{'s' if num_threads() > 1 else ''}"


def allocator() -> str:
    """What the environment makes of the memory allocator of processes that start now; "" where it says nothing.

    By default large tensors of a CPU are given back to the system after each call, and pages are made anew.
    """
    replaced = (Path(name).name for name in os.environ.get("LD_PRELOAD", "").replace(":", " ").split())
    tuned = (part for part in os.environ.get("GLIBC_TUNABLES", "").split(":") if part.startswith("glibc.malloc."))
    settings = (f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("MALLOC_"))
    return " ".join((*(name for name in replaced if "malloc" in name), *settings, *tuned))


def origin(how: str, *, libraries: tuple[str, ...] = (), **timing: Any) -> Origin:
    """Where a row made now comes from: also by these libraries' versions. `timing` goes into it as it is."""
    return Origin(
        how=how,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        versions=versions(libraries),
        machine=dict(_machine()),
        timing=timing,
    )


def versions(libraries: tuple[str, ...] = ()) -> dict[str, str]:
    """Of python, of what everything rests on, and of these libraries; one that is not installed has none."""
    found = {name: _version(name) for name in (*_LIBRARIES, *libraries)}
    return {"python": platform.python_version(), **{name: number for name, number in found.items() if number}}


@cache
def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


@cache
def _machine() -> tuple[tuple[str, Any], ...]:
    facts: list[tuple[str, Any]] = [
        ("system", f"{platform.system()} {platform.release()}"),
        ("processor", processor()),
    ]
    facts.append(("cores", num_threads()))
    with suppress(ValueError, OSError, AttributeError):
        facts.append(("memory_bytes", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    return tuple(facts)


@cache
def processor() -> str:
    """The CPU by name, such as "AMD EPYC"."""
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
    the run queue (exact, but only theirs, and no longer than others ran: more threads than cores wait for each
    other), the time that other processes ran (in ticks of 10 ms, all of it), and the time that the hypervisor took.

    With `family`, processes that this one has begun, and theirs, are no others: a compiler has such. Looking for them
    takes some milliseconds.
    """

    def __init__(self, *, family: bool = False) -> None:
        self.cores, self.family = os.cpu_count() or 1, family
        self.start()

    def start(self) -> None:
        self._at = _accounts(self.family)

    def share(self, wall_s: float) -> float:
        """The largest of the three signs, as a share of the window of `wall_s` seconds; 0 where nothing is known."""
        waited0, ran0, own0, stolen0 = self._at
        waited1, ran1, own1, stolen1 = _accounts(self.family)
        if wall_s <= 0:
            return 0.0
        others_s = (ran1 - ran0) - (own1 - own0)
        signs = (
            min(waited1 - waited0, others_s + _UNSURE_S) / wall_s,
            (others_s - _UNSURE_S) / wall_s / self.cores,
            (stolen1 - stolen0) / wall_s / self.cores,
        )
        return round(min(max(*signs, 0.0), 1.0), 4)


_UNSURE_S = 0.02  # what all processes ran is told in ticks of 10 ms, and read twice


def _accounts(family: bool) -> tuple[float, float, float, float]:
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
    own = sum(os.times()[: 4 if family else 2]) + (_descendants_s(os.getpid()) if family else 0.0)
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return waited, own, own, 0.0
    user, nice, system, _, _, irq, softirq, stolen = (int(word) / os.sysconf("SC_CLK_TCK") for word in words[:8])
    return waited, user + nice + system + irq + softirq, own, stolen


def _descendants_s(pid: int) -> float:
    """Seconds that the processes below this one have run, with those of theirs that ended and were waited for."""
    begun_by: dict[int, list[int]] = {}
    ran: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()  # a name may have anything in it
            child = int(stat.parent.name)
            begun_by.setdefault(int(words[1]), []).append(child)
            ran[child] = sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):  # it has ended meanwhile
            continue
    total, left = 0.0, list(begun_by.get(pid, ()))
    while left:
        child = left.pop()
        total += ran[child]
        left += begun_by.get(child, ())
    return total


@dataclass(frozen=True, kw_only=True)
class Device:
    """Peak rates of a processor, as its maker states them or as they were measured.

    name               for people
    called             how torch's name of it begins, in any of its forms
    macs_per_s         multiply-accumulates per second of dense products, by dtype; "tfloat32" is what tensor cores
                       make of float32 where that is allowed
    sparse_macs_per_s  the same where every group of four weights has two zeros, those with zeros among them; a dtype
                       is missing where there is no such unit
    bytes_per_s        of its memory
    source             where the figures are from
    """

    name: str
    macs_per_s: dict[str, float]
    bytes_per_s: float
    source: str
    sparse_macs_per_s: dict[str, float] = field(default_factory=dict)
    called: tuple[str, ...] = ()

    def peak(self, dtype: str) -> float:
        """Dense multiply-accumulates per second. Raises `UserError` for a dtype without a figure."""
        if dtype not in self.macs_per_s:
            raise UserError(f"{self.name} has no peak for {dtype}; it has {', '.join(self.macs_per_s)}")
        return self.macs_per_s[dtype]


def _nvidia(
    name: str,
    gb_per_s: float,
    tflops: dict[str, float],
    *called: str,
    source: str,
    sparse: tuple[str, ...] = ("float16", "bfloat16"),
) -> Device:
    """A GPU from its data sheet's dense TFLOP/s, of which two are a multiply-accumulate; 2:4 sparse is twice dense."""
    macs = {dtype: rate * 1e12 / 2 for dtype, rate in tflops.items()}
    return Device(
        name=name,
        macs_per_s=macs,
        sparse_macs_per_s={dtype: 2 * macs[dtype] for dtype in sparse},
        bytes_per_s=gb_per_s * 1e9,
        called=called,
        source=f"NVIDIA, {source}",
    )


# Data sheets of the GPUs state dense and sparse rates, from Hopper on only the sparse ones, of which dense is half.
DEVICES = {
    "v100": _nvidia(
        "V100 (SXM2)", 900, {"float32": 15.7, "float16": 125}, "Tesla V100", source="V100 data sheet, 2020", sparse=()
    ),
    "t4": _nvidia("T4", 300, {"float32": 8.1, "float16": 65}, "Tesla T4", source="T4 data sheet, 2019", sparse=()),
    "a10": _nvidia(
        "A10",
        600,
        {"float32": 31.2, "tfloat32": 62.5, "bfloat16": 125, "float16": 125},
        "NVIDIA A10",
        source="A10 data sheet, 2021",
    ),
    "a30": _nvidia(
        "A30",
        933,
        {"float32": 10.3, "tfloat32": 82, "bfloat16": 165, "float16": 165},
        "NVIDIA A30",
        source="A30 data sheet, 2021",
    ),
    "a40": _nvidia(
        "A40",
        696,
        {"float32": 37.4, "tfloat32": 74.8, "bfloat16": 149.7, "float16": 149.7},
        "NVIDIA A40",
        source="A40 data sheet, 2021",
    ),
    "a100": _nvidia(
        "A100 (SXM4, 80 GB)",
        2039,
        {"float32": 19.5, "tfloat32": 156, "bfloat16": 312, "float16": 312},
        "NVIDIA A100",
        source="A100 data sheet, 2021; with 40 GB it has 1,555 GB/s",
    ),
    "h100": _nvidia(
        "H100 (SXM5)",
        3350,
        {"float32": 67, "tfloat32": 494.7, "bfloat16": 989.4, "float16": 989.4},
        "NVIDIA H100",
        source="H100 data sheet, 2023, SXM",
    ),
    "h200": _nvidia(
        "H200 (SXM5)",
        4800,
        {"float32": 67, "tfloat32": 494.7, "bfloat16": 989.4, "float16": 989.4},
        "NVIDIA H200",
        source="H200 data sheet, 2024, SXM",
    ),
}


def named_device(name: str) -> Device:
    """The device of that name in `DEVICES`. Raises `UserError`, with the nearest names, for one that is not there."""
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    return DEVICES[name]


def device_called(name: str) -> Device | None:
    """The device that torch calls so ("NVIDIA A100-SXM4-80GB"); None for one that is not in `DEVICES`."""
    words = name.replace("-", " ").split()
    found = (d for d in DEVICES.values() for called in d.called if words[: len(called.split())] == called.split())
    return next(found, None)
