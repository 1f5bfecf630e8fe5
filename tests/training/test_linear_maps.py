"""Linear maps as convolutions: the same outputs and gradients, and a training that goes on as it was."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from paretovit.spec import ModelSpec
from paretovit.training import linear_maps, loop
from paretovit.training.data import Data
from paretovit.training.linear_maps import ByConvolution, convolved, fast_linear_maps
from paretovit.training.loop import Execution, train
from paretovit.training.recipe import Recipe
from paretovit.zoo.checkpoint import load_tensors

CPU = torch.device("cpu")


class Called(TorchDispatchMode):
    """The names of the operators that are called."""

    def __enter__(self) -> Any:
        self.names: list[str] = []
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def every_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the smallest map, on every machine."""
    monkeypatch.setattr(linear_maps, "FEWEST", 0)
    monkeypatch.setattr(loop, "fast_linear_maps", lambda device, dtype: ByConvolution())


@pytest.mark.usefixtures("every_map")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [(7, 6), (2, 5, 6), (2, 3, 4, 6)], ids=str)
def test_outputs_and_gradients_are_those_of_the_linear_map(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    given = [torch.randn(*shape), torch.randn(9, 6), *([torch.randn(9)] if bias else [])]
    mine = [part.clone().requires_grad_() for part in given]
    exact = [part.double().requires_grad_() for part in given]
    with ByConvolution(), Called() as called:
        out = F.linear(*mine)
        (out**2).sum().backward()
    expected = F.linear(*exact)
    (expected**2).sum().backward()
    assert "convolution" in called.names
    assert not {"mm", "addmm"} & set(called.names)
    torch.testing.assert_close(out, expected.float())
    for part, wanted in zip(mine, exact, strict=True):
        torch.testing.assert_close(part.grad, wanted.grad.float())


def test_small_maps_and_other_types_stay_as_they_are() -> None:
    x, weight = torch.randn(4, 8), torch.randn(8, 8)
    many = torch.randn(linear_maps.FEWEST // 64, 8)
    with ByConvolution(), Called() as called:
        F.linear(x, weight)
        F.linear(many.double(), weight.double())
        F.linear(many.to("meta"), weight.to("meta"))
    assert "convolution" not in called.names
    with ByConvolution(), Called() as called:
        F.linear(many, weight)
    assert "convolution" in called.names


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
@pytest.mark.parametrize("threads", [1, 2])
def test_onednn_does_them_on_a_single_thread_too(threads: int) -> None:
    x, weight = torch.randn(16, linear_maps.FEWEST // 1024, 8), torch.randn(8, 8)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.profiler.profile() as profile:
            convolved(x, weight)
    finally:
        torch.set_num_threads(before)
    assert "aten::mkldnn_convolution" in {event.name for event in profile.events()}


@pytest.mark.parametrize(
    ("device", "dtype", "processor", "capability", "expected"),
    [
        ("cpu", "float32", "AMD EPYC", "AVX512", ByConvolution),
        ("cpu", "bfloat16", "AMD EPYC", "AVX512", nullcontext),
        ("cpu", "float32", "AMD EPYC", "AVX2", nullcontext),
        ("cpu", "float32", "Intel(R) Xeon(R)", "AVX512", nullcontext),
        ("cuda", "float32", "AMD EPYC", "AVX512", nullcontext),
    ],
)
def test_only_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, device: str, dtype: str, processor: str, capability: str, expected: type
) -> None:
    monkeypatch.setattr(linear_maps, "processor", lambda: processor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert type(fast_linear_maps(torch.device(device), dtype)) is expected


@pytest.mark.usefixtures("every_map")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_cut_short_goes_on_as_if_it_had_not_been(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe, checkpointing: bool
) -> None:
    execution = Execution(checkpointing=checkpointing)
    train(small_spec, few_digits, short, out=tmp_path / "whole", execution=execution)

    def stop(tick: Any) -> None:
        if tick.done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_spec, few_digits, short, out=tmp_path / "cut", execution=execution, progress=stop)
    train(small_spec, few_digits, short, out=tmp_path / "cut", execution=execution)
    whole, cut = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_it_learns_the_same(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_maps, "FEWEST", 0)
    calls = 0

    def counted(*tensors: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return convolved(*tensors)

    monkeypatch.setattr(linear_maps, "convolved", counted)
    losses: dict[str, list[float]] = {"plain": [], "convolved": []}
    for name, way in (("plain", nullcontext), ("convolved", ByConvolution)):
        monkeypatch.setattr(loop, "fast_linear_maps", lambda device, dtype, way=way: way())
        seen = losses[name]
        train(
            small_spec, few_digits, short, out=tmp_path / name, progress=lambda tick, seen=seen: seen.append(tick.loss)
        )
    # of two blocks queries, keys and values, what they heard, and two maps of the MLP; and the head
    assert calls == len(losses["convolved"]) * (2 * 4 + 1)
    assert losses["convolved"] == pytest.approx(losses["plain"], rel=1e-3)
