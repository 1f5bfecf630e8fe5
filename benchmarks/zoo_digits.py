"""Every architecture on the skeleton, trained on the handwritten digits by the recipe of the demo.

    python benchmarks/zoo_digits.py --data digits --out results/zoo_digits.jsonl --untimed

Four blocks of width 64, 16 patches and, where there is one, a class token. The 360 validation digits tell few of them
apart: it shows that all of them learn.
"""

from __future__ import annotations

from script import script
from training_queue import Job, arguments, run

from paretovit.zoo.skeletons import ARCHITECTURES

MODELS = [f"{name}_pico_patch2_8" for name in ARCHITECTURES]

if __name__ == "__main__":
    parser = arguments(__doc__ or "", recipe="demo", changes=[], minutes=24 * 60, device="cpu")
    options = parser.parse_args()
    # seed by seed, so that a stop leaves every model with as many runs
    script(lambda: 1 if run([Job(model, seed) for seed in options.seeds for model in MODELS], options) else 0)
