"""CUDA graphs without a GPU: what is recorded, on a recorder that replays operators as CUDA replays kernels.

It writes results to where they lay when they were recorded, and knows no other inputs than those that were read then;
so a session that records the wrong tensor answers for the wrong images.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paretovit.cost.runtimes.torch_cudagraphs import TorchCudagraphs
from paretovit.errors import Unmeasurable
from paretovit.zoo.build import build

# operators that read a value on the host
WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default, torch.ops.aten.item.default}


class Stream:
    """`waited` has what it waited for, in order."""

    def __init__(self, device=None):
        self.waited = []

    def wait_stream(self, other):
        self.waited.append(other)


class Recorder(TorchDispatchMode):
    """Stands for `torch.cuda.CUDAGraph` and, while it is entered, for its recording."""

    def __init__(self):
        super().__init__()
        self.recorded, self.stream = [], None

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator in WAITS:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        result = operator(*args, **(kwargs or {}))
        self.recorded.append((operator, args, kwargs or {}, result))
        return result

    def replay(self):
        for operator, args, kwargs, result in self.recorded:
            again = operator(*args, **kwargs)
            for place, value in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(place, Tensor):
                    place.copy_(value)


class Calls(nn.Module):
    """Says on which stream it is called."""

    def __init__(self, model, gpu):
        super().__init__()
        self.model, self.gpu, self.streams = model, gpu, []

    def forward(self, image):
        self.streams.append(self.gpu.current)
        return self.model(image)


class Choosing(nn.Module):
    def forward(self, image):
        return image if image.sum() > 0 else -image


class OutOfMemory(nn.Module):
    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def forward(self, image):
        self.left -= 1
        if self.left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return image


@pytest.fixture
def gpu(monkeypatch):
    """`current` is the stream in use; what `torch.cuda` is asked for is answered by this object's fakes."""
    main = Stream()
    state = SimpleNamespace(main=main, current=main, made=[])

    def make_stream(device):
        state.made.append(Stream())
        return state.made[-1]

    @contextmanager
    def stream(other):
        before, state.current = state.current, other
        try:
            yield
        finally:
            state.current = before

    @contextmanager
    def graph(recorder, *, stream):
        recorder.stream = state.current = stream
        try:
            with recorder:
                yield
        except Exception:  # as torch's, which ends the recording first, and then never leaves the stream
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture") from None
        state.current = stream

    for name, fake in {
        "CUDAGraph": Recorder, "Stream": make_stream, "stream": stream, "graph": graph,
        "current_stream": lambda device: state.current, "device": lambda device: nullcontext(),
        "reset_peak_memory_stats": lambda device: None, "max_memory_allocated": lambda device: 123,
        "synchronize": lambda device: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, fake)
    return state


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["vit_pico_patch4_8", "performer_pico_patch4_8", "tome_pico_patch4_8"])
def test_a_replay_answers_for_the_images_that_were_fed(gpu, images, name):
    torch.manual_seed(0)
    model, other = build(name, num_classes=5).eval(), images.flip(0, 3).mul(2)
    session = TorchCudagraphs().prepare(model, images)
    given = images.clone()
    with torch.inference_mode():
        torch.testing.assert_close(session(), model(images))
        session.feed(other)
        torch.testing.assert_close(session(), model(other))
        torch.testing.assert_close(session(), model(other))
    assert torch.equal(images, given)


def test_a_replay_reads_the_batch_as_it_is_at_the_call(gpu, images):
    """A batch that its owner writes over in place is copied in at every call."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()
    session = TorchCudagraphs().prepare(model, images)
    images.mul_(3)
    with torch.inference_mode():
        torch.testing.assert_close(session(), model(images))


def test_it_warms_up_on_the_stream_that_records(gpu, images):
    model = Calls(nn.Flatten(), gpu)
    TorchCudagraphs().prepare(model, images)
    (side,) = gpu.made
    assert len(model.streams) > 1
    assert set(model.streams) == {side}
    assert side is not gpu.main
    assert side.waited == [gpu.main]  # the images may not be there yet
    assert gpu.main.waited == [side]
    assert gpu.current is gpu.main


def test_a_recording_that_fails_is_a_reason_and_leaves_the_stream(gpu, images):
    with pytest.raises(Unmeasurable, match="torch_cudagraphs cannot take this model: CUDA error") as refusal:
        TorchCudagraphs().prepare(Choosing(), images)
    assert "not permitted when stream is capturing" in str(refusal.value)
    assert gpu.current is gpu.main


@pytest.mark.parametrize("calls", [0, 3], ids=["when it warms up", "when it records"])
def test_an_end_of_memory_is_said_to_be_one(gpu, images, calls):
    with pytest.raises(torch.OutOfMemoryError):
        TorchCudagraphs().prepare(OutOfMemory(calls), images)


def test_its_peak_is_that_of_the_recording(gpu, images):
    assert TorchCudagraphs().prepare(nn.Flatten(), images).peak_bytes() == 123


def test_it_says_that_it_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TorchCudagraphs.missing() == "torch_cudagraphs needs a GPU that torch can use; use --runtime torch_eager"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert TorchCudagraphs.missing() == ""
