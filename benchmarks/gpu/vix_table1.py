"""Table 1 of "Resource-efficient Hybrid X-formers for Vision" in full: 1,025 tokens, 50,000 images, the paper's recipe.

    python benchmarks/gpu/vix_table1.py --data torch/cifar10 --out results/vix_table1_cuda.jsonl

One call trains for nine minutes and stops after a whole epoch; the same call goes on, until it ends with exit code 0.
By the paper's own seconds per epoch on a P100 (96 to 332) the twelve rows are some 30 hours there; the best of 40
epochs on the test images is what is reported, as in the paper. `--recipe vix_honest` holds images out instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pieces
from training_queue import Job, arguments, run

KINDS = ("vit", "vip", "vil", "vin", "fnet", "mixer")
MODELS = [f"vix_{hybrid}{kind}_patch1_32" for hybrid in ("", "hybrid_") for kind in KINDS]

if __name__ == "__main__":
    parser = arguments(__doc__ or "", recipe="vix", changes=[], minutes=9, device="cuda")
    parser.set_defaults(seeds=[0])
    pieces.run(
        lambda options: run([Job(model, seed) for seed in options.seeds for model in MODELS], options),
        parser.parse_args(),
    )
