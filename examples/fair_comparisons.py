"""The case studies of "The Efficiency Misnomer" (Dehghani et al. 2021, sec. 3.2), on this machine.

    python examples/fair_comparisons.py patch_size            equal parameters, but not equal in anything else
    python examples/fair_comparisons.py mixture_of_experts    equal parameters or equal macs: two different verdicts
    python examples/fair_comparisons.py depth_against_width   equal parameters and macs, but not equally fast

Each counts the models at the paper's size, then times smaller ones of the same kind, and says what every indicator has
to say of them. One to two minutes on two cores. What was timed is kept, so a second run only shows it; --smallest has
models of a few layers, which are timed in seconds. The paper's tables cell by cell: `paretovit reproduce
efficiency-misnomer`. Any two models made equally dear: `paretovit compare A B --match latency_s --by depth`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from paretovit import Measurement, ModelSpec, Part, Store, count, measure, resolve
from paretovit.cost.measure import Care
from paretovit.errors import UserError
from paretovit.optimize.match import match_all
from paretovit.report.compare import Comparison, comparison, contradiction_lines, pair_lines
from paretovit.report.progress import MeasureProgress
from paretovit.report.tables import rows_table
from paretovit.zoo.architectures.depth_width import SHAPES

PRINTED = ("params", "macs", "macs_chain_depth")  # of what is counted: more would not fit beside each other
TIME = "latency_s"


@dataclass(frozen=True)
class Bench:
    """Where times are kept, how carefully they are taken, and whether of the smallest models only."""

    store: Store
    care: Care
    smallest: bool

    def times(self, specs: Sequence[ModelSpec]) -> list[Measurement]:
        with MeasureProgress() as progress:
            measure(specs, indicators=[TIME], store=self.store, care=self.care, progress=progress)
        return [row for row in self.store.rows(TIME) if row.conditions.spec in {spec.key for spec in specs}]


def patch_size(bench: Bench) -> None:
    """ViT-Base by patch (table 1), and smaller ones timed: larger patches have fewer macs and more parameters."""
    patches = ((8, 224), (16, 224), (32, 224), (64, 192))
    small = ((2, 16), (4, 16), (8, 16))
    size, of_size = ("pico", small) if bench.smallest else ("tiny", patches)
    say("ViT-Base by the size of its patches")
    show(counted(resolve(f"vit_base_patch{patch}_{image}") for patch, image in patches))
    say(f"ViT-{size}, timed")
    specs = [resolve(f"vit_{size}_patch{patch}_{image}") for patch, image in of_size]
    tell(comparison(specs, counted(specs), bench.times(specs)))


def mixture_of_experts(bench: Bench) -> None:
    """A Switch Transformer, and a plain ViT made as large as it in parameters, and in macs."""
    base = resolve("vit_base_patch16_224"), switched("switch_base_patch16_224")
    say("a plain ViT, and the same with four experts in place of each MLP")
    show(counted(base))
    sizes = "pico_patch4_16" if bench.smallest else "tiny_patch16_224"
    pair = [resolve(f"vit_{sizes}"), switched(f"switch_{sizes}")]
    for indicator in ("params", "macs"):
        with_time = match_all(
            pair, indicator, ways=["width", "depth"], also=[TIME], store=bench.store, care=bench.care,
            progress=MeasureProgress,
        )  # fmt: skip
        for group in with_time:
            say("\n".join(group.lines()))
            tell(comparison(group.specs, [row for row in group.rows if row.indicator in (*PRINTED, TIME)]))


def depth_against_width(bench: Bench) -> None:
    """D6 to D48 and W768 to W4096 (table 2), and the same at a quarter of the width timed."""
    specs = [resolve(f"vit_{name}_patch32_224") for name in SHAPES]
    say("a small ViT scaled in depth (D) and in width (W)")
    show(counted(specs))
    names = ("d48", "w3072", "d8", "w1024") if bench.smallest else tuple(SHAPES)
    narrow = [narrowed(resolve(f"vit_{name}_patch32_224"), 16 if bench.smallest else 4) for name in names]
    narrow.sort(key=lambda spec: "d48" not in spec.name)  # who comes first is compared with all others
    say("the same, narrower, timed")
    tell(comparison(narrow, counted(narrow), bench.times(narrow)))


def switched(name: str) -> ModelSpec:
    """With four experts, each with as many seats as it gets tokens on average."""
    spec = resolve(name)
    mlp = Part.of("switch", experts=4, capacity_factor=1.0)
    return replace(spec, stages=tuple(replace(stage, mlp=mlp) for stage in spec.stages))


def narrowed(spec: ModelSpec, times: int) -> ModelSpec:
    """So many times narrower, with as many layers and heads, for 1,000 classes."""
    (stage,) = spec.stages
    mlp = Part.of("mlp", hidden=dict(stage.mlp.options)["hidden"] // times)
    return replace(
        spec,
        name=f"{spec.name} (1/{times})",
        stages=(replace(stage, dim=stage.dim // times, mlp=mlp),),
        num_classes=1000,
    )


def counted(specs: Iterable[ModelSpec]) -> list[Measurement]:
    return [row for row in count(list(specs)) if row.indicator in PRINTED]


def tell(made: Comparison) -> None:
    """The rows, every indicator's verdict on the first model against each other one, and contradictions."""
    show(made.rows)
    say("\n".join(["", *pair_lines(made), "", *contradiction_lines(made)]))


def show(rows: Sequence[Measurement]) -> None:
    Console(width=100).print(rows_table(rows))


def say(text: str) -> None:
    print(f"\n{text}\n", flush=True)


CASES = {case.__name__: case for case in (patch_size, mixture_of_experts, depth_against_width)}


def main(options: argparse.Namespace) -> None:
    care = Care(rounds=3, sittings=1, visit_s=0.02, patience_s=0.0) if options.smallest else Care(rounds=9)
    with Store(options.store) as store:
        for name in options.cases or CASES:
            CASES[name](Bench(store, care, options.smallest))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; all of them by default")
    parser.add_argument("--store", type=Path, default=Path("fair_comparisons.sqlite"), help="where times are kept")
    parser.add_argument("--smallest", action="store_true", help="models of a few layers, to see that it runs")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.cases if name not in CASES]:
        parser.error(f"no case {unknown[0]}; choose from {', '.join(CASES)}")
    try:
        main(chosen)
    except UserError as error:
        sys.exit(f"fair_comparisons: {error}")
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
