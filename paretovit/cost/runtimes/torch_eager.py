"""PyTorch, operator by operator, as it comes."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from paretovit.cost.runtimes import Runtime, Session
from paretovit.cost.torch_sessions import Inference, TrainingStep, load_program, save_program


class TorchEager(Runtime):
    """Every operator is called when its line is reached."""

    devices = ("cpu", "cuda")
    trains = True
    suffix = ".pt2"

    @classmethod
    def missing(cls) -> str:
        return ""

    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        return Inference(model, model, batch)

    def prepare_training(self, model: nn.Module, batch: Tensor) -> Session:
        return TrainingStep(model, model, batch)

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        save_program(model, batch, path)

    def load(self, path: Path, batch: Tensor) -> Session:
        program = load_program(path)
        return Inference(program, program, batch)
