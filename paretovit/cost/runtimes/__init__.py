"""Runtimes: what executes a model, one file each. Only a `Session` knows how to wait for its hardware."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from paretovit.cost.groups import Op
from paretovit.errors import Unmeasurable


class Session(ABC):
    """A model ready to run on one batch."""

    @abstractmethod
    def __call__(self) -> Any:
        """One call on the batch it was prepared with. What it returns may be written over by the next."""

    @abstractmethod
    def synchronize(self) -> None:
        """Returns when all that was called is done."""

    def feed(self, images: Tensor) -> None:
        """From now on calls run these images, of the shape that it was prepared for; only of inference."""
        raise AssertionError(f"{type(self).__name__} runs the batch that it was prepared with")

    @abstractmethod
    def peak_bytes(self) -> int:
        """Most bytes alive at once during one call. Raises `Unmeasurable` where the runtime cannot tell."""

    def profile(self) -> list[Op]:
        """What each operator of one call took, in the order of the calls. Raises `Unmeasurable` where the runtime
        cannot tell."""
        raise Unmeasurable("this runtime does not tell what its operators take; profile with torch_eager")


class Runtime(ABC):
    """A subclass states

    devices    kinds of device it runs on
    trains     True if it can prepare a training step
    dtypes     data types that it computes in
    suffix     of the file that `export` writes; empty if it has none
    libraries  modules that it imports, beyond those of the core
    prepares   True if it works for seconds before the first call, and leaves what later processes find again
    """

    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    trains: ClassVar[bool] = False
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")
    suffix: ClassVar[str] = ""
    libraries: ClassVar[tuple[str, ...]] = ()
    prepares: ClassVar[bool] = False

    @classmethod
    def packages(cls) -> tuple[str, ...]:
        """The packages that `libraries` are part of."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in cls.libraries))

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """What keeps it from running here and what to type about it; empty if nothing."""

    @abstractmethod
    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        """The model, in eval mode on the batch's device, made ready for that batch.

        It may use as many threads as `torch.get_num_threads()` says.
        """

    def prepare_training(self, model: nn.Module, batch: Tensor) -> Session:
        """One training step on that batch; only where `trains`."""
        raise AssertionError(f"{type(self).__name__} does not train")

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        """Writes what `load` needs: the file `path`, and beside it, with the same stem, what the format puts there.

        Raises `Unmeasurable` for a runtime without a file, and, naming the operator, for a model that it cannot take.
        """
        raise Unmeasurable(f"{type(self).__name__} runs the module itself and has no file")

    def load(self, path: Path, batch: Tensor) -> Session:
        """What `export` wrote for batches of that shape and data type, made ready for this one."""
        raise Unmeasurable(f"{type(self).__name__} runs the module itself and has no file")


class FileRuntime(Runtime):
    """Runs a file instead of a module: a subclass states `suffix`, `libraries`, `export` and `load`, and

    extra           the extra of ours that installs its libraries
    int8_libraries  modules that only its quantisation imports; `dtypes` then has "int8"

    An instance that can quantise may be given a `calibration`: real images (N, C, H, W). What it exports then computes
    products with weights, and convolutions, in 8-bit integers, whose scales are read off what these images make of the
    model; of what else it does so its docstring says. The module and the batch are float32 as ever, and no weight is
    trained again.
    """

    dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    int8_libraries: ClassVar[tuple[str, ...]] = ()
    prepares = True
    extra: ClassVar[str]
    calibration: Tensor | None = None

    @classmethod
    def missing(cls) -> str:
        return cls._absent(cls.libraries)

    @classmethod
    def missing_for_int8(cls) -> str:
        """As `missing`, of what `int8_libraries` names."""
        return cls._absent(cls.int8_libraries)

    @classmethod
    def _absent(cls, libraries: tuple[str, ...]) -> str:
        packages = dict.fromkeys(name.split(".")[0] for name in libraries)
        absent = [name for name in packages if find_spec(name) is None]
        if not absent:
            return ""
        return f'{", ".join(absent)} not installed; type: pip install "paretovit[{cls.extra}]"'

    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        with tempfile.TemporaryDirectory(prefix="paretovit-") as folder:
            path = Path(folder, f"model{self.suffix}")
            self.export(model, batch, path)
            return self.load(path, batch)
