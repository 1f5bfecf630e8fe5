"""LiteRT, which was TensorFlow Lite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.cost.exported import FileSession, converting
from paretovit.cost.runtimes import FileRuntime, Session


class Litert(FileRuntime):
    """The model as a .tflite file of fixed shapes; XNNPACK does what it can of it."""

    suffix = ".tflite"
    extra = "litert"
    libraries = ("litert_torch", "ai_edge_litert.interpreter")

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        with torch.no_grad(), converting("litert"):
            import litert_torch

            litert_torch.convert(model, (batch,)).export(str(path))

    def load(self, path: Path, batch: Tensor) -> Session:
        with converting("litert"):
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(str(path), num_threads=torch.get_num_threads())
            interpreter.allocate_tensors()
        fed, read = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

        def call(images: Any) -> Any:
            interpreter.set_tensor(fed, images)
            interpreter.invoke()
            return interpreter.get_tensor(read)

        return FileSession(call, batch, no_peak="litert does not tell how much XNNPACK holds")
