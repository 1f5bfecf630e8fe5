"""Whether fewer multiply-adds become as much less latency, where layers of a model are replaced.

    python benchmarks/replace_costs.py results/replace_costs.jsonl
    paretovit reproduce vit-optimization-strategies --results results/replace_costs.jsonl

The small parent of `replace_findings.py` with every stage that is tried there, and ViT-Tiny at 384 px with the stages
that the thesis timed: what a stage has learnt changes no time, so none is trained. The clock of this is the machine's,
so nothing else should run on it. What the file has already is not measured again.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", figures 3.22b and c, whose
         layers count from 1.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from replace_findings import settings
from rows import carry_out
from script import script
from small_parent import SPEC

from paretovit import resolve
from paretovit.cost.measure import Care
from paretovit.optimize.replacement import Plan, replaced
from paretovit.spec import Part

THESIS = replace(resolve("vit_tiny_patch16_224", img_size=384, num_classes=10), name="vit_12x192_patch16_384")
TIMED = (("focal", (1, 5)), ("pooling", (1, 3)), ("pooling", (5, 10)), ("identity", (5, 10)), ("focal", (5, 10)))


def main(out: Path) -> None:
    plans = dict.fromkeys(setting.plan for setting in settings())
    small = [SPEC, *(replaced(SPEC, plan).spec for plan in plans)]
    large = [THESIS, *(replaced(THESIS, Plan(layers=(at,), mixer=Part(mixer))).spec for mixer, at in TIMED)]
    for specs in (small, large):
        care = Care(rounds=9, sittings=1, group=len(specs))  # all in the same rounds, as their parent
        carry_out(specs, out, indicators=["params", "macs", "latency_s"], batch_size=1, care=care)


if __name__ == "__main__":
    script(lambda: main(Path(sys.argv[1])))
