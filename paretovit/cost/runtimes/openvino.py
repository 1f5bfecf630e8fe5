"""OpenVINO, on its CPU plug-in."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions

from paretovit.cost.exported import FileSession, converting, traced
from paretovit.cost.runtimes import FileRuntime, Session

_SPELT_OUT = {torch.ops.aten.index_add.default, torch.ops.aten.diagonal.default}  # in operators that it knows
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class Openvino(FileRuntime):
    """The model in OpenVINO's intermediate representation, compiled for this CPU when it is loaded.

    Weights are stored as float32. The data type is that of the arithmetic, which OpenVINO would otherwise lower to
    bfloat16 by itself where the CPU can.
    """

    dtypes = ("float32", "bfloat16", "float16")
    suffix = ".xml"
    extra = "openvino"
    libraries = ("openvino",)

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        import openvino

        program = traced(copy.deepcopy(model).float(), batch.float())
        with converting("openvino"):
            spelt_out = {node.target for node in program.graph.nodes} & _SPELT_OUT
            if spelt_out:
                program = program.run_decompositions(get_decompositions(list(spelt_out)))
            openvino.save_model(openvino.convert_model(program), path, compress_to_fp16=False)

    def load(self, path: Path, batch: Tensor) -> Session:
        import openvino

        core = openvino.Core()
        with converting("openvino"):
            model = core.compile_model(
                path,
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                    "INFERENCE_PRECISION_HINT": _HINTS[batch.dtype],
                    "PERFORMANCE_HINT": "LATENCY",
                    "NUM_STREAMS": 1,
                },
            )
        # the file takes float32, and numpy has no bfloat16
        request, image = model.create_infer_request(), batch.float().numpy()
        return FileSession(
            lambda: request.infer(image, share_inputs=True)[0], "openvino does not tell how much its buffers hold"
        )
