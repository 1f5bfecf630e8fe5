"""Training half of a model's layers, replaced, against training the whole parent; and discrepancies of large features.

    python benchmarks/bm_replace.py > results/bm_replace.jsonl

One step on 64 images of 32 px at patch 4, ViT-tiny and 6 of its 12 layers: forward, distillation from the parent
(alpha 0.35), backward, optimizer. `ratio` is the whole parent's step over ours: above 1.67, ours takes less than 0.6 of
it. Each mixer is timed as in training with augmentation, where the teacher sees each batch anew, and with images that
come again, where what is frozen is remembered (`cached`, peer "not cached": the gain of that alone).

Of maximum mean discrepancies, forward and backward, the seconds and the most live bytes: of one image of 577 tokens by
192 channels, and of 8.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import torch
from paired import compare, emit, environment, seconds_in_turn, spread
from script import script

from paretovit.cost.torch_sessions import most_live_bytes
from paretovit.devices import num_threads
from paretovit.optimize.distil import Distil, Objective
from paretovit.optimize.replace import Parent
from paretovit.optimize.replacement import Plan, replaced
from paretovit.spec import Part
from paretovit.training.distillation_losses import Kernel, Samples, mmd
from paretovit.training.loop import make_optimizer
from paretovit.training.objective import Classification, Step
from paretovit.training.recipe import DEMO
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

MIXERS = ("pooling", "focal", "identity", "attention")
HALVES = ((0, 5), (3, 8), (5, 10))  # the last layer stays, to tell the class token
RECIPE = replace(DEMO, name="bm_replace", crop_padding=0, hflip=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="late layers by pooling alone, few rounds, small batches")
    parser.add_argument("--last-half", action="store_true", help="the last half of the layers alone")
    options = parser.parse_args()
    torch.set_num_threads(num_threads())
    environment("python benchmarks/bm_replace.py" + " --quick" * options.quick + " --last-half" * options.last_half)
    rounds, images = (3, 8) if options.quick else (11, 64)
    for layers in HALVES[-1:] if options.quick or options.last_half else HALVES:
        for mixer in MIXERS[:1] if options.quick else MIXERS:
            _steps(layers, mixer, images, rounds)
    for batch_size in (1, 8):
        for kernel in get_args(Kernel):
            for samples in get_args(Samples):
                _discrepancy(kernel, samples, batch_size, rounds)


def _steps(layers: tuple[int, int], mixer: str, images: int, rounds: int) -> None:
    torch.manual_seed(0)
    spec = resolve("vit_tiny_patch4_32", num_classes=10)
    whole = build(spec)
    parent = Parent(spec, whole.state_dict(), "new")
    pixels, targets = torch.randn(images, *spec.input_shape), torch.arange(images) % 10
    replacement = replaced(spec, Plan(layers=(layers,), mixer=Part(mixer)))
    teacher = replacement.teacher(parent.state)

    def step(cache_bytes: int | None) -> Callable[[], None]:
        module = build(replacement.spec)
        replacement.prepare(module, parent.state)
        objective = Objective(replacement, teacher, Distil(cache_bytes=cache_bytes or 0), RECIPE)
        return _step(module, objective, pixels, targets)

    case = {"what": "training step", "layers": list(layers), "mixer": mixer, "batch_size": images}
    plain, cached = step(None), step(2**30)
    peer = _step(whole, Classification(RECIPE), pixels, targets)
    compare(case | {"cached": False}, plain, {"whole parent": peer}, rounds=rounds)
    compare(case | {"cached": True}, cached, {"whole parent": peer, "not cached": plain}, rounds=rounds)


def _step(
    module: torch.nn.Module, objective: Objective | Classification, pixels: torch.Tensor, targets: torch.Tensor
) -> Callable[[], None]:
    module.train()
    optimizer = make_optimizer(module, RECIPE)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        objective(Step(module, module, pixels, targets))[0].backward()
        optimizer.step()

    return call


def _discrepancy(kernel: Kernel, samples: Samples, batch_size: int, rounds: int) -> None:
    torch.manual_seed(0)
    student, teacher = (torch.randn(batch_size, 577, 192) for _ in range(2))
    student.requires_grad_()

    def call() -> None:
        student.grad = None
        mmd(student, teacher, kernel=kernel, samples=samples).backward()

    took = seconds_in_turn({"ours": call}, rounds=rounds)["ours"]
    case = {"what": "mmd", "kernel": kernel, "samples": samples, "tokens": 577, "dim": 192, "batch_size": batch_size}
    emit({**case, "seconds": spread(took), "most_live_bytes": most_live_bytes(call), "rounds": rounds})


if __name__ == "__main__":
    script(main)
