"""PyTorch through its compiler (TorchDynamo and Inductor)."""

from __future__ import annotations

import os
import shutil

import torch
from torch import Tensor, nn

from paretovit.cost.runtimes import Runtime, Session
from paretovit.cost.torch_sessions import Inference, TrainingStep


class TorchCompile(Runtime):
    """`torch.compile` with its defaults; compiled in warm-up, for the one shape it is given."""

    devices = ("cpu", "cuda")
    trains = True

    @classmethod
    def missing(cls) -> str:
        compiler = os.environ.get("CXX") or "g++"
        if shutil.which(compiler) or shutil.which("clang++"):
            return ""
        return "torch_compile needs a C++ compiler on the PATH; install g++, or use --runtime torch_eager"

    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        return Inference(model, torch.compile(model, dynamic=False), batch)

    def prepare_training(self, model: nn.Module, batch: Tensor) -> Session:
        return TrainingStep(model, torch.compile(model, dynamic=False), batch)
