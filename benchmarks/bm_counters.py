"""Who counts multiply-accumulates rightly: our counter, torch's, fvcore, ptflops, calflops and torchinfo.

    python benchmarks/bm_counters.py > results/bm_counters.jsonl
    python benchmarks/bm_counters.py --table results/bm_counters.jsonl

Every architecture of the catalog on the ViT skeleton, some hierarchies, and some models of timm's, one image of 224 px.
The truth is the closed formula where a model is built of our parts, and what its paper prints where it is timm's: known
to one or two digits, so there an error below half of the last digit counts as none (`slack`). Peers get the model as
anybody would give it to them, on the CPU, with fused attention where the model uses it; torch's
counter is asked on meta tensors, too. Each count runs in a process of its own, for some peers patch torch. A peer that
fails is a line with the first line of its error (torchinfo refuses modules that hand on anything but tensors, as ours
do); `missing` names operators that multiply and that the peer itself says it left out, as fvcore does. Nothing is
timed. The peers come with `pip install "paretovit[benchmark]"`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import multiprocessing
import statistics
import sys
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from paired import emit, environment
from script import script
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from paretovit.cost.counting import count
from paretovit.spec import ModelSpec
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, resolve
from paretovit.zoo.skeletons import ARCHITECTURES

HIERARCHIES = (
    "cct_14_7x2_224", "cvt_13", "hivit_tiny", "rest_lite", "wave_vit_small", "efficient_mod_xxs", "gfnet_h_tiny",
    "slab_deit_tiny", "stvit_swin_tiny", "pit_scaled_tiny",
)  # fmt: skip
TIMM = (
    "deit_tiny_patch16_224", "xcit_tiny_12_p16_224", "swin_tiny_patch4_window7_224", "maxvit_tiny_tf_224",
    "swiftformer_xs", "efficientvit_b1", "coat_lite_tiny", "levit_128s", "mixer_s16_224", "focalnet_tiny_srf",
    "poolformer_s12", "cait_xxs24_224", "pit_ti_224", "resnet50", "efficientnet_b0",
)  # fmt: skip
NAMES = (*(f"{architecture}_tiny_patch16_224" for architecture in ARCHITECTURES), *HIERARCHIES, *TIMM)
PEERS = ("fvcore", "ptflops", "calflops", "torchinfo")
TIMEOUT_S = 180
RIGHT = 0.01  # a relative error that nobody would call one
WORKING = ("attention", "conv", "einsum", "fft", "linear", "mm", "matmul")  # in the names of operators that multiply

Counted = tuple[float, list[str]]  # macs, and operators that the counter says it left out


def by_us(spec: ModelSpec) -> Counted:
    return count(lambda: build(spec), (1, *spec.input_shape)).macs, []


def by_torch(spec: ModelSpec, device: str = "cpu") -> Counted:
    with torch.device(device):
        model, image = build(spec).eval(), torch.zeros(1, *spec.input_shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return counter.get_total_flops() / 2, []


def by_torch_on_meta(spec: ModelSpec) -> Counted:
    return by_torch(spec, "meta")


def by_fvcore(spec: ModelSpec) -> Counted:
    analysis = import_module("fvcore.nn").FlopCountAnalysis(*_given(spec))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    macs = float(analysis.total())
    return macs, sorted(name for name in analysis.unsupported_ops() if any(word in name for word in WORKING))


def by_ptflops(spec: ModelSpec, backend: str = "pytorch") -> Counted:
    model, _ = _given(spec)
    macs, _ = import_module("ptflops").get_model_complexity_info(
        model, spec.input_shape, as_strings=False, print_per_layer_stat=False, verbose=False, backend=backend
    )
    if macs is None:
        raise RuntimeError("ptflops gave no number")
    return float(macs), []


def by_ptflops_aten(spec: ModelSpec) -> Counted:
    return by_ptflops(spec, "aten")


def by_calflops(spec: ModelSpec) -> Counted:
    model, _ = _given(spec)
    _, macs, _ = import_module("calflops").calculate_flops(
        model, (1, *spec.input_shape), print_results=False, print_detailed=False, output_as_string=False
    )
    return float(macs), []


def by_torchinfo(spec: ModelSpec) -> Counted:
    model, image = _given(spec)
    return float(import_module("torchinfo").summary(model, input_data=image, verbose=0).total_mult_adds), []


COUNTERS: dict[str, Callable[[ModelSpec], Counted]] = {
    "paretovit": by_us,
    "torch FlopCounterMode, meta": by_torch_on_meta,
    "torch FlopCounterMode, CPU": by_torch,
    "fvcore": by_fvcore,
    "ptflops, aten": by_ptflops_aten,
    "ptflops, pytorch": by_ptflops,
    "calflops": by_calflops,
    "torchinfo": by_torchinfo,
}


def truth(spec: ModelSpec) -> dict[str, Any] | None:
    """The macs of one image, by what, and the relative error that the printed digits leave; None where unknown."""
    if spec.whole is None:
        return {"truth": build(spec, device="meta").macs(), "by": "closed formula", "slack": 0.0}
    printed = entries()[spec.name].published.gmacs
    if printed is None:
        return None
    digits = len(f"{printed:g}".partition(".")[2])
    return {"truth": printed * 1e9, "by": "its paper", "slack": 0.5 * 10**-digits / printed}


def alone(task: Callable[..., Any], *words: Any) -> Any:
    """What the task gives back, or the first line of its `error`, by a process that is forgotten afterwards.

    It is forked from this one, which computes nothing itself: it would hand the locks of its threads on, but not them.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(theirs, task, words))
    process.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(TIMEOUT_S) else {"error": f"no answer within {TIMEOUT_S} s"}
    except EOFError:
        process.join()
        found = {"error": f"the process ended with code {process.exitcode}"}
    process.kill()
    process.join()
    return found


def counted(name: str, spec: ModelSpec) -> dict[str, Any]:
    """`macs`, and what is `missing` of them by the counter's own word."""
    macs, missing = COUNTERS[name](spec)
    return {"macs": round(macs), "missing": missing}


def relative_error(line: dict[str, Any]) -> float | None:
    """Of the macs, against the truth: 0 where the truth's printed digits hide it, None where there is no count."""
    if line.get("macs") is None:
        return None
    error = line["macs"] / line["truth"] - 1
    return 0.0 if abs(error) <= line["slack"] else error


def summary(lines: Iterable[dict[str, Any]]) -> str:
    """A Markdown table with a line per counter."""
    by_counter: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_counter.setdefault(line["counter"], []).append(line)
    made = [
        f"| counter | right within {RIGHT:.0%} | low | high | fails | median error | worst |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, own in by_counter.items():
        errors = {line["model"]: error for line in own if (error := relative_error(line)) is not None}
        low, high = (sum(side * error > RIGHT for error in errors.values()) for side in (-1, 1))
        ends = ["", ""]
        if errors:
            worst = max(errors, key=lambda model: abs(errors[model]))
            ends = [f"{statistics.median(map(abs, errors.values())):.1%}", f"{errors[worst]:+.0%} ({worst})"]
        cells = [f"{len(errors) - low - high} of {len(own)}", str(low), str(high), str(len(own) - len(errors)), *ends]
        made.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(made)


def by_model(lines: Iterable[dict[str, Any]]) -> str:
    """A Markdown table with a line per model: the truth, and every counter's relative error."""
    models: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        models.setdefault(line["model"], []).append(line)
    counters = [line["counter"] for line in next(iter(models.values()))]
    made = [f"| model | GMACs | {' | '.join(counters)} |", f"|---|{'---:|' * (1 + len(counters))}"]
    for model, own in models.items():
        cells = [f"{own[0]['truth'] / 1e9:.3g}{'' if own[0]['by'] == 'closed formula' else ' (printed)'}"]
        for line in own:
            error = relative_error(line)
            cells.append("fails" if error is None else "" if abs(error) <= RIGHT else f"{error:+.1%}")
        made.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=NAMES)
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="print what a file of results says, and count nothing"
    )
    options = parser.parse_args()
    if options.table is not None:
        lines = [json.loads(line) for line in options.table.read_text().splitlines() if '"counter"' in line]
        print(f"{summary(lines)}\n\n{by_model(lines)}")
        return
    environment("python benchmarks/bm_counters.py")
    emit({"peers": {name: version(name) for name in PEERS}})
    lines = []
    for model in options.models:
        spec = resolve(model)
        known = alone(truth, spec)
        if known is None or "error" in known:
            why = "no formula, and nothing printed" if known is None else known["error"]
            print(f"{model} is left out: {why}", file=sys.stderr)
            continue
        for name in COUNTERS:
            lines.append({"model": model, "counter": name, **known, **alone(counted, name, spec)})
            emit(lines[-1])
    print(summary(lines), file=sys.stderr)


def _given(spec: ModelSpec) -> tuple[nn.Module, torch.Tensor]:
    return build(spec).eval(), torch.zeros(1, *spec.input_shape)


def _answer(answer: Connection, task: Callable[..., Any], words: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            answer.send(task(*words))
        except Exception as error:  # a peer may raise anything
            cause = error.__cause__ or error  # some peers only say that they failed
            first = (str(cause).strip() or "no message").splitlines()[0]
            answer.send({"error": f"{type(cause).__name__}: {first}"[:120]})


if __name__ == "__main__":
    script(main)
