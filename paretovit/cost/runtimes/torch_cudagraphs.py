"""PyTorch's kernels, recorded once as a CUDA graph and then launched all at once."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.cost.exported import converting
from paretovit.cost.runtimes import Runtime, Session

_WARM_UP_CALLS = 3


class TorchCudagraphs(Runtime):
    """As torch_eager, but that the kernels of one call are recorded, and launched by one call of the driver from then
    on: what Python and PyTorch take for every operator is gone, the kernels are the same.

    A call copies the batch to where the recording reads it, which counts as part of the call. What waits for the device
    or looks at values (`.item()`, a branch on an image) cannot be recorded; such a model is refused. This is not
    `torch.compile(mode="reduce-overhead")`, which fuses kernels before it records them.
    """

    devices = ("cuda",)

    @classmethod
    def missing(cls) -> str:
        if not torch.cuda.is_available():
            return "torch_cudagraphs needs a GPU that torch can use; use --runtime torch_eager"
        return ""

    def prepare(self, model: nn.Module, batch: Tensor) -> Session:
        return _Recorded(model, batch)


class _Recorded(Session):
    """`model` on what lies in a buffer of its own; the logits come in a buffer, too, which each call writes anew."""

    @torch.inference_mode()
    def __init__(self, model: nn.Module, batch: Tensor) -> None:
        self._model = model  # the recording reads its weights
        self._batch, self._image = batch, batch.clone()
        self._graph = torch.cuda.CUDAGraph()
        self._device = batch.device
        # The outer `stream` leaves the recording stream when the recording fails, which `graph` itself does not.
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.device(self._device), torch.cuda.stream(stream), converting("torch_cudagraphs"):
            # What is made only once may not be recorded: the handles of cuBLAS and cuDNN, which belong to a stream, the
            # choice of their kernels, and what the model itself keeps from its first call.
            for _ in range(_WARM_UP_CALLS):
                model(self._image)
            gc.collect()
            torch.cuda.reset_peak_memory_stats(self._device)
            with torch.cuda.graph(self._graph, stream=stream):
                self._logits = model(self._image)
            self._peak_bytes = torch.cuda.max_memory_allocated(self._device)
        torch.cuda.current_stream(self._device).wait_stream(stream)

    @torch.inference_mode()
    def __call__(self) -> Any:
        self._image.copy_(self._batch)
        self._graph.replay()
        return self._logits

    def feed(self, images: Tensor) -> None:
        self._batch = images.to(self._image)

    def synchronize(self) -> None:
        torch.cuda.synchronize(self._device)

    def peak_bytes(self) -> int:
        """Live at rest, plus the most that one call adds to it: as it was when it was recorded, for the allocator does
        not see a replay, which uses the same memory again."""
        return self._peak_bytes
