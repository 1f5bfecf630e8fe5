"""What every file in cost/runtimes promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from timm.models import SwinTransformer, VisionTransformer
from torch import nn

from paretovit import build, resolve
from paretovit.cost.choose import chosen, tensors_of
from paretovit.cost.folders import RUNTIMES
from paretovit.cost.groups import GROUPS
from paretovit.cost.runtimes import FileRuntime, Runtime
from paretovit.errors import Unmeasurable


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, image):
        tokens = self.norm(self.conv(image).flatten(2).mT).unsqueeze(1)  # one head
        attended = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.head(attended.mean(2).squeeze(1))


class Spectral(Model):
    def forward(self, image):
        return torch.linalg.eigh(image.mean(1))[0] + super().forward(image).mean()


class Choosing(Model):
    def forward(self, image):
        return super().forward(image if image.sum() > 0 else -image)


def zoo_model(name: str) -> nn.Module:
    """One block of it on 16 patches."""
    spec = resolve(f"{name}_pico_patch4_16", num_classes=5)
    return build(replace(spec, stages=(replace(spec.stages[0], depth=1),)))


MODELS = {
    **{
        name: lambda name=name: zoo_model(name)
        for name in (
            "vit",
            "performer",
            "nystromformer",
            "swin_vit",
            "fnet",
            "tome",
            "evit_fuse",
            "switch",
            "universal",
        )
    },
    "timm vit": lambda: VisionTransformer(16, 4, num_classes=5, embed_dim=32, depth=1, num_heads=2),
    "timm swin": lambda: SwinTransformer(
        16, 2, num_classes=5, embed_dim=16, depths=(1, 1), num_heads=(1, 2), window_size=4
    ),
}
# what is known to be refused, and the operator that the row then names
REFUSED = {
    ("openvino", "fnet"): "view_as_real",
    ("litert", "fnet"): "_fft_r2c",
    ("executorch", "tome"): "aten::sort",
    ("executorch", "evit_fuse"): "aten::sort",
    ("litert", "tome"): "comparator",  # of a sort of whole numbers
}


def name_of(runtime: type[Runtime]) -> str:
    (name,) = (name for name in RUNTIMES.names() if RUNTIMES[name] is runtime)
    return name


# told by what their sources state, so that a library that is not installed keeps no test from being listed
EXPORTING = [name for name in RUNTIMES.names() if RUNTIMES.fact(name, "suffix")]
FILE_RUNTIMES = [name for name in RUNTIMES.names() if RUNTIMES.fact(name, "libraries")]
IN_TORCH = [name for name in RUNTIMES.names() if name not in FILE_RUNTIMES]
TRAINING = [name for name in RUNTIMES.names() if RUNTIMES.fact(name, "trains")]


@pytest.fixture(params=RUNTIMES.names())
def runtime(request) -> type[Runtime]:
    runtime = RUNTIMES[request.param]
    if runtime.missing():
        pytest.skip(runtime.missing())
    return runtime


@pytest.fixture
def batch(runtime):
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    if "cpu" in runtime.devices:
        yield images
    else:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # what is expected is float32, too
            yield images.cuda()


def test_says_in_one_line_what_is_missing_or_nothing():
    for name in RUNTIMES.names():
        said = RUNTIMES[name].missing()
        assert isinstance(said, str)
        assert "\n" not in said


def test_gives_the_output_of_the_model_itself(runtime, batch):
    model = Model().eval().to(batch.device)
    with torch.no_grad():
        expected = model(batch)
    session = runtime().prepare(model, batch)
    torch.testing.assert_close(torch.as_tensor(session()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex operators")  # of FNet
@pytest.mark.parametrize("name", MODELS)
def test_gives_the_output_of_a_vision_transformer(runtime, name, batch):
    torch.manual_seed(0)
    model = MODELS[name]().eval().to(batch.device)
    with torch.no_grad():
        expected = model(batch)
    file_name = name_of(runtime)
    if (file_name, name) in REFUSED:
        with pytest.raises(Unmeasurable, match=REFUSED[file_name, name]):
            runtime().prepare(model, batch)
    else:
        session = runtime().prepare(model, batch)
        torch.testing.assert_close(torch.as_tensor(session()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", EXPORTING, indirect=True)
def test_what_it_exports_answers_for_other_images_too(runtime, batch, tmp_path):
    model, path = Model().eval().to(batch.device), tmp_path / f"model{runtime.suffix}"
    runtime().export(model, batch, path)
    assert path.is_file()
    other = batch.flip(0, 3).mul(2)
    with torch.no_grad():
        expected = model(other)
    session = runtime().load(path, other)
    torch.testing.assert_close(torch.as_tensor(session()), expected, rtol=1e-4, atol=1e-4)
    if issubclass(runtime, FileRuntime):
        with pytest.raises(Unmeasurable, match="does not tell"):
            session.peak_bytes()


@pytest.mark.parametrize("runtime", FILE_RUNTIMES, indirect=True)
def test_an_operator_that_it_does_not_know_is_named(runtime, batch):
    with pytest.raises(Unmeasurable, match="linalg_eigh") as refusal:
        runtime().prepare(Spectral().eval().to(batch.device), batch)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("runtime", [*FILE_RUNTIMES, "torch_cudagraphs"], indirect=True)
def test_a_model_that_looks_at_the_values_is_refused_and_not_frozen(runtime, batch):
    with pytest.raises(Unmeasurable, match="cannot take this model"):
        runtime().prepare(Choosing().eval().to(batch.device), batch)


@pytest.mark.parametrize("runtime", TRAINING, indirect=True)
def test_a_training_step_changes_every_weight(runtime, batch):
    model = Model().to(batch.device)
    before = {name: value.clone() for name, value in model.named_parameters()}
    runtime().prepare_training(model, batch)()
    assert all(not torch.equal(before[name], value) for name, value in model.named_parameters())


@pytest.mark.parametrize("runtime", IN_TORCH, indirect=True)
def test_training_peaks_above_inference_and_inference_above_its_weights(runtime, batch):
    model = Model().to(batch.device)
    weights = sum(4 * p.numel() for p in model.parameters())
    inference = runtime().prepare(model.eval(), batch).peak_bytes()
    assert weights + batch.nbytes < inference
    if runtime.trains:
        assert runtime().prepare_training(model, batch).peak_bytes() > max(inference, 4 * weights)


def computes(dtype: str) -> bool:
    """Whether OpenVINO says that it has such arithmetic for this CPU."""
    import openvino

    names = {"bfloat16": "BF16", "float16": "FP16", "int8": "INT8"}
    return names[dtype] in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


OTHER_DTYPES = [(name, dtype) for name in RUNTIMES.names() for dtype in RUNTIMES[name].dtypes if dtype != "float32"]


@pytest.mark.parametrize(("runtime", "dtype"), OTHER_DTYPES, indirect=["runtime"])
def test_other_data_types_lower_the_arithmetic_and_not_the_answer(runtime, dtype, batch):
    with torch.inference_mode():
        expected = Model().eval().to(batch.device)(batch)
    prepared = chosen(name_of(runtime), dtype, lambda: torch.cat([batch, -batch, batch / 2]))
    tensors = tensors_of(dtype)
    model = Model().eval().to(batch.device, tensors)
    if name_of(runtime) == "openvino" and not computes(dtype):  # and would take another data type than the row says
        with pytest.raises(Unmeasurable, match=r"has no .* arithmetic for this CPU"):
            prepared.prepare(model, batch.to(tensors))
        return
    session = prepared.prepare(model, batch.to(tensors))
    deviation = (torch.as_tensor(session()).float() - expected).abs().max() / expected.abs().max()
    assert 0 < deviation < (0.1 if dtype == "int8" else 0.03)


def test_a_session_runs_the_images_that_it_is_fed(runtime, batch):
    model = Model().eval().to(batch.device)
    other = batch.flip(0, 3).mul(2)
    with torch.inference_mode():
        expected = model(other)
    before = batch.clone()
    session = runtime().prepare(model, batch)
    session()
    session.feed(other)
    torch.testing.assert_close(torch.as_tensor(session()), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(batch, before)


PROFILED = ("onnxruntime", "openvino")


@pytest.mark.parametrize("runtime", PROFILED, indirect=True)
def test_what_operators_take_is_told_when_the_file_has_gone(runtime, batch):
    model = zoo_model("vit").eval()
    session = runtime().prepare(model, batch)
    groups = {op.group for op in session.profile()}
    assert {"linear", "norm", "convolution", "element-wise"} <= groups
    assert groups & {"attention matmul", "fused attention"}
    assert "other" not in groups
    assert all(op.group in GROUPS and op.seconds >= 0 for op in session.profile())
    torch.testing.assert_close(torch.as_tensor(session()), model(batch).detach(), rtol=1e-4, atol=1e-4)
