"""OpenVINO, on its CPU plug-in."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions

from paretovit.cost.exported import FileSession, converting, in_whole_batches, traced
from paretovit.cost.groups import Op, fused_group_of, group_of, layer_of_scopes, spread_layers
from paretovit.cost.runtimes import FileRuntime, Session
from paretovit.errors import Unmeasurable

_SPELT_OUT = {torch.ops.aten.index_add.default, torch.ops.aten.diagonal.default}  # in operators that it knows
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
_OF_INT8 = {"fq_output": "FakeQuantize", "nncf_smooth_quant": "Multiply", "DequantizationMultiply": "Multiply"}
_LAYERS = ["paretovit", "layers"]  # where the file keeps the layer of every operator
_LIGHT = ("element-wise", "reshape/transpose", None)
_CALLS = 4  # that a trace is the mean of: times are told in whole microseconds


class Openvino(FileRuntime):
    """The model in OpenVINO's intermediate representation, compiled for this CPU when it is loaded.

    The data type is that of the arithmetic, which OpenVINO would otherwise lower to bfloat16 by itself where the CPU
    can. It is a hint to OpenVINO, which takes another one where the CPU has no such arithmetic; that is refused here.
    In the file, weights are float16 for float16, and float32 for bfloat16 as for float32.

    int8 is the post-training quantisation of NNCF, its preset for transformers: symmetric weights per channel, and
    activations per tensor; what is not quantised stays in float32.
    """

    dtypes = ("float32", "bfloat16", "float16", "int8")
    suffix = ".xml"
    extra = "openvino"
    libraries = ("openvino",)
    int8_libraries = ("nncf",)

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        import openvino
        from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

        program = traced(copy.deepcopy(model).float(), batch.float())
        with converting("openvino"):
            spelt_out = {node.target for node in program.graph.nodes} & _SPELT_OUT
            if spelt_out:
                program = program.run_decompositions(get_decompositions(list(spelt_out)))
            decoder = TorchFXPythonDecoder.from_exported_program(program)
            converted = openvino.convert_model(decoder)
            if self.calibration is not None:
                converted = _quantised(converted, self.calibration, len(batch))
            converted.set_rt_info(json.dumps(_layers_of(decoder.pt_module.graph)), _LAYERS)
            openvino.save_model(converted, path, compress_to_fp16=batch.dtype == torch.float16)

    def load(self, path: Path, batch: Tensor) -> Session:
        core, hint = _core(), _HINTS[batch.dtype]
        config = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        with converting("openvino"):
            model = core.read_model(path)  # its weights are mapped, and stay there when the file has gone
            compiled = core.compile_model(model, "CPU", config)
            layers = json.loads(model.get_rt_info(_LAYERS).astype(str)) if model.has_rt_info(_LAYERS) else {}
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if taken != hint:
            raise Unmeasurable(f"openvino has no {hint} arithmetic for this CPU, and would compute in {taken} instead")
        request = compiled.create_infer_request()

        def observe(images: Any) -> list[Op]:
            with converting("openvino"):
                return _observed(core.compile_model(model, "CPU", {**config, "PERF_COUNT": True}), images, layers)

        return FileSession(
            lambda images: request.infer(images, share_inputs=True)[0],
            batch,
            given=lambda images: images.float().numpy(),  # the file takes float32, and numpy has no bfloat16
            no_peak="openvino does not tell how much its buffers hold",
            observe=observe,
        )


@cache
def _core() -> Any:
    """One for the process. Each gives the thread a stack for its signals, and puts back the one it found when it goes:
    of two, the second would put back the freed one of the first, and the next signal would end the process."""
    import openvino

    return openvino.Core()


def _quantised(converted: Any, images: Tensor, batch_size: int) -> Any:
    import nncf

    batches = [images_BCHW.numpy() for images_BCHW in in_whole_batches(images.float(), batch_size)]
    return nncf.quantize(
        converted, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches)
    )


def _layers_of(graph: Any) -> dict[str, str]:
    """The layer of every operator of a traced graph, by the name that OpenVINO gives on to what it makes of it."""
    stacks = {node.name: node.meta.get("nn_module_stack") for node in graph.nodes}
    return {name: layer_of_scopes([module for module, _ in stack.values()]) for name, stack in stacks.items() if stack}


def _observed(compiled: Any, images: Any, layers: dict[str, str]) -> list[Op]:
    """What ran in a call, on average over those after the first. A node that was made of several operators is told by
    all of their names, and belongs to the layer of the first that is more than element by element and moving."""
    request = compiled.create_infer_request()
    request.infer(images, share_inputs=True)
    first = {node.node_name: node.real_time for node in request.get_profiling_info()}
    for _ in range(_CALLS):
        request.infer(images, share_inputs=True)
    made_of = {
        node.get_friendly_name(): node.get_rt_info()["originalLayersNames"].astype(str).split(",")
        for node in compiled.get_runtime_model().get_ordered_ops()
    }
    own, takes_from = {}, {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        name = node.get_friendly_name()
        parts = sorted(made_of[name], key=lambda part: group_of(_kind(part)) in _LIGHT)
        own[name] = next((layers[part.split("/")[0]] for part in parts if part.split("/")[0] in layers), None)
        takes_from[name] = [taken.get_source_output().get_node().get_friendly_name() for taken in node.inputs()]
    of_layer = spread_layers(own, takes_from)
    found = []
    for node in request.get_profiling_info():
        if node.status == node.Status.EXECUTED:
            kinds = [_kind(name) for name in made_of.get(node.node_name, []) if name]
            group = fused_group_of(kinds if node.node_type == "Subgraph" else [node.node_type])
            # what it tells is the mean over all calls so far, and the first one makes what the others find
            took = ((_CALLS + 1) * node.real_time - first[node.node_name]) / _CALLS
            found.append(Op(node.node_type, of_layer.get(node.node_name), group, max(took.total_seconds(), 0.0)))
    return found


def _kind(name: str) -> str:
    """ "Softmax" of "Softmax_28349", "Add" of "add_1/aten.add.Tensor/Add": the type by which OpenVINO names a node."""
    kind = name.rpartition("/")[2].rstrip("0123456789").rstrip("_")
    return _OF_INT8.get(kind, kind)
