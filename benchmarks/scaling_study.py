"""What vision transformers of all shapes cost on the devices at hand, and what that lets one foretell.

    python benchmarks/scaling_study.py --runtime onnxruntime --threads 1 --minutes 6 --out results/scaling_study.jsonl
    python benchmarks/scaling_study.py --out results/scaling_study.jsonl --findings results/scaling_findings.jsonl

The first call measures a sample of the 2,700 configurations of "An Investigation on Hardware-Aware Vision Transformer
Scaling" (anonymous, 2021, fig. 8) on one device, that is a runtime with so many threads on this machine; where a file
holds several machines' rows, devices are named by the machine, too. Stopped, killed or out of its minutes, it goes on
from what the file has, eight configurations at a time. Depth, head width and tokens per side are about half of the
paper's, so that each takes milliseconds. The sample has one configuration from each of as many strata of equal numbers,
ordered by multiply-accumulates. The second call reads what was measured on all devices:

    predictor_kendall, predictor_error, predictor_held
                         rank agreement, median relative error and share of intervals that hold (90% are meant) of
                         `optimize/predict.py` on the configurations that it was not fitted on; medians of draws
    kendall              of the costs of all configurations on two devices, macs among them (fig. 8)
    kendall_predicted    the same of all 2,700, as predictors fitted on what was measured have them
    breakdown_distance   cosine distance of the operators' shares of one model on two devices (fig. 7)
    transfer_loss        how much more the model that is chosen by the one device costs on the other than the one chosen
                         there: the cheapest of ten of nearly equal macs, median over all such tens; not on devices that
                         are not done, where ten neighbours are far apart. In the paper the models are scaled for either
                         device and equally accurate (tables 5 and 12); here nothing is trained, and macs stand for what
                         a model can do
    foretells            Kendall's rank correlation of two of these over pairs of devices. The paper's claim: close
                         breakdowns go with equal ranks (below 0), and both with little loss (above 0 for the distance,
                         below 0 for kendall). With two devices and macs there are three pairs, of which this says
                         little
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from script import script

from paretovit.analysis.breakdown import cosine_distance
from paretovit.analysis.correlate import coefficient
from paretovit.cost.count import count
from paretovit.cost.formulas import vit_counts
from paretovit.cost.measure import Care, measure
from paretovit.cost.profile import profile
from paretovit.devices import device_name, num_threads, origin
from paretovit.measurement import Conditions, Measurement
from paretovit.optimize.predict import FEWEST, LatencyPredictor
from paretovit.report.progress import MeasureProgress
from paretovit.spec import ModelSpec, Stage
from paretovit.store import Store
from paretovit.zoo.factors import Factors, with_factors

# the first model, beside which all others are measured, and whose operators are looked at
START = ModelSpec(name="vit", stages=(Stage(depth=6, dim=96, heads=3),), image_px=56, patch_px=4, num_classes=10)
GRID = ((2, 3, 6, 9, 12), (2, 3, 6, 8, 12), (16, 32, 48), (2, 4, 8), (32, 40, 56, 80), (4, 8, 16))
TOGETHER = 8  # configurations that are measured side by side, and kept together
CARE = Care(rounds=5, sittings=1, visit_s=0.06, group=TOGETHER, patience_s=20)
SIZES = (25, 50, 100)  # measured configurations that a predictor is fitted on
DRAWS = 9
MACS = "macs"
ALIKE = 10  # configurations of nearly equal macs that one is chosen from
DONE = 0.9  # share of the most configurations on any device that two devices have in common where both are done
FORETELLS = (
    ("breakdown_distance", "kendall"),
    ("breakdown_distance", "transfer_loss"),
    ("kendall", "transfer_loss"),
)

Costs = dict[str, dict[str, float]]  # by device, then by the spec's key


def grid() -> list[ModelSpec]:
    """All configurations; images are rounded up to what the patch divides."""
    return [
        with_factors(START, Factors(depth, heads, head_dim, ratio, -(-image // patch) * patch, patch))
        for depth, heads, head_dim, ratio, image, patch in itertools.product(*GRID)
    ]


def macs_of(specs: Sequence[ModelSpec]) -> list[float]:
    """By closed formula."""
    names = ("depth", "heads", "head_dim", "mlp_ratio", "image_px", "patch_px")
    columns = zip(*(_shape(spec) for spec in specs), strict=True)
    return [float(m) for m in vit_counts(**dict(zip(names, map(list, columns), strict=True)), num_classes=10)["macs"]]


def _shape(spec: ModelSpec) -> tuple[int, ...]:
    (stage,) = spec.stages
    ratio = int(dict(stage.mlp.options).get("ratio", 4)) if stage.mlp is not None else 0
    return stage.depth, stage.heads, stage.dim // stage.heads, ratio, spec.square_px, spec.patch_px


def sample(number: int, seed: int) -> list[ModelSpec]:
    """One configuration of each stratum, in an order that is drawn, too: what a stop leaves is of all sizes."""
    chance = np.random.default_rng(seed)
    specs = grid()
    order = np.argsort(macs_of(specs), kind="stable")
    chosen = [specs[chance.choice(stratum)] for stratum in np.array_split(order, number)]
    return [chosen[at] for at in chance.permutation(number)]


def measured(options: argparse.Namespace, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
    """The sample on one device, and where its time goes; every `TOGETHER` configurations are in the file at once. Ends
    when the minutes are over, or another such lot would not fit any more by the time that the longest has taken."""
    begun, longest = clock(), 0.0
    device = {"runtime": options.runtime, "threads": options.threads, "device": device_name(options.device)}
    name = _named(options.runtime, options.threads)
    wanted = sample(options.configs, options.seed)

    def left() -> list[ModelSpec]:
        known = {row.conditions.spec for row in store.rows("latency_s", **device)}
        return [spec for spec in wanted if spec.key not in known]

    def take(specs: Sequence[ModelSpec]) -> None:
        with MeasureProgress() as progress:
            measure(
                [START, *specs],
                indicators=["latency_s"],
                runtimes=[options.runtime],
                device=options.device,
                threads=options.threads,
                store=store,
                care=CARE,
                progress=progress,
                artifacts=options.artifacts,
            )
        store.export_lines(options.out)

    if not store.rows("macs", spec=START.key):
        store.append(count([START, *wanted]), [START, *wanted])
    if not store.rows("time_share", spec=START.key, **device):
        profile([START], runtime=options.runtime, device=options.device, threads=options.threads, store=store)
    store.export_lines(options.out)
    while specs := left()[:TOGETHER]:
        spent = clock() - begun
        if spent + longest > 60 * options.minutes:
            break
        take(specs)
        longest = max(longest, clock() - begun - spent)
        told = f"{len(wanted) - len(left())} of {len(wanted)} configurations in {(clock() - begun) / 60:.1f} minutes"
        print(f"{name}: {told}", file=sys.stderr, flush=True)
    if remaining := len(left()):
        print(f"{name}: {remaining} are left; the same command goes on", file=sys.stderr)


def costs_of(store: Store) -> Costs:
    """Latencies that nobody disturbed, by device; and multiply-accumulates of the same models."""
    found: Costs = {}
    keys, named = set(), _names(store)
    for row in store.rows("latency_s"):
        if row.value is not None and not row.origin.timing.get("contended"):
            # what the start took in the same rounds takes the machine's drift out
            timing = row.origin.timing
            anchor = timing.get("anchor_rounds")
            drift = float(np.median(anchor)) / timing["anchor_reference"] if anchor else 1.0
            found.setdefault(named(row.conditions), {})[row.conditions.spec] = row.value / drift
            keys.add(row.conditions.spec)
    specs = [spec for key, spec in store.specs().items() if key in keys]
    return {MACS: {spec.key: m for spec, m in zip(specs, macs_of(specs), strict=True)}, **found} if specs else {}


def _names(store: Store) -> Callable[[Conditions], str]:
    """What devices are called: the runtime and its threads, and the machine where the rows are of more than one."""
    several = len({row.conditions.device for row in store.rows("latency_s")}) > 1
    return lambda stated: _named(stated.runtime, stated.threads) + (f" on {stated.device}" if several else "")


def _named(runtime: str | None, threads: int | None) -> str:
    return f"{runtime} x {threads}" if threads else str(runtime)


def judged(specs: Sequence[ModelSpec], seconds: Sequence[float], size: int, seed: int) -> tuple[float, float, float]:
    """Kendall's tau, median relative error and share of intervals that hold, on those left out of `size`."""
    order = np.random.default_rng(seed).permutation(len(specs))
    fitted, others = order[:size], order[size:]
    predictor = LatencyPredictor.fit([specs[i] for i in fitted], [seconds[i] for i in fitted], seed=seed)
    true = np.array([seconds[i] for i in others])
    value, low, high = predictor.predict_all([specs[i] for i in others]).T
    held = float(np.mean((low <= true) & (true <= high)))
    return coefficient(value, true, "kendall"), float(np.median(np.abs(value / true - 1))), held


def findings(store: Store) -> list[Measurement]:
    """Every row that follows from what was measured."""
    costs, specs = costs_of(store), store.specs()
    rows = []
    for device, own in costs.items():
        keys = [key for key in own if key != START.key]
        for size in SIZES:
            if device == MACS or size < FEWEST or len(keys) < size + FEWEST:
                continue
            drawn = [judged([specs[k] for k in keys], [own[k] for k in keys], size, seed) for seed in range(DRAWS)]
            names = ("predictor_kendall", "predictor_error", "predictor_held")
            for name, values in zip(names, zip(*drawn, strict=True), strict=True):
                rows.append(_row(device, name, values, measured=size, foretold=len(keys) - size))
    foretold = _predicted(costs, specs)
    shares = _breakdowns(store)
    most = max(map(len, costs.values()), default=0)
    pairs: list[dict[str, float]] = []
    for first, second in itertools.combinations(costs, 2):
        name, pair = f"{first} and {second}", {}
        both = [key for key in costs[first] if key in costs[second]]
        a, b = (np.array([costs[device][key] for key in both]) for device in (first, second))
        tau = coefficient(a, b, "kendall")
        if np.isfinite(tau):
            pair["kendall"] = tau
            rows.append(_row(name, "kendall", [tau], configurations=len(both)))
        if first in foretold and second in foretold:
            tau = coefficient(foretold[first], foretold[second], "kendall")
            rows.append(_row(name, "kendall_predicted", [tau], configurations=len(foretold[first])))
        if first in shares and second in shares:
            pair["breakdown_distance"] = cosine_distance(shares[first], shares[second])
            rows.append(_row(name, "breakdown_distance", [pair["breakdown_distance"]]))
        macs = [costs[MACS][key] for key in both]
        losses = [(first, second, transfer_losses(a, b, macs)), (second, first, transfer_losses(b, a, macs))]
        chosen = MACS not in (first, second)  # the least macs of ten nearly equal ones is no choice
        if chosen and len(both) >= DONE * most and losses[0][2]:
            for chosen_by, run_on, samples in losses:
                rows.append(_row(f"chosen by {chosen_by}, on {run_on}", "transfer_loss", samples, of=ALIKE))
            pair["transfer_loss"] = float(np.mean([np.median(samples) for _, _, samples in losses]))
        pairs.append(pair)
    for first, second in FORETELLS:
        known = [(pair[first], pair[second]) for pair in pairs if first in pair and second in pair]
        tau = coefficient(*np.array(known).reshape(-1, 2).T, "kendall")
        if np.isfinite(tau):
            rows.append(_row(f"{first}, {second}", "foretells", [tau], pairs=len(known)))
    return rows


def _predicted(costs: Costs, specs: dict[str, ModelSpec]) -> dict[str, np.ndarray]:
    """Costs of the whole grid, by device; of macs they are counted."""
    whole = grid()
    found = {MACS: np.array(macs_of(whole))}
    for device, own in costs.items():
        if device != MACS and len(own) >= max(FEWEST, min(SIZES)):
            predictor = LatencyPredictor.fit([specs[key] for key in own], list(own.values()))
            found[device] = predictor.predict_all(whole)[:, 0]
    return found


def transfer_losses(chosen_by: Sequence[float], run_on: Sequence[float], macs: Sequence[float]) -> list[float]:
    """Of each `ALIKE` models next to one another by macs, what the one that is cheapest on the first device costs on
    the second, over the cheapest there, less 1."""
    order = np.argsort(macs, kind="stable")
    by, on = np.asarray(chosen_by, float)[order], np.asarray(run_on, float)[order]
    tens = [slice(at, at + ALIKE) for at in range(len(order) - ALIKE + 1)]
    return [float(on[ten][np.argmin(by[ten])] / on[ten].min() - 1) for ten in tens]


def _breakdowns(store: Store) -> dict[str, dict[str, float]]:
    """Shares of START's operator groups, by device; of macs where nothing was timed."""
    found: dict[str, dict[str, float]] = {}
    named = _names(store)
    for name in ("time_share", "macs_share"):
        for row in store.rows(name, spec=START.key):
            part = row.conditions.part or ""
            if row.value is not None and part.startswith("group "):
                device = MACS if name == "macs_share" else named(row.conditions)
                found.setdefault(device, {})[part] = row.value
    return found


def _row(model: str, name: str, values: Sequence[float], **assumed: int) -> Measurement:
    samples = tuple(float(value) for value in values)
    conditions = Conditions(assumptions=tuple(assumed.items()))
    value = float(np.median(samples))
    return Measurement(
        model=model, indicator=name, unit="1", value=value, samples=samples, conditions=conditions,
        origin=origin("derived"),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", help="measure on this one")
    parser.add_argument("--threads", type=int, default=num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--configs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--artifacts", type=Path, help="folder of exported files, which serve every number of threads")
    parser.add_argument("--minutes", type=float, default=math.inf, help="that measuring may take at most")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines of all that was measured")
    parser.add_argument("--findings", type=Path, help="JSON lines of what follows from it")
    options = parser.parse_args()
    with Store("sqlite://") as store:
        if options.out.exists():
            store.import_lines(options.out)
        if options.runtime:
            measured(options, store)
            if not options.findings:
                return  # they take minutes
        rows = findings(store)
    for row in rows:
        assumed = ", ".join(f"{name} {value}" for name, value in row.conditions.assumptions)
        print(f"{row.model:44} {row.indicator:20} {row.value:7.3f}  {assumed}")
    if not rows:
        print("too little was measured in peace for any finding", file=sys.stderr)
    if options.findings:
        with Store("sqlite://") as kept:
            kept.append(rows)
            kept.export_lines(options.findings)


if __name__ == "__main__":
    script(main)
