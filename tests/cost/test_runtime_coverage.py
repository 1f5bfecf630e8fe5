"""Every architecture of the skeleton through the compiler's tracer and through ONNX."""

from __future__ import annotations

import pytest
import torch

from paretovit.cost.runtimes.onnxruntime import Onnxruntime
from paretovit.zoo.build import build
from paretovit.zoo.skeletons import ARCHITECTURES

NEEDS_ONNX = pytest.mark.skipif(bool(Onnxruntime.missing()), reason=Onnxruntime.missing() or "it is here")


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    torch.manual_seed(0)
    return build(f"{request.param}_pico_patch4_32").eval()


@pytest.fixture
def two_batches():
    chance = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 32, 32, generator=chance) for _ in range(2)]


@pytest.mark.slow
@NEEDS_ONNX
def test_the_onnx_file_gives_the_models_logits_for_images_that_it_was_not_traced_with(model, two_batches, tmp_path):
    traced_with, other = two_batches
    path = tmp_path / "model.onnx"
    Onnxruntime().export(model, traced_with, path)
    with torch.no_grad():
        expected = model(other)
    found = torch.as_tensor(Onnxruntime().load(path, other)())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_compiler_sees_one_graph(model, two_batches):
    """A break would raise; the graph that was traced with one batch is run on another."""
    torch.compiler.reset()
    traced_with, other = two_batches
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="eager")
    with torch.inference_mode():
        compiled(traced_with)
        torch.testing.assert_close(compiled(other), model(other), rtol=0, atol=1e-5)
