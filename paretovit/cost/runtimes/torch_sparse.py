"""PyTorch with its 2:4 sparse products, where they are faster than dense ones."""

from __future__ import annotations

import copy
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.cost.roofs import sparse_missing
from paretovit.cost.runtimes import Runtime, Session
from paretovit.cost.torch_sessions import Inference
from paretovit.zoo.masked import MaskedLinear

_LEAST_S, _REPEATS = 0.01, 3


class TorchSparse(Runtime):
    """As torch_eager, but that each masked linear map is tried both ways, on inputs as it gets them, and is given a 2:4
    sparse weight (cuSPARSELt's or CUTLASS's) where that is faster. `chosen` names those layers after `prepare`."""

    devices = ("cuda",)
    dtypes = ("bfloat16", "float16")

    def __init__(self) -> None:
        self.chosen: tuple[str, ...] = ()

    @classmethod
    def missing(cls) -> str:
        if not torch.cuda.is_available():
            return "torch_sparse needs a GPU with 2:4 sparse tensor cores, which no CPU has; use --runtime torch_eager"
        if torch.cuda.get_device_capability() < (8, 0):
            return f"{torch.cuda.get_device_name()} has no 2:4 sparse tensor cores; use --runtime torch_eager"
        return ""

    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        sparse = copy.deepcopy(model).eval()
        self.chosen = tuple(name for name, rows in _rows(sparse, batch).items() if _gains(sparse, name, rows))
        for name in self.chosen:
            layer = sparse.get_submodule(name)
            assert isinstance(layer, MaskedLinear)
            layer.weight = nn.Parameter(torch.sparse.to_sparse_semi_structured(layer.weight.detach()), False)
        return Inference(sparse, sparse, batch)


@torch.inference_mode()
def _rows(model: nn.Module, batch: Tensor) -> dict[str, int]:
    """How many tokens each masked linear map multiplies in one call, for those with a 2:4 pattern."""
    rows: dict[str, int] = {}

    def hook(name: str, module: MaskedLinear):  # type: ignore[no-untyped-def]  # torch's
        def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            rows[name] = args[0].numel() // args[0].shape[-1]

        return module.register_forward_pre_hook(note)

    layers = {n: m for n, m in model.named_modules() if isinstance(m, MaskedLinear) and m.pattern.is_2_of_4}
    handles = [hook(name, module) for name, module in layers.items()]
    try:
        model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return rows


@torch.inference_mode()
def _gains(model: nn.Module, name: str, rows: int) -> bool:
    """Whether the layer's product is faster with a sparse weight."""
    layer = model.get_submodule(name)
    assert isinstance(layer, MaskedLinear)
    weight, bias = layer.weight.detach(), layer.bias
    dtype = str(weight.dtype).removeprefix("torch.")
    if sparse_missing((rows, layer.in_features, layer.out_features), str(weight.device), dtype):
        return False
    x = torch.randn(rows, layer.in_features, device=weight.device, dtype=weight.dtype)
    thin = torch.sparse.to_sparse_semi_structured(weight)
    return _seconds(x, thin, bias) < _seconds(x, weight, bias)


def _seconds(x: Tensor, weight: Tensor, bias: Tensor | None) -> float:
    """Of one product, the fastest mean of several stretches."""

    def stretch(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            F.linear(x, weight, bias)
        torch.cuda.synchronize(x.device)
        return time.perf_counter() - start

    stretch(1)
    calls = max(1, round(_LEAST_S / max(stretch(1), 1e-7)))
    return min(stretch(calls) / calls for _ in range(_REPEATS))
