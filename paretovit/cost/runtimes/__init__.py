"""Runtimes: what executes a model, one file each. Only a `Session` knows how to wait for its hardware."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn


class Session(ABC):
    """A model ready to run on one batch."""

    @abstractmethod
    def __call__(self) -> Any:
        """One call on the batch it was prepared with."""

    @abstractmethod
    def synchronize(self) -> None:
        """Returns when all that was called is done."""

    @abstractmethod
    def peak_bytes(self) -> int:
        """Most bytes alive at once during one call. Raises `Unmeasurable` where the runtime cannot tell."""


class Runtime(ABC):
    """A subclass states

    devices   kinds of device it runs on
    trains    True if it can prepare a training step
    """

    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    trains: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """What keeps it from running here and what to type about it; empty if nothing."""

    @abstractmethod
    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        """The model, in eval mode on the batch's device, made ready for that batch."""

    def prepare_training(self, model: nn.Module, batch: Tensor) -> Session:
        """One training step on that batch; only where `trains`."""
        raise AssertionError(f"{type(self).__name__} does not train")
