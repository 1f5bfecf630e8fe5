"""What a paper's table becomes: cells, each with what is printed, what is ours, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "exact",  # ours is the printed number, to its last digit
    "misprint",  # the paper contradicts its own number, and ours is the one that its other numbers ask for
    "recounted",  # not printed; ours is what a recount from the paper's formulas and code gives
    "explained",  # ours differs from the recount by what the note names, and by nothing else
    "near",  # within a hundredth of the printed number, where its last digit is not met
    "agrees",  # as near as such a number can be expected to come again
    "lower",  # ours is
    "higher",  # ours is
    "open",  # both are there, but nothing says how far apart they may be
    "unprinted",  # there is ours only
    "elsewhere",  # ours is of another device than the printed one
    "missing",  # there is none of ours; the note says how to get it
    "differs",  # ours is another number, and nobody knows why
]


@dataclass(frozen=True)
class Kind:
    """How a sort of cell is spoken of: at the head of a column, in a sentence, and with how many decimals.

    `per` divides a value for people, where there are more digits than a column has room for. `names` are what the
    values 0, 1, ... are called, where they are answers instead of numbers.
    """

    head: str
    words: str
    decimals: int = 0
    per: int = 1
    names: tuple[str, ...] = ()


KINDS = {
    "params": Kind("parameters", "parameter counts"),
    "all_params": Kind("all\ntrained", "counts of all trained tensors"),
    "macs": Kind("macs\nmillions", "multiply-accumulates", decimals=2, per=10**6),
    "size_mb": Kind("Size\nMB", "sizes", decimals=2),
    "gpu_gb": Kind("GPU\nGB", "GPU memories", decimals=1),
    "gflops": Kind("FLOPs\nbillions", "floating-point operations", decimals=2),
    "kparams": Kind("parameters\nthousands", "parameter counts", decimals=3),
    "params_ratio": Kind("relative to\nattention", "ratios of parameters", decimals=2),
    "tflops": Kind("dense\nTFLOP/s", "peaks", decimals=0),
    "sparse_tflops": Kind("2:4 sparse\nTFLOP/s", "peaks", decimals=0),
    "rate_low": Kind("rate, from", "bounds", decimals=1),
    "rate_high": Kind("rate, to", "bounds", decimals=1),
    "speedup_low": Kind("speed-up,\nfrom", "bounds", decimals=0),
    "speedup_high": Kind("speed-up,\nto", "bounds", decimals=0),
    "dense_regime": Kind("dense", "regimes", names=("memory", "compute")),
    "sparse_regime": Kind("2:4 sparse", "regimes", names=("memory", "compute")),
    "tokens": Kind("tokens", "numbers of tokens"),
    "mparams": Kind("parameters\nmillions", "parameter counts", decimals=2),
    "gmacs": Kind("macs\nbillions", "multiply-accumulates", decimals=2),
    "v100_fps": Kind("V100\nimages/s", "throughputs on a V100", decimals=2),
    "tx2_ms": Kind("TX2\nms", "latencies on a TX2", decimals=2),
    "pixel3_ms": Kind("Pixel 3\nms", "latencies on a Pixel 3", decimals=2),
    "tpu_ms": Kind("TPU v3\nms/image", "times per image on TPU v3", decimals=2),
    "v100_share": Kind("V100\n%", "shares of the time on a V100", decimals=2),
    "tx2_share": Kind("TX2\n%", "shares of the time on a TX2", decimals=2),
    "pixel3_share": Kind("Pixel 3\n%", "shares of the time on a Pixel 3", decimals=2),
    "macs_share": Kind("macs\n%", "shares of the multiply-accumulates", decimals=2),
    "distance": Kind("cosine\ndistance", "bounds of cosine distances", decimals=3),
    "kendall": Kind("Kendall's\ntau", "rank correlations", decimals=2),
    "ap": Kind("AP\n%", "average precisions", decimals=1),
    "top1": Kind("top-1\n%", "top-1 accuracies", decimals=2),
    "top5": Kind("top-5\n%", "top-5 accuracies", decimals=2),
    "original_top1": Kind("original\ntop-1 %", "original top-1 accuracies", decimals=2),
    "gain": Kind("gain\npoints", "gains in accuracy", decimals=2),
    "r_params": Kind("params", "correlations", decimals=2),
    "r_finetune": Kind("fine-tuning\ntime", "correlations", decimals=2),
    "r_inference": Kind("inference\ntime", "correlations", decimals=2),
    "r_infer_memory": Kind("inference\nmemory", "correlations", decimals=2),
    "r_train_memory": Kind("training\nmemory", "correlations", decimals=2),
    "slope": Kind("slope\nper GFLOP", "numbers of the fit", decimals=2),
    "intercept": Kind("intercept", "numbers of the fit", decimals=2),
    "holds": Kind("holds", "statements on costs", names=("no", "yes")),
    "on_params": Kind("params", "places on or off a front", names=("off", "on")),
    "on_speed": Kind("images/s", "places on or off a front", names=("off", "on")),
    "on_finetune": Kind("fine-tuning\ntime", "places on or off a front", names=("off", "on")),
    "on_infer_memory": Kind("inference\nmemory", "places on or off a front", names=("off", "on")),
    "on_train_memory": Kind("training\nmemory", "places on or off a front", names=("off", "on")),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a paper beside ours.

    paper, table   such as "hybrid-xformers" and "3"
    row, model     the row's name as printed, and the catalog's name of the model
    cell, unit     what the number is, a key of `KINDS`, and the unit of all four numbers
    printed        None where the paper prints none
    recounted      what the paper should have printed, worked out without our model; None where nobody has
    ours, spread   None where there is none; the spread is the standard deviation over seeds
    whose          where the number beside the printed one is from, if not from us: the authors' own runs, say
    digits         that are printed behind the point; as many as is usual for the kind if None
    note           why not, or under which conditions
    """

    paper: str
    table: str
    row: str
    model: str
    cell: str
    unit: str
    printed: float | None = None
    recounted: float | None = None
    ours: float | None = None
    spread: float | None = None
    verdict: Verdict = "missing"
    note: str = ""
    whose: str = "ours"
    digits: int | None = None
