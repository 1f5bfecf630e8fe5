"""ViT-small against the models that drop or merge its tokens: images per second at batch 8, 224 px.

    python benchmarks/bm_removal.py > results/bm_removal.jsonl

`ratio` is the plain ViT's time over the other's (`ours_s`): above 1, fewer tokens are faster. `macs_ratio` is what the
counts would promise. Every image of the batch is another, so that methods that choose tokens choose differently.
"""

from __future__ import annotations

import torch
from paired import compare, environment
from script import script

from paretovit import build, count, resolve
from paretovit.devices import num_threads

NAMES = ("evit_delete", "evit_fuse", "tome", "dynamic_vit", "token_learner", "avit")


def macs(name: str) -> float:
    (row,) = [row for row in count([resolve(name)]) if row.indicator == "macs"]
    assert row.value is not None
    return row.value


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(num_threads())
    torch.manual_seed(0)
    environment("python benchmarks/bm_removal.py")
    images = torch.randn(8, 3, 224, 224)
    plain_name = "vit_small_patch16_224"
    plain, plain_macs = build(plain_name).eval(), macs(plain_name)
    for architecture in NAMES:
        name = f"{architecture}_small_patch16_224"
        model = build(name).eval()
        case = {"model": name, "batch_size": len(images), "macs_ratio": round(plain_macs / macs(name), 4)}
        compare(case, lambda model=model: model(images), {plain_name: lambda: plain(images)}, rounds=11)


if __name__ == "__main__":
    script(main)
