"""The paper's claims retried small: the models of table 1 and their rotary twins at patch 4 on CIFAR-10.

    python benchmarks/vix_cifar10.py --data torch/cifar10 --out results/vix_cifar10.jsonl

65 tokens in place of 1,025, 10,000 training images (the first 1,000 of each class) of which a tenth is held out, four
epochs, three seeds, bfloat16; otherwise the paper's recipe. The test images are looked at once, after the last epoch.
"""

from __future__ import annotations

from script import script
from training_queue import Job, arguments, run

KINDS = ("vit", "vip", "vil", "vin", "fnet", "mixer")
MODELS = [
    *(f"vix_{kind}_patch4_32" for kind in KINDS),
    *(f"vix_hybrid_{kind}_patch4_32" for kind in KINDS),
    *(f"vix_{kind}_rope_patch4_32" for kind in KINDS[:4]),
]

if __name__ == "__main__":
    parser = arguments(
        __doc__ or "",
        recipe="vix_honest",
        changes=["train_images=10000", "epochs=4", "amp_dtype=bfloat16"],
        minutes=24 * 60,
        device="cpu",
    )
    options = parser.parse_args()
    # seed by seed, so that a stop leaves every model with as many runs
    script(lambda: 1 if run([Job(model, seed) for seed in options.seeds for model in MODELS], options) else 0)
