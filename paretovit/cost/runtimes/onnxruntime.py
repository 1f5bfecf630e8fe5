"""ONNX Runtime, on its CPU kernels."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from paretovit.cost.exported import FileSession, converting, traced
from paretovit.cost.runtimes import FileRuntime, Session


class Onnxruntime(FileRuntime):
    """The model as an ONNX file of fixed shapes, optimised and run by ONNX Runtime."""

    suffix = ".onnx"
    extra = "onnx"
    libraries = ("onnx", "onnxscript", "onnxruntime")

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        program = traced(model, batch)
        with converting("the ONNX exporter"):
            onnx = torch.onnx.export(
                program, (batch,), input_names=["image"], output_names=["logits"], dynamo=True, verbose=False
            )
            assert onnx is not None
            onnx.save(path)

    def load(self, path: Path, batch: Tensor) -> Session:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        with converting("onnxruntime"):
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        fed = {session.get_inputs()[0].name: batch.numpy()}
        return FileSession(lambda: session.run(None, fed)[0], "onnxruntime does not tell how much its arena holds")
