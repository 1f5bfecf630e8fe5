"""TensorRT, from an ONNX file."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.cost.exported import FileSession, converting, write_onnx
from paretovit.cost.runtimes import FileRuntime, Session
from paretovit.errors import Unmeasurable
from paretovit.zoo.patterns import TWO_OF_FOUR

_WITH_WEIGHT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Tensorrt(FileRuntime):
    """The model as a TensorRT engine of fixed shapes, built from its ONNX file for the GPU that is current.

    The network is strongly typed: it computes in the data types of the ONNX file, which are the module's. The flags
    FP16 and BF16, which let the builder choose between types layer by layer, are deprecated in TensorRT 10 and gone in
    11. TF32 is switched off, so that float32 is float32. SPARSE_WEIGHTS is set where at least one weight of the model
    is 2:4 sparse; the builder then takes sparse kernels where it finds them faster. int8 is not offered: TensorRT
    takes symmetric scales only, and those of our ONNX files are not.

    An engine holds machine code for one kind of GPU and one version of TensorRT, and loading it runs that code: load
    only a file of your own, as you would only run a program of your own.
    """

    devices = ("cuda",)
    dtypes = ("float32", "bfloat16", "float16")
    suffix = ".engine"
    extra = "tensorrt"
    libraries = ("tensorrt", "onnx", "onnxscript")

    @classmethod
    def missing(cls) -> str:
        if not torch.cuda.is_available():
            return "tensorrt needs an NVIDIA GPU that torch can use; use --runtime onnxruntime"
        return super().missing()

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="paretovit-") as folder:
            onnx = Path(folder, "model.onnx")
            write_onnx(model, batch, onnx)
            with torch.cuda.device(_gpu_of(batch)), converting("tensorrt"):
                path.write_bytes(_engine(onnx, sparse=has_2_of_4(model)))

    def load(self, path: Path, batch: Tensor) -> Session:
        gpu = _gpu_of(batch)
        with torch.cuda.device(gpu), converting("tensorrt"):
            engine = _runtime().deserialize_cuda_engine(path.read_bytes())
            context = None if engine is None else engine.create_execution_context()
            if context is None:
                raise Unmeasurable(f"tensorrt cannot load the engine: {_last_error()}")
            taken, returned = _tensor(engine, "image", torch.device("meta")), _tensor(engine, "logits", gpu)
            stream = torch.cuda.Stream(gpu)  # on the default stream, TensorRT waits for the device more often

        def given(images: Tensor) -> Tensor:
            # the engine is given an address only, and would read past the end of what is smaller
            if (images.shape, images.dtype) != (taken.shape, taken.dtype):
                raise Unmeasurable(
                    f"the engine was built for {taken.dtype} {tuple(taken.shape)}, "
                    f"not for {images.dtype} {tuple(images.shape)}"
                )
            return images.to(gpu).contiguous()

        def call(images: Tensor) -> Tensor:
            with torch.cuda.device(gpu):
                stream.wait_stream(torch.cuda.current_stream())  # that may still be copying the images
                context.set_tensor_address("image", images.data_ptr())
                context.set_tensor_address("logits", returned.data_ptr())
                if not context.execute_async_v3(stream.cuda_stream):
                    raise RuntimeError(f"TensorRT did not run the engine: {_last_error()}")
                stream.synchronize()
            return returned

        return FileSession(call, batch, given=given, no_peak="tensorrt does not tell how much its engine holds")


def has_2_of_4(model: nn.Module) -> bool:
    """Whether some linear map or 1x1 convolution has, of every four inputs in a row, at most two with a weight."""
    weights = [module.weight.detach() for module in model.modules() if isinstance(module, _WITH_WEIGHT)]
    return any(TWO_OF_FOUR.holds((w != 0).flatten(1)) for w in weights if w[0].numel() == w.shape[1])


def _gpu_of(batch: Tensor) -> torch.device:
    """That of the batch, or the current one."""
    return batch.device if batch.is_cuda else torch.device("cuda", torch.cuda.current_device())


def _engine(onnx: Path, *, sparse: bool) -> Any:
    """The serialized engine, for the current GPU. Raises `Unmeasurable`, naming the operator that TensorRT refuses."""
    import tensorrt

    builder = tensorrt.Builder(_log())
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, _log())
    if not parser.parse_from_file(str(onnx)):
        error = parser.get_error(0)
        raise Unmeasurable(f"tensorrt cannot take {error.node_operator() or 'this model'}: {_line(error.desc())}")
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if sparse:
        config.set_flag(tensorrt.BuilderFlag.SPARSE_WEIGHTS)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Unmeasurable(f"tensorrt cannot build an engine for this model: {_last_error()}")
    return engine


def _tensor(engine: Any, name: str, device: torch.device) -> Tensor:
    """One as the engine reads or writes under that name."""
    import tensorrt

    dtypes = {
        tensorrt.DataType.FLOAT: torch.float32,
        tensorrt.DataType.HALF: torch.float16,
        tensorrt.DataType.BF16: torch.bfloat16,
    }
    return torch.empty(tuple(engine.get_tensor_shape(name)), dtype=dtypes[engine.get_tensor_dtype(name)], device=device)


@cache
def _log() -> Any:
    """One for the process, as TensorRT wants it, and kept, for it must outlive what it was given to. `errors` has what
    was said of failures, the latest last."""
    import tensorrt

    class Log(tensorrt.ILogger):
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (tensorrt.ILogger.Severity.INTERNAL_ERROR, tensorrt.ILogger.Severity.ERROR):
                self.errors.append(msg)

    return Log()


@cache
def _runtime() -> Any:
    """One for the process, for it must outlive its engines."""
    import tensorrt

    return tensorrt.Runtime(_log())


def _last_error() -> str:
    errors: list[str] = _log().errors
    said = _line(errors[-1]) if errors else "TensorRT does not say why"
    errors.clear()  # what comes later is another failure's
    return said


def _line(said: str) -> str:
    return said.strip().split("\n")[0][:300]
