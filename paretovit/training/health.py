"""Whether a training still makes sense, where it broke if not, and how much memory it took."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import nn

from paretovit.errors import Unmeasurable
from paretovit.training.shards import whole

_DIVERGED = 10.0  # times the loss of the first steps
_STEPS = 20  # that the first loss is averaged over, and the last


class Health:
    """Losses and gradient norms are shown to it step by step."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._first, self._count, self._recent = 0.0, 0, 0.0

    def check(self, loss: float, norm: float, step: int) -> None:
        """Raises `Unmeasurable` with the number of the step, and the layers to blame, for a loss or gradient that is
        not finite, and for a loss that has grown to ten times what it was."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Unmeasurable(f"loss {loss:g} with gradient norm {norm:g} at step {step}{self.blame()}")
        self._count += 1
        if self._count <= _STEPS:
            self._first += loss / _STEPS
            self._recent = loss
            return
        self._recent += (loss - self._recent) / _STEPS
        if self._recent > _DIVERGED * max(self._first, 0.01):
            raise Unmeasurable(
                f"the loss has grown from {self._first:.3g} to {self._recent:.3g} at step {step}{self.blame()}"
            )

    def blame(self) -> str:
        """The layers whose gradients are not finite, or else the largest ones, in words."""
        norms: dict[str, float] = {}
        for name, parameter in self.module.named_parameters():
            if parameter.grad is not None:
                layer = _layer(name)
                norms[layer] = math.hypot(norms.get(layer, 0.0), float(whole(parameter.grad.norm())))
        broken = [layer for layer, norm in norms.items() if not math.isfinite(norm)]
        largest = sorted((item for item in norms.items() if math.isfinite(item[1])), key=lambda item: -item[1])[:3]
        words = []
        if broken:
            some = f"{len(broken)} of {len(norms)} layers, {broken[0]} to {broken[-1]}"
            words.append(f"not finite in {some if len(broken) > 1 else broken[0]}")
        if largest:
            words.append("largest in " + ", ".join(f"{layer} ({norm:.2g})" for layer, norm in largest))
        return f" (gradients: {'; '.join(words)})" if words else ""


def _layer(name: str) -> str:
    """A parameter's block, or its module outside of blocks: `stages.0.3`, `head`."""
    match = re.match(r"(?:stages\.\d+\.\d+|blocks\.\d+|layers\.\d+(?:\.blocks\.\d+)?)", name)
    return match[0] if match else name.rpartition(".")[0] or name


def watch_memory(device: torch.device) -> None:
    """From now on, count the peak anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's peak of this process starts over
    except OSError:
        return


def peak_bytes(device: torch.device) -> int | None:
    """The most memory in use since `watch_memory`: the allocator's on CUDA, the process's resident memory on a CPU,
    data, libraries and all. None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else None
