"""PyTorch, operator by operator, as it comes."""

from __future__ import annotations

from torch import Tensor, nn

from paretovit.cost.runtimes import Runtime, Session
from paretovit.cost.torch_sessions import Inference, TrainingStep


class TorchEager(Runtime):
    """Every operator is called when its line is reached."""

    devices = ("cpu", "cuda")
    trains = True

    @classmethod
    def missing(cls) -> str:
        return ""

    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        return Inference(model, model, batch)

    def prepare_training(self, model: nn.Module, batch: Tensor) -> Session:
        return TrainingStep(model, model, batch)
