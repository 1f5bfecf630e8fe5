"""TensorRT without TensorRT: what we ask of it, by a module of its name that keeps the ONNX file as the engine.

That module runs the file by ONNX Runtime, on the addresses it is given. Nothing here tells how TensorRT itself behaves.
"""

from __future__ import annotations

import ctypes
import enum
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from paretovit.cost.export import export
from paretovit.cost.runtimes import tensorrt as ours
from paretovit.cost.runtimes.onnxruntime import Onnxruntime
from paretovit.cost.runtimes.tensorrt import Tensorrt, has_2_of_4
from paretovit.errors import Unmeasurable, UserError
from paretovit.zoo.build import build
from paretovit.zoo.patterns import Pattern

NEEDS_ONNX = pytest.mark.skipif(bool(Onnxruntime.missing()), reason=Onnxruntime.missing() or "it is here")
SHAPE = (3, 8, 8)


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class DataType(enum.Enum):
    FLOAT, HALF, BF16 = range(3)


class ILogger:
    Severity = Severity


def fake_tensorrt(asked: SimpleNamespace) -> ModuleType:
    """`asked` notes the flags; `asked.fails` names the step that fails."""
    import onnxruntime

    module = ModuleType("tensorrt")
    module.ILogger, module.DataType = ILogger, DataType
    module.BuilderFlag = enum.Enum("BuilderFlag", ["TF32", "SPARSE_WEIGHTS"])
    module.NetworkDefinitionCreationFlag = enum.IntEnum("Flag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})

    class Builder:
        def __init__(self, log):
            self.log = log

        def create_network(self, flags):
            asked.network_flags = flags
            return SimpleNamespace()

        def create_builder_config(self):
            asked.flags = {module.BuilderFlag.TF32}  # which TensorRT sets by itself
            return SimpleNamespace(set_flag=asked.flags.add, clear_flag=asked.flags.remove)

        def build_serialized_network(self, network, config):
            if asked.fails == "build":
                self.log.log(Severity.WARNING, "this is slow")
                self.log.log(Severity.ERROR, "no tactic for Softmax\nand more")
                self.log.log(Severity.WARNING, "good bye")
                return None
            return network.file

    class OnnxParser:
        def __init__(self, network, log):
            self.network = network

        def parse_from_file(self, path):
            self.network.file = Path(path).read_bytes()
            assert not Path(f"{path}.data").exists(), "weights in a second file would be lost here"
            return asked.fails != "parse"

        def get_error(self, index):
            return SimpleNamespace(node_operator=lambda: "DFT", desc=lambda: "no importer\nfound")

    class Runtime:
        def __init__(self, log):
            self.log = log

        def deserialize_cuda_engine(self, file):
            if asked.fails == "load":
                self.log.log(Severity.ERROR, "made by another version")
                return None
            return Engine(file)

    class Engine:
        def __init__(self, file):
            self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            self.tensors = {t.name: t for t in (*self.session.get_inputs(), *self.session.get_outputs())}

        def get_tensor_shape(self, name):
            return self.tensors[name].shape

        def get_tensor_dtype(self, name):
            return {"tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF}[self.tensors[name].type]

        def create_execution_context(self):
            return Context(self)

    class Context:
        def __init__(self, engine):
            self.engine, self.at = engine, {}

        def set_tensor_address(self, name, address):
            self.at[name] = address

        def execute_async_v3(self, stream):
            if asked.fails == "run":
                return False
            asked.stream = stream
            tensor = self.engine.tensors["image"]
            values = np.empty(tensor.shape, {"tensor(float)": "f4", "tensor(float16)": "f2"}[tensor.type])
            ctypes.memmove(values.ctypes.data, self.at["image"], values.nbytes)
            (logits,) = self.engine.session.run(["logits"], {"image": values})
            ctypes.memmove(self.at["logits"], logits.ctypes.data, logits.nbytes)
            return True

    module.Builder, module.OnnxParser, module.Runtime = Builder, OnnxParser, Runtime
    return module


@pytest.fixture
def asked(monkeypatch):
    asked = SimpleNamespace(fails="", waited=[])
    stream = SimpleNamespace(
        cuda_stream=77, wait_stream=asked.waited.append, synchronize=lambda: asked.waited.append("until done")
    )
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(asked))
    monkeypatch.setattr(ours, "_gpu_of", lambda batch: torch.device("cpu"))
    monkeypatch.setattr(Tensorrt, "missing", lambda: "")
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "that of the images")
    for cached in (ours._log, ours._runtime):
        cached.cache_clear()
    yield asked
    for cached in (ours._log, ours._runtime):
        cached.cache_clear()


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.GELU(), nn.Linear(8, 5)).eval()


@pytest.fixture
def images():
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


@NEEDS_ONNX
def test_the_engine_is_given_the_addresses_of_the_images_and_of_the_logits(asked, images):
    torch.manual_seed(0)
    model = build("vit_pico_patch4_8", num_classes=5).eval()
    session = Tensorrt().prepare(model, images)
    apart = images.flip(0, 3).mul(2).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(session(), model(images), rtol=1e-4, atol=1e-4)
        session.feed(apart)
        torch.testing.assert_close(session(), model(apart), rtol=1e-4, atol=1e-4)
    assert asked.stream == 77
    assert asked.waited == ["that of the images", "until done"] * 2


@NEEDS_ONNX
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_network_has_the_types_of_the_module_and_no_tf32(asked, model, images, dtype):
    session = Tensorrt().prepare(model.to(dtype), images.to(dtype))
    assert asked.network_flags == 1 << 1  # strongly typed
    assert asked.flags == set()
    assert session().dtype == dtype


@NEEDS_ONNX
def test_sparse_kernels_are_allowed_for_2_of_4_weights_only(asked, model, images):
    Tensorrt().prepare(model, images)
    assert {flag.name for flag in asked.flags} == set()
    weight = model[1].weight
    weight.data *= Pattern(2, 4).mask(weight.detach().abs())
    Tensorrt().prepare(model, images)
    assert {flag.name for flag in asked.flags} == {"SPARSE_WEIGHTS"}


@pytest.mark.parametrize(
    ("layer", "kept", "expected"),
    [
        (nn.Linear(8, 4), (1, 1, 0, 0), True),
        (nn.Linear(8, 4), (0, 1, 0, 0), True),
        (nn.Linear(8, 4), (1, 1, 1, 0), False),
        (nn.Linear(8, 4), (1, 1, 1, 1), False),
        (nn.Linear(6, 4), (0, 0), False),  # is not in groups of four
        (nn.Conv2d(8, 4, 1), (1, 0, 1, 0), True),
        (nn.Conv2d(8, 4, 2), (1, 0, 1, 0), False),  # its zeros are not one after the other in the channels
        (nn.LayerNorm(8), (0, 0, 0, 0), False),
    ],
)
def test_which_weights_are_2_of_4(layer, kept, expected):
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.weight.view(-1)[:] *= torch.tensor(kept).repeat(layer.weight.numel() // len(kept))
    assert has_2_of_4(nn.Sequential(nn.ReLU(), layer)) is expected


@NEEDS_ONNX
def test_a_file_is_written_and_checked_as_of_any_runtime(asked, model, tmp_path):
    made = export(model, SHAPE, tmp_path / "model.engine", runtime="tensorrt", batch_size=2)
    assert made.nbytes == (tmp_path / "model.engine").stat().st_size
    assert [file.name for file in tmp_path.iterdir()] == ["model.engine"]
    assert made.deviation < 1e-4
    with pytest.raises(UserError, match=r"reads \.engine files"):
        export(model, SHAPE, tmp_path / "model.onnx", runtime="tensorrt")


@NEEDS_ONNX
@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("parse", "tensorrt cannot take DFT: no importer$"),
        ("build", "tensorrt cannot build an engine for this model: no tactic for Softmax$"),
        ("load", "tensorrt cannot load the engine: made by another version$"),
    ],
)
def test_what_tensorrt_refuses_is_one_line(asked, model, images, fails, said):
    asked.fails = fails
    with pytest.raises(Unmeasurable, match=said):
        Tensorrt().prepare(model, images)


@NEEDS_ONNX
def test_a_run_that_fails_is_no_answer(asked, model, images):
    session = Tensorrt().prepare(model, images)
    asked.fails = "run"
    with pytest.raises(RuntimeError, match="did not run the engine: TensorRT does not say why"):
        session()


@NEEDS_ONNX
@pytest.mark.parametrize("other", [torch.zeros(1, *SHAPE), torch.zeros(2, *SHAPE, dtype=torch.float16)])
def test_images_that_the_engine_would_read_past_are_refused(asked, model, images, other):
    session = Tensorrt().prepare(model, images)
    with pytest.raises(Unmeasurable, match=r"built for torch.float32 \(2, 3, 8, 8\), not for torch.float"):
        session.feed(other)


def test_it_says_what_is_missing_the_gpu_first(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Tensorrt.missing() == "tensorrt needs an NVIDIA GPU that torch can use; use --runtime onnxruntime"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Tensorrt, "libraries", ("no_such_library", "torch"))
    assert Tensorrt.missing() == 'no_such_library not installed; type: pip install "paretovit[tensorrt]"'


def test_int8_and_a_cpu_are_refused():
    from paretovit.cost.choose import chosen
    from paretovit.cost.measure import measure

    with pytest.raises(Unmeasurable, match="tensorrt computes in float32, bfloat16, float16, not in int8"):
        chosen("tensorrt", "int8", lambda: torch.zeros(1))
    with pytest.raises(UserError, match="tensorrt does not run on cpu; it runs on cuda"):
        measure(["vit_pico_patch4_8"], runtimes=["tensorrt"])
