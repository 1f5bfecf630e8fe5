"""One model of each of five families, trained on CIFAR-10 by the recipe of the demo.

    python benchmarks/five_families.py --data hfds/path/to/cifar10 --out results/five_families.jsonl --untimed

Each is what a command of the README does, such as

    paretovit train performer_pico_patch4_32 --data hfds/path/to/cifar10 --recipe demo --per-class 250 --epochs 4

Four blocks of width 64, 64 patches, the first 250 training images of each class, four epochs, judged by all 10,000 test
images: enough to see that all of them learn, and not to rank them.
"""

from __future__ import annotations

from script import script
from training_queue import Job, arguments, run

MODELS = {
    "baseline": "vit_pico_patch4_32",
    "low-rank attention": "linformer_pico_patch4_32",
    "kernel attention": "performer_pico_patch4_32",
    "non-attention shuffling": "gfnet_vit_pico_patch4_32",
    "token merging": "tome_pico_patch4_32",
}

if __name__ == "__main__":
    parser = arguments(
        __doc__ or "", recipe="demo", changes=["train_images=2500", "epochs=4"], minutes=24 * 60, device="cpu"
    )
    options = parser.parse_args()
    jobs = [Job(model, seed) for seed in options.seeds for model in MODELS.values()]
    script(lambda: 1 if run(jobs, options) else 0)
