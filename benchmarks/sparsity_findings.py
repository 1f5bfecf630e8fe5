"""The findings of the thesis on 2:4 sparse layers retried small: a parent of 6 layers at patch 4 on CIFAR-10.

    python benchmarks/sparsity_findings.py --data torch/cifar10 --out results/sparsity_cifar10.jsonl

Which layers are sparse, by which pattern, with and without training after it, in one shot or step by step, with other
scores and another order of channels; and together with pooling in place of attention, and with merged tokens. Beside
each stands what stayed dense and was trained on for as long, for a parent that is not at its end gains by that alone.

The parent is that of `small_parent.py`, shared with `replace_findings.py` where both are given the same `--runs`, and
so is the model with pooling. `--quick` is fewer settings, 4,000 images of each half of the classes, 10 and 5 epochs for
the parent and 2 after pruning.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", chapter 4, figure 4.4, and
         section 1.4, that token removal and sparsity add up.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from script import script
from small_parent import Bench, parser
from torch import Tensor

from paretovit.analysis.seeds import mean_interval
from paretovit.cost.count import count
from paretovit.cost.sparse_macs import macs_left
from paretovit.measurement import Measurement
from paretovit.optimize.distil import Distil
from paretovit.optimize.prune import How, Parent, begin_with, prune
from paretovit.optimize.replace import Parent as Whole
from paretovit.optimize.replace import replace_layers
from paretovit.optimize.replacement import Plan
from paretovit.optimize.sparsify import sparsify
from paretovit.spec import ModelSpec, Part
from paretovit.training.evaluate import evaluate
from paretovit.training.loop import train
from paretovit.training.pruning import told
from paretovit.training.recipe import Recipe, with_changes
from paretovit.training.rows import HELD_OUT
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import load_model
from paretovit.zoo.patterns import Pattern

LATE, MERGED = (3, 4), 6  # layers replaced by pooling; pairs of tokens merged in each layer
FIRST, LAST = ((0, 0), (0, 1), (0, 3)), ((5, 5), (4, 5), (2, 5))
ALL = (0, 5)


@dataclass(frozen=True)
class Setting:
    """Layers of a model made sparse, or none for a model that stays dense and is trained on for as long.

    finding   what it is there for
    base      "plain", "pooled" or "merged"
    quick     whether it is among those of `--quick`
    """

    finding: str
    how: How | None = field(default_factory=How)
    base: str = "plain"
    quick: bool = True

    @property
    def name(self) -> str:
        """What it and its folder are called."""
        if self.how is None:
            return f"{self.base}, dense"
        first, last = self.how.blocks or ALL
        where = "all layers" if (first, last) == ALL else f"layers {first}-{last}"
        return f"{self.base}, {where} {self.how.words}"


def settings() -> Iterator[Setting]:
    """All that is tried, for each seed."""
    one_of_four = Pattern(1, 4)
    yield Setting("none", None)
    for blocks in (*LAST, *FIRST):
        yield Setting("which layers", How(blocks=blocks), quick=blocks not in ((0, 0), (5, 5)))
    yield Setting("which layers", How(blocks=ALL))
    for blocks in (LAST[1], ALL):
        yield Setting("1:4", How(blocks=blocks, pattern=one_of_four), quick=blocks == ALL)
    yield Setting("step by step", How(blocks=ALL, gradual=True))
    yield Setting("step by step", How(blocks=ALL, pattern=one_of_four, gradual=True), quick=False)
    for pattern in (Pattern(2, 4), one_of_four):
        quick = pattern != one_of_four
        yield Setting("order of channels", How(blocks=ALL, pattern=pattern, reorder=True), quick=quick)
        yield Setting("score", How(blocks=ALL, pattern=pattern, score="wanda"), quick=quick)
    for base in ("pooled", "merged"):
        yield Setting("together", None, base)
        yield Setting("together", How(blocks=ALL), base)


class Findings:
    """The settings for the parent of one seed."""

    def __init__(self, bench: Bench, whole: Whole, recipe: Recipe) -> None:
        self.bench, self.whole, self.longer = bench, whole, recipe
        self.recipe = after(bench, recipe)
        self.made: dict[str, Parent] = {}

    def all(self) -> None:
        for setting in chosen(self.bench):
            self.one(setting)

    def one(self, setting: Setting) -> None:
        """Do it, if the store does not have it."""
        bench, base, how = self.bench, self.base(setting.base), setting.how
        spec = sparse_spec(base, how)
        begun = base.words if how is None else told(base.words, how.words)
        recipe = self.recipe if how is None else how.each(self.recipe)
        stated = {"spec": spec.key, "recipe": f"{recipe.label}, from {begun}", "seed": recipe.seed}
        if bench.store.rows("train_time_s", **stated):
            return
        out = bench.folder(setting.name, self.recipe.seed)
        kind = {"out": out, "progress": bench.watch}
        if how is None:
            begin, device = begin_with(begun, base.module), bench.options.device
            rows = train(spec, bench.data, self.recipe, begin=begin, device=device, **kind).rows
        else:
            rows = [*prune(base, how, recipe=self.recipe, train_device=bench.options.device, **kind).rows]
        rows = [row for row in rows if row.conditions.spec == spec.key]  # of the parent they are kept, of steps not
        bench.keep([*rows, *_counts(spec)], [spec])
        top1 = next(row for row in reversed(rows) if row.indicator == "top1")
        print(f"seed {self.recipe.seed}: {setting.name}: top-1 {top1.value:.4f}", file=sys.stderr, flush=True)

    def base(self, kind: str) -> Parent:
        """The parent, or what was made of it, and what is known of its accuracy."""
        if kind not in self.made:
            bench, seed = self.bench, self.recipe.seed
            label = f"parent of {bench.options.pretrain_epochs} and {self.longer.epochs} epochs"
            if kind == "pooled":
                spec, state = self.pooled()
                label += f", layers {LATE[0]}-{LATE[1]} by pooling"
            else:
                spec, state = self.whole.spec, self.whole.state
            if kind == "merged":
                spec = merged(spec)
            module = build(spec)
            module.load_state_dict(state)
            rows = bench.store.rows("top1", spec=spec.key, recipe=label, seed=seed)
            if not rows:
                rows = evaluate(spec, module, bench.data.val, recipe=label, seed=seed)
                bench.keep([*rows, *_counts(spec)], [spec])
            self.made[kind] = Parent(
                spec=spec, module=module.eval(), data=bench.data, label=label, seed=seed, rows=tuple(rows)
            )
        return self.made[kind]

    def pooled(self) -> tuple[ModelSpec, dict[str, Tensor]]:
        """The parent with pooling in some layers, trained as `replace_findings.py` does."""
        plan, distil = Plan(layers=(LATE,), mixer=Part("pooling")), Distil()
        folder = self.bench.folder(f"{plan}, {distil}", self.recipe.seed)
        device, watch = self.bench.options.device, self.bench.watch
        replace_layers(
            self.whole, plan, self.bench.data, self.longer, out=folder, distil=distil, device=device, progress=watch
        )
        return load_model(folder)


def chosen(bench: Bench) -> list[Setting]:
    return [setting for setting in settings() if setting.quick or not bench.options.quick]


def merged(spec: ModelSpec) -> ModelSpec:
    """The model with tokens merged in every layer, which takes no weights."""
    stages = tuple(replace(stage, sequence=Part.of("tome", r=MERGED)) for stage in spec.stages)
    return replace(spec, name=spec.name.replace("vit_", "tome_"), stages=stages)


def sparse_spec(base: Parent, how: How | None) -> ModelSpec:
    return base.spec if how is None else sparsify(base.spec, base.module, how.pattern, blocks=how.blocks).spec


def after(bench: Bench, recipe: Recipe) -> Recipe:
    """What follows on pruning: as many epochs as two and three steps divide, or for `--quick` two."""
    epochs = 2 if bench.options.quick else 6
    return with_changes(recipe, [f"epochs={epochs}", "lr=3e-4", "warmup_epochs=0", *bench.options.after])


def _counts(spec: ModelSpec) -> list[Measurement]:
    return [row for row in count([spec]) if row.indicator in ("params", "macs")]


@dataclass(frozen=True)
class Outcome:
    """Test accuracies by seed in percent of one setting, and the multiply-adds that are left, in millions."""

    setting: Setting
    mmacs: float
    pruned: dict[int | None, float]
    trained: dict[int | None, float]


def outcomes(bench: Bench) -> list[Outcome]:
    """What the store has of each setting."""
    rows = [row for row in bench.store.rows("top1") if row.conditions.split != HELD_OUT]
    specs, made = bench.store.specs(), []
    recipe = after(bench, bench.recipe)
    bases = {kind: [row for row in rows if _is_base(row, kind)] for kind in ("plain", "pooled", "merged")}
    for setting in chosen(bench):
        for base in bases[setting.base][:1]:
            stated = base.conditions
            parent = Parent(spec=specs[stated.spec], module=build(specs[stated.spec]), label=stated.recipe or "")
            spec = sparse_spec(parent, setting.how)
            begun = parent.words if setting.how is None else told(parent.words, setting.how.words)
            mine = [row for row in rows if row.conditions.spec == spec.key]
            by = recipe if setting.how is None else setting.how.each(recipe)
            made.append(
                Outcome(
                    setting,
                    macs_left(spec) / 1e6,
                    _by_seed(mine, parent.label if setting.how is None else begun),
                    _by_seed(mine, f"{by.label}, from {begun}"),
                )
            )
    return made


def _is_base(row: Measurement, kind: str) -> bool:
    said = str(row.conditions.recipe)
    if not said.startswith("parent of "):
        return False
    found = "pooled" if "by pooling" in said else "merged" if row.model.startswith("tome_") else "plain"
    return found == kind


def _by_seed(rows: Sequence[Measurement], recipe: str) -> dict[int | None, float]:
    return {r.conditions.seed: 100 * r.value for r in rows if r.conditions.recipe == recipe and r.value is not None}


def summary(found: Sequence[Outcome]) -> Iterator[str]:
    """A line for each setting, and what two ways of making a model cheaper do together."""
    dense = {o.setting.base: o for o in found if o.setting.how is None}
    for o in found:
        beside = dense.get(o.setting.base)
        against = "" if beside in (None, o) else f", less the dense one {_difference(o.trained, beside.trained)}"
        before = f"{_spread(o.pruned)} before training, " if o.pruned else ""
        yield f"{o.setting.finding}: {o.setting.name}: {before}{_spread(o.trained)} after{against}; {o.mmacs:.2f} MMACs"
    sparse = {o.setting.base: o for o in found if o.setting.how == How(blocks=ALL)}
    for kind in ("pooled", "merged"):
        four = [dense.get("plain"), sparse.get("plain"), dense.get(kind), sparse.get(kind)]
        if None in four:
            continue
        none, first, second, both = four
        seeds = set.intersection(*(set(o.trained) for o in four))
        if not seeds:
            continue
        losses = [
            [other.trained[seed] - none.trained[seed] for seed in sorted(seeds, key=str)]
            for other in (first, second, both)
        ]
        apart = [c - a - b for a, b, c in zip(*losses, strict=True)]
        saved = [100 * (1 - other.mmacs / none.mmacs) for other in (first, second, both)]
        yield (
            f"together: 2:4 {statistics.mean(losses[0]):+.2f}, {kind} {statistics.mean(losses[1]):+.2f}, both "
            f"{statistics.mean(losses[2]):+.2f} points: both less the sum {_told(apart)}; multiply-adds saved "
            f"{saved[0]:.0f}%, {saved[1]:.0f}%, both {saved[2]:.0f}%"
        )


def _spread(values: dict[int | None, float]) -> str:
    if not values:
        return "none"
    found = list(values.values())
    return f"{statistics.mean(found):.2f}" + (f" +- {statistics.stdev(found):.2f}" if len(found) > 1 else "")


def _difference(first: dict[int | None, float], second: dict[int | None, float]) -> str:
    """Of the same seeds, for they share a parent."""
    return _told([first[seed] - second[seed] for seed in first if seed in second])


def _told(values: Sequence[float]) -> str:
    """The mean and its 95% Student interval over seeds."""
    if not values:
        return "unknown"
    low, high = mean_interval(values)
    return f"{statistics.mean(values):+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if len(values) > 1 else "")


def main() -> int:
    parse = parser(__doc__ or "")
    parse.add_argument("--after", action="append", default=[], help="field=value of the recipe that follows on pruning")
    bench = Bench(parse.parse_args())
    left = bench.of_parents(lambda parent, recipe: Findings(bench, parent, recipe).all())
    for line in summary(outcomes(bench)):
        print(line)
    return 1 if left else 0


if __name__ == "__main__":
    script(main)
