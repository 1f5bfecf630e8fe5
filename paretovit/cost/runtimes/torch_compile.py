"""PyTorch through its compiler (TorchDynamo and Inductor)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from paretovit.cost.operator_times import KERNELS_ARE_NAMED
from paretovit.cost.runtimes import Runtime, Session
from paretovit.cost.torch_sessions import Inference, TrainingStep, load_program, save_program


class TorchCompile(Runtime):
    """`torch.compile` with its defaults; compiled in warm-up, for the one shape it is given.

    Its file holds the operators as `torch_eager`'s does, and is compiled when it is first called.
    """

    devices = ("cpu", "cuda")
    trains = True
    prepares = True
    suffix = ".pt2"

    @classmethod
    def missing(cls) -> str:
        compiler = os.environ.get("CXX") or "g++"
        if shutil.which(compiler) or shutil.which("clang++"):
            return ""
        return "torch_compile needs a C++ compiler on the PATH; install g++, or use --runtime torch_eager"

    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        return _inference(model, batch)

    def prepare_training(self, model: nn.Module, batch: Tensor) -> Session:
        return TrainingStep(model, torch.compile(model, dynamic=False), batch)

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        save_program(model, batch, path)

    def load(self, path: Path, batch: Tensor) -> Session:
        return _inference(load_program(path), batch)


def _inference(model: nn.Module, batch: Tensor) -> Session:
    """Compiled when first called, and once more, with names for its kernels, when first profiled."""
    named = torch.compile(model, dynamic=False, options=KERNELS_ARE_NAMED)
    return Inference(model, torch.compile(model, dynamic=False), batch, named=named)
