"""ONNX Runtime, on its CPU kernels."""

from __future__ import annotations

import ast
import json
import mmap
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.cost.exported import FileSession, converting, in_whole_batches, write_onnx
from paretovit.cost.groups import Op, group_of, layer_of_scopes, spread_layers
from paretovit.cost.runtimes import FileRuntime, Session

_QUANTISED = ["MatMul", "Gemm", "Conv"]
_SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter notes which modules a node was called by


class Onnxruntime(FileRuntime):
    """The model as an ONNX file of fixed shapes, optimised and run by ONNX Runtime.

    With float16 the file holds weights and operators in float16; where its CPU kernels have none, as for most, ONNX
    Runtime computes in float32 between two casts. It has no CPU kernels for bfloat16.

    int8 is static quantisation in its QDQ form, of products with weights and of convolutions: weights symmetric per
    channel, activations per tensor from their least to their largest value. Attention's products stay in float32 as
    norms and activation functions do: scores reach minus infinity where they are masked, and between two quantised
    products ONNX Runtime runs softmax in 8 bits, too. On the one model where that was tried, a small ViT with random
    weights, it moved the logits by 28% instead of 3%.
    """

    dtypes = ("float32", "float16", "int8")
    suffix = ".onnx"
    extra = "onnx"
    libraries = ("onnx", "onnxscript", "onnxruntime")
    int8_libraries = ("onnxruntime.quantization",)

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        if self.calibration is None:
            write_onnx(model, batch, path)
            return
        with tempfile.TemporaryDirectory(prefix="paretovit-") as folder:
            whole = Path(folder, path.name)
            write_onnx(model, batch, whole)
            with converting("onnxruntime's quantisation"):
                _quantise(whole, path, self.calibration, len(batch))

    def load(self, path: Path, batch: Tensor) -> Session:
        import onnxruntime

        with converting("onnxruntime"):
            session = onnxruntime.InferenceSession(path, _options(), providers=["CPUExecutionProvider"])
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # stays when the path has gone

        def observe(images: Any) -> list[Op]:
            with converting("onnxruntime"):
                return _observed(bytes(mapped), images)

        return FileSession(
            lambda images: session.run(None, {"image": images})[0],
            batch,
            no_peak="onnxruntime does not tell how much its arena holds",
            observe=observe,
        )


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return options


def _quantise(whole: Path, path: Path, images: Tensor, batch_size: int) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    graph = onnx.load(whole, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Tensor] = in_whole_batches(images, batch_size)

        def get_next(self) -> dict[str, Any] | None:
            batch_BCHW = next(self.left, None)
            return None if batch_BCHW is None else {"image": batch_BCHW.numpy()}

    quantize_static(
        whole,
        path,
        Batches(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_QUANTISED,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[
            node.name for node in graph.node if node.op_type == "MatMul" and not weights & set(node.input)
        ],
    )


def _observed(model: bytes, images: Any) -> list[Op]:
    """What ran in the second call of a session that writes a trace; in the first, it makes room."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="paretovit-") as folder:
        options = _options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "trace"))
        options.optimized_model_filepath = str(Path(folder, "optimised.onnx"))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(2):
            session.run(None, {"image": images})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        graph = onnx.load(options.optimized_model_filepath).graph
    layers = _layers(graph.node, onnx.load_from_string(model).graph.node)
    # a bias or a scale has one dimension at most
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    with_weight = {node.name for node in graph.node if weights & set(node.input)}
    start = max(event["ts"] for event in events if event["name"] == "model_run")
    return [
        Op(kind, layers.get(name), group_of(kind, weight=name in with_weight) or "other", event["dur"] / 1e6)
        for event in events
        if event["cat"] == "Node" and event["ts"] >= start
        for kind, name in [(event["args"]["op_name"], event["name"].removesuffix("_kernel_time"))]
    ]


def _layers(nodes: Iterable[Any], written: Iterable[Any]) -> dict[str, str | None]:
    """The layer of every node of an optimised graph, by name.

    A node made of several is named after the heaviest of them, or else it gives the result of the last. What it is
    named after, or whose result it gives, is in the file with the modules that called it.
    """
    of_node = {node.name: layer for node in written if (layer := _layer(node)) is not None}
    of_result = {result: of_node[node.name] for node in written if node.name in of_node for result in node.output}
    own: dict[str, str | None] = {}
    for node in nodes:
        known = (of_node.get(node.name.split("/")[0]), *map(of_result.get, node.output))
        own[node.name] = next((layer for layer in known if layer is not None), None)
    maker = {result: node.name for node in nodes for result in node.output}
    return spread_layers(own, {node.name: [maker[one] for one in node.input if one in maker] for node in nodes})


def _layer(node: Any) -> str | None:
    """What the exporter noted: the modules, one within the other, and the operator."""
    (*modules, _) = next((ast.literal_eval(note.value) for note in node.metadata_props if note.key == _SCOPES), [""])
    return layer_of_scopes(modules) if modules else None
