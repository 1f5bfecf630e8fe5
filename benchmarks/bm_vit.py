"""Our plain ViT against timm's, at equal weights: forward and training step, batch 1 and 8.

    python benchmarks/bm_vit.py > results/bm_vit.jsonl

`ratio` is timm's time over ours: above 1, ours is faster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from paired import compare, environment
from script import script
from torch import Tensor, nn

from paretovit import build
from paretovit.devices import num_threads
from paretovit.zoo.timm_weights import checkpoint_filter_fn


def forward(model: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    model.eval()

    @torch.inference_mode()
    def call() -> Tensor:
        return model(image)

    return call


def training_step(model: nn.Module, image: Tensor) -> Callable[[], None]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    labels = torch.zeros(len(image), dtype=torch.long)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(image), labels).backward()
        optimizer.step()

    return call


def main() -> None:
    torch.set_num_threads(num_threads())
    environment("python benchmarks/bm_vit.py")
    for name in ("vit_tiny_patch16_224", "vit_small_patch16_224"):
        for batch_size in (1, 8):
            image = torch.randn(batch_size, 3, 224, 224, generator=torch.Generator().manual_seed(0))
            for mode, make in (("forward", forward), ("training step", training_step)):
                theirs, ours = timm.create_model(name), build(name)
                ours.load_state_dict(checkpoint_filter_fn(theirs.state_dict()))
                with torch.no_grad():
                    difference = (ours.eval()(image) - theirs.eval()(image)).abs().max().item()
                if difference > 1e-5:
                    sys.exit(f"{name}: outputs differ by {difference:.1e}")
                case = {"model": name, "batch_size": batch_size, "mode": mode}
                compare(case, make(ours, image), {f"timm {timm.__version__}": make(theirs, image)}, rounds=31)


if __name__ == "__main__":
    script(main)
