"""What every runtime that calls PyTorch shares: how it is called, waited for, and how its memory is read."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from paretovit.cost.exported import traced
from paretovit.cost.groups import Op
from paretovit.cost.operator_times import compiled_operators, eager_operators
from paretovit.cost.phases import Phase
from paretovit.cost.runtimes import Session


class _TorchSession(Session):
    def __init__(self, model: nn.Module, batch: Tensor) -> None:
        self.model, self.batch = model, batch
        self.cuda = batch.device.type == "cuda"

    def synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.batch.device)

    def peak_bytes(self) -> int:
        """Live at rest, plus the most that one call adds to it."""
        if self.cuda:
            self()  # whatever is made only once, such as the optimizer's moments, is there from now on
            self.synchronize()
            gc.collect()
            torch.cuda.reset_peak_memory_stats(self.batch.device)
            self()
            self.synchronize()
            return torch.cuda.max_memory_allocated(self.batch.device)
        # The first call makes what is made only once, and is traced too: the tracer only knows the size of a
        # block that is freed (a gradient, here) if it saw it made.
        most_live_bytes(self)
        return self._bytes_at_rest() + most_live_bytes(self)

    def _bytes_at_rest(self) -> int:
        tensors = [*self.model.parameters(), *self.model.buffers(), self.batch]
        return sum(t.untyped_storage().nbytes() for t in {t.untyped_storage().data_ptr(): t for t in tensors}.values())


class Inference(_TorchSession):
    """`call` is the model, in eval mode, as the runtime made it; `model` the module that owns the weights.

    `named` is the same compiled so that the profiler sees the kernels (`KERNELS_ARE_NAMED`); without it the operators
    are taken to be called one by one.
    """

    def __init__(
        self,
        model: nn.Module,
        call: Callable[[Tensor], Any],
        batch: Tensor,
        *,
        named: Callable[[Tensor], Any] | None = None,
    ) -> None:
        super().__init__(model, batch)
        self._call, self._named = call, named

    @torch.inference_mode()
    def __call__(self) -> Any:
        return self._call(self.batch)

    def feed(self, images: Tensor) -> None:
        self.batch = images.to(self.batch)

    @torch.inference_mode()
    def profile(self) -> list[Op]:
        if self._named is None:
            return eager_operators(self.model, self, cuda=self.cuda)
        named = self._named
        return compiled_operators(lambda: named(self.batch), cuda=self.cuda)


class TrainingStep(_TorchSession):
    """Forward, cross entropy against fixed random labels plus auxiliary losses, backward, AdamW."""

    def __init__(self, model: nn.Module, call: Callable[[Tensor], Any], batch: Tensor) -> None:
        super().__init__(model, batch)
        model.train()
        self._call = call
        with torch.no_grad():
            width = model(batch).shape[-1]
        self.labels = torch.randint(width, (len(batch),), device=batch.device)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def __call__(self) -> None:
        self.step(lambda _: nullcontext())

    def step(self, phase: Phase) -> None:
        """The same, with its phases told."""
        with phase("optimizer"):
            self.optimizer.zero_grad(set_to_none=True)
        with phase("forward"):
            logits = self._call(self.batch)
        with phase("loss"):
            loss = F.cross_entropy(logits.float(), self.labels)
            del logits  # or they would lie in memory until the step ends
            for auxiliary in getattr(self.model, "aux", {}).values():
                loss = loss + 0.01 * auxiliary
        with phase("backward"):
            loss.backward()
        with phase("optimizer"):
            self.optimizer.step()

    @property
    def is_eager(self) -> bool:
        """Whether the operators are called one by one."""
        return self._call is self.model

    def _bytes_at_rest(self) -> int:
        kept = [p.grad for p in self.model.parameters() if p.grad is not None]
        kept += [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
        return super()._bytes_at_rest() + sum(t.untyped_storage().nbytes() for t in kept) + self.labels.nbytes


def save_program(model: nn.Module, batch: Tensor, path: Path) -> None:
    """The model's operators and weights, for batches of that shape, as a file of `torch.export`."""
    torch.export.save(traced(model, batch), path)


def load_program(path: Path) -> nn.Module:
    """What `save_program` wrote, as a module."""
    return torch.export.load(path).module()


def most_live_bytes(call: Callable[[], Any]) -> int:
    """The most bytes that torch's CPU allocator holds at once during `call`, above what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        call()
    results = trace.profiler.kineto_results
    moves = sorted((e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]")
    live = most = 0
    for _, nbytes in moves:
        live += nbytes
        most = max(most, live)
    return most
