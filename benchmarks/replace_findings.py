"""The findings of the thesis on replaced layers retried small: a parent of 6 layers at patch 4 on CIFAR-10.

    python benchmarks/replace_findings.py --data torch/cifar10 --quick --out results/replace_cifar10.jsonl

The parent is that of `small_parent.py`. `--quick` is one seed, 4,000 images of 5 epochs, and 10 for the parent's first;
seeds 1 and 2 follow with `--seeds 1` and `--seeds 2`, into the same file.

`paretovit reproduce vit-optimization-strategies --results FILE --markdown` says of the rows what the thesis claims.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", sec. 3.5: figures 3.8 to
         3.21. A class token that hears nothing behind a stage at the very end (figure 3.19) is refused
         by `replace`. No training would change what it says: what the parent says without its last layers, which is
         judged here in its place.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from script import script
from small_parent import SPEC, Bench, parser

from paretovit.cost.count import count
from paretovit.measurement import Measurement
from paretovit.optimize.distil import Distil
from paretovit.optimize.replace import Parent, replace_layers, told_of
from paretovit.optimize.replacement import Plan, replaced
from paretovit.spec import Part
from paretovit.training.evaluate import evaluate
from paretovit.training.recipe import Recipe, with_changes
from paretovit.training.replacing import cut_name
from paretovit.zoo.build import build

EARLY, LATE, END = (0, 1), (3, 4), (4, 5)
MIXERS = ("focal", "shifted_window", "block_grid", "separable_conv", "pooling", "identity", "attention")
AUGMENTED = ("mixup=0.2", "dropout=0.1", "hflip=true", "crop_padding=4")


@dataclass(frozen=True)
class Setting:
    """A way to replace layers, and what it changes in the recipe; `finding` is what it is there for."""

    finding: str
    plan: Plan
    distil: Distil = field(default_factory=Distil)
    changes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its folder is called after."""
        return f"{self.plan}, {self.distil}{', augmented' if self.changes == AUGMENTED else ''}"

    @property
    def is_followed(self) -> bool:
        """Whether losses and accuracy after each epoch are noted, for figures 3.13 to 3.16."""
        if self.finding == "self-distillation":
            return True
        plain = Plan(layers=(LATE,), mixer=Part("focal"))
        return self.plan == plain and replace(self.distil, alpha=Distil().alpha) == Distil() and not self.changes


def settings() -> Iterator[Setting]:
    """One for each bar of the thesis's figures that is retried."""

    def at(layers: tuple[int, int], mixer: str, **options: Any) -> Plan:
        return Plan(layers=(layers,), mixer=Part(mixer), **options)

    for layers in (EARLY, LATE):
        for mixer in MIXERS:
            yield Setting("where, and which mixer", at(layers, mixer))
    for mixer in ("focal", "attention"):
        for loss in ("mse", "ce", "mmd"):
            yield Setting("loss", at(LATE, mixer), Distil(loss=loss))
    for mixer in ("focal", "pooling"):
        for alpha in (0.0, 1.0):
            yield Setting("labels or parent alone", at(LATE, mixer), Distil(alpha=alpha))
    for layers in (LATE, END):
        yield Setting("class mixer", at(layers, "focal", class_tokens="mixed"))
    for layers, mixer in ((EARLY, "focal"), (LATE, "focal"), (EARLY, "identity"), (LATE, "identity")):
        yield Setting("patch-embed", at(layers, mixer, embed=True))
    for layers in (EARLY, LATE):
        yield Setting("augmentation", at(layers, "focal"), changes=AUGMENTED)
    for start in (0.0, 0.25, 0.5, 0.75, 1.0):
        # a layer taught on noise alone to an untrained copy, which is then judged in the parent: figures 3.17 and 3.18
        plan = at((3, 3), "attention", class_tokens="among")
        distil = Distil(alpha=1.0, loss="mse", random=1.0, start=start)
        yield Setting("self-distillation", plan, distil, changes=("weight_decay=0",))


def main() -> int:
    options = parser(__doc__ or "").parse_args()
    if options.quick:
        options.seeds = options.seeds[:1]
    bench = Bench(options)
    left = bench.of_parents(partial(_all, bench))
    _summary(bench)
    return 1 if left else 0


def _all(bench: Bench, parent: Parent, recipe: Recipe) -> None:
    _cut(bench, parent)
    for setting in settings():
        _replace(bench, setting, parent, with_changes(recipe, setting.changes))
    plans = dict.fromkeys(setting.plan for setting in settings())
    specs = [parent.spec, *(replaced(parent.spec, plan).spec for plan in plans)]
    bench.keep([row for row in count(specs) if row.indicator in ("params", "macs")], specs)


def _cut(bench: Bench, parent: Parent) -> None:
    """Judge the parent without its last layers, which are the `END`."""
    (stage,) = parent.spec.stages
    spec = replace(parent.spec, name=cut_name(parent.spec.name, *END), stages=(replace(stage, depth=END[0]),))
    if bench.store.rows("top1", spec=spec.key, recipe=parent.label, seed=parent.seed):
        return
    module = build(spec)
    module.load_state_dict({name: parent.state[name] for name in module.state_dict()})
    device = bench.options.device
    rows = evaluate(spec, module.to(device), bench.data.val, recipe=parent.label, seed=parent.seed, device=device)
    bench.keep(rows, [spec])


def _replace(bench: Bench, setting: Setting, parent: Parent, recipe: Recipe) -> None:
    spec = replaced(parent.spec, setting.plan).spec
    label = f"{recipe.label}, from {told_of(parent, setting.plan, setting.distil)}"
    if bench.store.rows("train_time_s", spec=spec.key, recipe=label, seed=recipe.seed):
        return
    folder = bench.folder(setting.name, parent.seed or 0)
    done = replace_layers(
        parent,
        setting.plan,
        bench.data,
        recipe,
        out=folder,
        distil=setting.distil,
        curves=setting.is_followed and (not folder.exists() or any(folder.glob("epoch-*"))),
        device=bench.options.device,
        progress=bench.watch,
    )
    bench.keep(done.rows, [spec])
    top1 = next(row for row in reversed(done.rows) if row.indicator == "top1")
    print(f"seed {recipe.seed}: {setting.name}: top-1 {top1.value:.4f}", file=sys.stderr, flush=True)


def _summary(bench: Bench) -> None:
    """Test accuracies over seeds, one line for each setting."""
    rows = [row for row in bench.store.rows("top1") if row.conditions.split == "test"]
    _line("parent", [row for row in rows if row.model == SPEC.name and " with layers " not in _label(row)])
    _line("parent without its last layers", [row for row in rows if row.model == cut_name(SPEC.name, *END)])
    for setting in settings():
        begins = f"{with_changes(bench.recipe, setting.changes).label}, from "
        ends = f" with {setting.plan}, {setting.distil}"
        mine = [row for row in rows if _label(row).startswith(begins) and _label(row).endswith(ends)]
        _line(f"{setting.finding}: {setting.name}", mine)


def _label(row: Measurement) -> str:
    return str(row.conditions.recipe)


def _line(name: str, rows: list[Measurement]) -> None:
    values = [100 * row.value for row in rows if row.value is not None]
    if not values:
        return
    spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    apart = [row.origin.timing["distillation_loss"] for row in rows if "distillation_loss" in row.origin.timing]
    told = f", distillation loss {statistics.mean(apart):.4g}" if apart else ""
    print(f"{name}: {statistics.mean(values):.2f}{spread} ({len(values)} seeds){told}")


if __name__ == "__main__":
    script(main)
