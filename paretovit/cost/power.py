"""Meters of energy: what the machine tells of the joules that it used, what the user states, or a model of it.

A meter counts everything on what it measures, whoever caused it, idle power too.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from paretovit.cost.subject import Setting
from paretovit.errors import Unmeasurable

_RAPL = Path("/sys/class/powercap")


class Meter(ABC):
    """`source` says what is read and what it covers; `joules` is a reading, of which differences count."""

    source: str

    @abstractmethod
    def joules(self) -> float: ...


class Rapl(Meter):
    """Running average power limit: the energy counters of x86 processors, one per package, which start anew at a
    limit that they state. Read at least once a minute, a counter is never missed to start anew twice."""

    source = "RAPL, processor packages"

    def __init__(self, root: Path = _RAPL) -> None:
        self._zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _is_package(zone)]
        if not self._zones:
            raise Unmeasurable(
                "this processor offers no energy counter (RAPL); state its power (--assume watts=NUMBER), or have it "
                'modelled: pip install "paretovit[energy]"'
            )
        self._before = {zone: self._read(zone) for zone in self._zones}
        self._total = 0

    def joules(self) -> float:
        for zone in self._zones:
            now = self._read(zone)
            used = now - self._before[zone]
            if used < 0:
                used += int((zone / "max_energy_range_uj").read_text())
            self._total += used
            self._before[zone] = now
        return self._total / 1e6

    @staticmethod
    def _read(zone: Path) -> int:
        try:
            return int((zone / "energy_uj").read_text())
        except PermissionError:
            raise Unmeasurable(
                f"only root may read {zone}/energy_uj; allow it (chmod a+r), or state the power: --assume watts=NUMBER"
            ) from None
        except (OSError, ValueError) as error:
            raise Unmeasurable(
                f"{zone}/energy_uj cannot be read ({error}); state the power: --assume watts=NUMBER"
            ) from error


class Nvml(Meter):
    """NVIDIA's management library: the energy counter of the whole board, since the driver was loaded."""

    source = "NVML, whole board"

    def __init__(self, device: str) -> None:
        try:
            self._nvml = import_module("pynvml")
        except ModuleNotFoundError:
            raise Unmeasurable("reading a GPU's energy needs a library; pip install nvidia-ml-py") from None
        import torch

        try:
            self._nvml.nvmlInit()
            uuid = torch.cuda.get_device_properties(device).uuid  # its index here may not be its index there
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            self.joules()
        except self._nvml.NVMLError as error:
            raise Unmeasurable(f"this GPU tells no energy ({error}); state its power: --assume watts=NUMBER") from error

    def joules(self) -> float:
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3


class Constant(Meter):
    """So many watts all the time, as `source` has it: no measurement. It orders models as their times do."""

    def __init__(self, watts: float, source: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self.source = source
        self._watts, self._clock = watts, clock

    def joules(self) -> float:
        return self._watts * self._clock()


def meter(setting: Setting, clock: Callable[[], float] = time.perf_counter) -> Meter:
    """The meter of that setting's device: what the user stated, before what can be read, before codecarbon's model of
    the processor, where that is installed. Raises `Unmeasurable`, saying what to do, where there is none of them."""
    watts = dict(setting.assumed).get("watts")
    if watts is not None:
        return Constant(watts, "stated power", clock)
    if setting.device.startswith("cuda"):
        return Nvml(setting.device)
    try:
        return Rapl()
    except Unmeasurable:
        modelled = _modelled_watts()
        if modelled is None:
            raise
        return Constant(modelled, f"codecarbon {version('codecarbon')}: processor, {modelled:g} W all the time", clock)


@cache
def _modelled_watts() -> float | None:
    """What codecarbon takes this processor to draw; None where it is not installed, or knows nothing.

    Its constant mode: half of the thermal design power in its table, or of 4 W per core for a processor that is not
    in it. Its other mode scales with the load by a law of its own, which would be a second unknown in the number.
    """
    try:
        hardware, cpu = import_module("codecarbon.external.hardware"), import_module("codecarbon.core.cpu")
    except ModuleNotFoundError:
        return None
    logging.getLogger("codecarbon").setLevel(logging.ERROR)  # a processor that it does not know is said by the number
    known = cpu.TDP()
    if known.tdp is None:
        return None
    return float(hardware.CPU(".", "constant", known.model, known.tdp).total_power().W)


def _is_package(zone: Path) -> bool:
    """Not a part of a package, such as its cores, which is in it already, nor the whole platform."""
    try:
        return zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package")
    except OSError:
        return False
