"""Models with a macro-structure of their own through the compiler's tracer and through ONNX.

Each file's smallest model, cut to one block per stage (or as many as its parts need), at the smallest image that it
takes. Those on the plain skeleton are tried in `tests/cost/test_runtime_coverage.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from paretovit.cost.runtimes.onnxruntime import Onnxruntime
from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.zoo.build import build
from paretovit.zoo.folders import MACROS

# file -> why its models are not one graph, or have no ONNX file
BREAKS: dict[str, str] = {}
NO_ONNX: dict[str, str] = {}

NEEDS_ONNX = pytest.mark.skipif(bool(Onnxruntime.missing()), reason=Onnxruntime.missing() or "it is here")


def small(file: str) -> ModelSpec:
    """One block per stage where the sequence method leaves that open, few classes, few pixels."""
    spec = min((s for s, _ in MACROS[file].rows()), key=lambda s: sum(t.depth * t.dim**2 for t in s.stages))
    if len(spec.stages) > 8:  # pairs of stages over and over
        spec = replace(spec, stages=spec.stages[:2])
    stages = tuple(
        replace(stage, depth=1) if stage.sequence.name == "keep_all" and not stage.share else stage
        for stage in spec.stages
    )
    for px in (32, 56, 64, 96, 112, 128, 192, 224):
        try:
            found = replace(spec, stages=stages, image_px=px, num_classes=5)
            build(found, device="meta")
        except UserError:
            continue
        return found
    raise AssertionError(file)


@pytest.fixture(params=MACROS.names())
def file(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(file: str) -> nn.Module:
    torch.manual_seed(0)
    return build(small(file)).eval()


@pytest.fixture
def two_batches(model: nn.Module) -> list[Tensor]:
    chance = torch.Generator().manual_seed(0)
    return [torch.randn(2, *model.spec.input_shape, generator=chance) for _ in range(2)]


@pytest.mark.slow
def test_the_compiler_sees_one_graph(file: str, model: nn.Module, two_batches: list[Tensor]) -> None:
    torch.compiler.reset()
    traced_with, other = two_batches
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="eager")
    with torch.inference_mode():
        if file in BREAKS:
            with pytest.raises(torch._dynamo.exc.Unsupported):
                compiled(traced_with)
            return
        compiled(traced_with)
        torch.testing.assert_close(compiled(other), model(other), rtol=0, atol=1e-5)


@pytest.mark.slow
@NEEDS_ONNX
def test_the_onnx_file_gives_the_models_logits(
    file: str, model: nn.Module, two_batches: list[Tensor], tmp_path: Path
) -> None:
    traced_with, other = two_batches
    path = tmp_path / "model.onnx"
    if file in NO_ONNX:
        with pytest.raises(Exception, match=NO_ONNX[file]):
            Onnxruntime().export(model, traced_with, path)
        return
    Onnxruntime().export(model, traced_with, path)
    with torch.no_grad():
        expected = model(other)
    found = torch.as_tensor(Onnxruntime().load(path, other)())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
