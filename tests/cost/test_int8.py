"""int8: the scales against their definition, what is refused, and what its rows say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from paretovit.cost.choose import chosen
from paretovit.cost.exported import in_whole_batches
from paretovit.cost.measure import measure
from paretovit.cost.profile import profile
from paretovit.cost.runtimes.onnxruntime import Onnxruntime
from paretovit.cost.runtimes.openvino import Openvino
from paretovit.cost.served import Served
from paretovit.errors import Unmeasurable, UserError
from paretovit.training.calibration import CalibrationImages
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

VIT = "vit_pico_patch4_8"


@dataclass(frozen=True)
class Some:
    """Images that a test calibrates on."""

    name: str = "2 images of a test"

    def __call__(self, spec):
        return torch.randn(2, *spec.input_shape, generator=torch.Generator().manual_seed(3))


def need(runtime):
    said = runtime.missing() or runtime.missing_for_int8()
    return pytest.mark.skipif(bool(said), reason=said or "it is here")


@need(Onnxruntime)
def test_scales_are_those_of_the_calibration_images_and_of_each_row_of_the_weights(tmp_path):
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 6)).eval()
    images = 3 * torch.rand(5, 3, 4, 4) - 1
    chosen("onnxruntime", "int8", lambda: images).export(model, torch.zeros(2, 3, 4, 4), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    read = [held[node.input[1]] for node in graph.node if node.op_type == "QuantizeLinear"]
    scales = [float(scale) for scale in read if scale.size == 1]
    # unsigned and asymmetric: from the least value to the largest in 255 steps
    assert any(scale == pytest.approx(float(images.max() - images.min()) / 255, rel=1e-4) for scale in scales)
    weight = model[1].weight.detach().numpy()
    (quantised,) = (array for array in held.values() if array.dtype == np.int8 and array.size == weight.size)
    (per_row,) = (array for array in held.values() if array.dtype == np.float32 and array.shape == (6,)
                  and np.allclose(array, np.abs(weight).max(1) / 127, rtol=1e-4))  # fmt: skip
    rows = quantised if quantised.shape == weight.shape else quantised.T
    assert np.abs(rows * per_row[:, None] - weight).max() <= per_row.max() / 2 * 1.001


@pytest.mark.parametrize(
    "runtime",
    [pytest.param("onnxruntime", marks=need(Onnxruntime)), pytest.param("openvino", marks=need(Openvino))],
)
def test_a_quantised_model_is_smaller_and_close(runtime, tmp_path):
    spec = resolve(VIT, num_classes=10)
    torch.manual_seed(0)
    module, images = build(spec).eval(), Some()(spec)
    sizes = []
    for dtype in ("float32", "int8"):
        prepared = chosen(runtime, dtype, lambda: images)
        folder = tmp_path / dtype
        folder.mkdir()
        prepared.export(module, images, folder / f"model{prepared.suffix}")
        sizes.append(sum(file.stat().st_size for file in folder.iterdir()))
    assert sizes[1] < 0.6 * sizes[0]
    with torch.inference_mode():
        expected = module(images)
    found = torch.as_tensor(prepared.load(folder / f"model{prepared.suffix}", images)())
    assert 0 < (found - expected).norm() / expected.norm() < 0.15


def test_batches_are_whole_and_hold_every_image():
    images = torch.arange(5.0).view(5, 1, 1, 1)
    assert [batch.flatten().tolist() for batch in in_whole_batches(images, 3)] == [[0, 1, 2], [3, 4, 0]]
    assert [batch.flatten().tolist() for batch in in_whole_batches(images[:2], 5)] == [[0, 1, 0, 1, 0]]
    assert [len(batch) for batch in in_whole_batches(images, 5)] == [5]


@pytest.mark.parametrize("run", [measure, profile])
def test_int8_without_images_and_images_without_int8_are_refused(run):
    more = {"runtimes": ["onnxruntime"]} if run is measure else {"runtime": "onnxruntime"}
    if Onnxruntime.missing():
        pytest.skip(Onnxruntime.missing())
    with pytest.raises(UserError, match="int8 is calibrated on real images; give --calibration DATA"):
        run([VIT], dtype="int8", **more)
    with pytest.raises(UserError, match="--calibration is for --dtype int8"):
        run([VIT], calibration=Some(), **more)


def test_a_runtime_that_does_not_quantise_is_a_row_that_says_so():
    rows = [r for r in profile([VIT], dtype="int8", calibration=Some(), threads=1) if r.indicator == "time_share"]
    assert all("torch_eager computes in float32" in row.why and "not in int8" in row.why for row in rows)


def test_a_library_that_is_not_here_is_named(monkeypatch):
    monkeypatch.setattr(Openvino, "int8_libraries", ("no_such_library",))
    with pytest.raises(Unmeasurable, match=r'no_such_library not installed; type: pip install "paretovit\[openvino\]"'):
        chosen("openvino", "int8", lambda: torch.zeros(1))


@need(Onnxruntime)
def test_rows_say_on_what_int8_was_calibrated():
    four = CalibrationImages("digits", 4)
    (row,) = measure([VIT], indicators=["artifact_bytes"], runtimes=["onnxruntime"], dtype="int8", calibration=four)
    assert row.value, row.why
    assert row.conditions.dtype == "int8"
    assert dict(row.conditions.assumptions) == {"calibration": "4 images of digits, train"}


@need(Onnxruntime)
def test_a_served_model_gives_the_modules_logits_for_fewer_images_too():
    spec = resolve(VIT, num_classes=7)
    module = build(spec).eval()
    images = torch.randn(3, *spec.input_shape)
    served = Served(spec, module, runtime="onnxruntime", batch_size=5)
    with torch.inference_mode():
        for some in (images, images[:1]):
            torch.testing.assert_close(served(some), module(some), rtol=1e-4, atol=1e-4)
    assert served.conditions == {"runtime": "onnxruntime", "dtype": "float32"}


def test_serving_leaves_the_module_as_it_is():
    spec = resolve(VIT, num_classes=7)
    module = build(spec).eval()
    served = Served(spec, module, runtime="torch_eager", dtype="bfloat16", batch_size=2)
    assert served(torch.randn(1, *spec.input_shape)).dtype == torch.bfloat16
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"runtime": "torch_egaer"}, "did you mean torch_eager"),
        ({"dtype": "int8"}, "give --calibration DATA"),
        ({"dtype": "int8", "calibration": Some()}, "not in int8; choose another runtime"),
        ({"runtime": "openvino", "device": "cuda"}, "openvino does not run on cuda"),
    ],
)
def test_what_cannot_be_served_is_one_line(change, said):
    spec = resolve(VIT)
    with pytest.raises(UserError, match=said):
        Served(spec, build(spec), **{"runtime": "torch_eager", **change})
