"""The runs behind "Which Transformer to Favor": `runs.csv` and `curves.csv`.

Source   Nauen, Palacio, Dengel 2023, the data of their public dashboard (MIT licence), in SI units.
Models   35 under the authors' names, in 90 runs: other image sizes, other image sizes of pre-training, and seven
         repeats. What is one model in a table of ours is one run here, so its name says all three:
         "ViT-S/16, 224 px, after 192 px", and for a repeat ", run 2". A run has no spec: the authors' code is not
         in our zoo.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretovit.errors import UserError
from paretovit.importers import Importer, Published
from paretovit.importers._csv import Record, records
from paretovit.measurement import Conditions, Measurement, Origin

SOURCE = "Nauen et al. 2023, their runs"
# What all runs share; pre-training was on ImageNet-21k (section "Experimental Design").
_EPOCHS, _PRETRAIN_EPOCHS = 50, 90
RECIPE = f"{_EPOCHS} epochs after {_PRETRAIN_EPOCHS} on ImageNet-21k"
BEST, LAST = f"{RECIPE}; best epoch", f"{RECIPE}; last epoch"
_RUN = ("model", "img_size", "pretrain_img_size")
_COLUMNS = (
    *_RUN,
    *("device", "world_size", "batch_size", "epochs", "lr", "pretrain_lr", "pretrain_epochs", "params"),
    *("macs_logged", "flops_logged", "train_peak_bytes_all_gpus", "train_peak_bytes_one_gpu", "local_batch_size"),
    *("infer_bytes_b1", "infer_bytes_b32", "infer_bytes_b64", "infer_bytes_b128"),
    *("images_per_s", "throughput_batch_size", "finetune_time_s", "top1", "top5", "final_top1", "train_top1"),
)
_CURVES = (*_RUN, "epoch", "val_top1")
_MORE = (("pretrain_time_s",), ("phase", "time_s", "train_loss", "train_top1", "lr"))  # that no row is made of
_NOT_LOGGED = "the authors' log holds no value"
_SAME = 1e-6  # of two accuracies that are one, printed with seven digits or more

Curve = list[list[float]]


class WttfRuns(Importer):
    """90 runs of the survey's models on NVIDIA A100s.

    params                 as logged
    macs_logged            multiply-accumulates as logged; misses multi-operand einsum and fused attention
    flops_logged           multiply-accumulates and element-wise operations as logged: the paper's "FLOPs"
    peak_bytes_train       of all GPUs at the whole batch, and of one GPU at its share of it
    peak_bytes_infer       at batch 1, 32, 64 and 128
    images_per_s           at the best batch size
    train_time_s           of fine-tuning, as logged on `origin.machine["gpus"]` GPUs
    top1, top5             of the best epoch, and `top1` of the last; `top1` on "train" is that of the last epoch

    The first `top1` row of a run keeps its curve, as pairs of epoch and accuracy, in `origin.timing`. Which of the
    two kinds of A100 it was is said in `origin.machine`: it is no condition, since the paper joins them.
    """

    title = "the survey's runs (runs.csv and curves.csv)"

    def read(self, path: Path) -> Published:
        runs = records(path / "runs.csv", _COLUMNS, _MORE[0])
        curves = _curves(records(path / "curves.csv", _CURVES, _MORE[1]))
        rows: list[Measurement] = []
        seen: dict[tuple[str, ...], int] = defaultdict(int)
        for run in runs:
            key = tuple(run.text(column) for column in _RUN)
            seen[key] += 1
            if len(curves[key]) < seen[key]:
                raise UserError(f"{run.path}, line {run.line}: curves.csv holds no curve of it; nothing was imported")
            rows += _rows(run, seen[key], curves[key][seen[key] - 1])
        return rows, []


def name(model: str, image_px: int, pretrain_px: int, run: int = 1) -> str:
    """What a run is called: "ViT-S/16, 224 px, after 192 px"."""
    return f"{model}, {image_px} px, after {pretrain_px} px" + (f", run {run}" if run > 1 else "")


def _rows(run: Record, number: int, curve: Curve) -> list[Measurement]:
    top1 = run.share("top1")
    if abs(max(accuracy for _, accuracy in curve) - top1) > _SAME:
        raise run.refused("top1", f"is {top1:.4f}, but its curve's best is {max(a for _, a in curve):.4f}")
    for column, epochs in (("epochs", _EPOCHS), ("pretrain_epochs", _PRETRAIN_EPOCHS)):
        if run.count(column) != epochs:
            raise run.refused(column, f"is {run.values[column]}; all runs of the survey have {epochs}")
    image_px, pretrain_px, gpus = run.count("img_size"), run.count("pretrain_img_size"), run.count("world_size")
    facts = {"model": run.text("model"), "image_px": image_px, "pretrain_px": pretrain_px, "run": number}
    facts |= {name: run.positive(name) for name in ("lr", "pretrain_lr")}
    made = Origin(how="published", machine={"gpu": run.text("device"), "gpus": gpus}, timing=facts)
    alone = Conditions(source=SOURCE)
    on_gpu = replace(alone, device="NVIDIA A100")
    whole, local = run.count("batch_size"), run.count("local_batch_size")
    scored = replace(alone, data="ImageNet-1k", split="val", recipe=BEST)

    def row(indicator: str, unit: str, value: float | None, conditions: Conditions, **more: Any) -> Measurement:
        return Measurement(
            model=name(run.text("model"), image_px, pretrain_px, number),
            indicator=indicator,
            unit=unit,
            value=value,
            conditions=conditions,
            origin=replace(made, timing=facts | more),
            why="" if value is not None else _NOT_LOGGED,
        )

    rate, rate_batch = run.number("images_per_s"), run.number("throughput_batch_size")
    return [
        row("top1", "1", top1, scored, curve=curve),
        row("top5", "1", run.share("top5"), scored),
        row("top1", "1", run.share("final_top1"), replace(scored, recipe=LAST)),
        row("top1", "1", run.share("train_top1"), replace(scored, split="train", recipe=LAST)),
        row("params", "1", run.positive("params"), alone),
        row("macs_logged", "1", run.positive("macs_logged"), alone),
        row("flops_logged", "1", run.positive("flops_logged"), alone),
        row("peak_bytes_train", "B", run.positive_or_none("train_peak_bytes_all_gpus"), _at(on_gpu, whole)),
        row("peak_bytes_train", "B", run.positive_or_none("train_peak_bytes_one_gpu"), _at(on_gpu, local)),
        *(
            row("peak_bytes_infer", "B", run.positive_or_none(f"infer_bytes_b{batch}"), _at(on_gpu, batch))
            for batch in (1, 32, 64, 128)
        ),
        # the authors write -1 where there is none
        row("images_per_s", "1/s", rate if rate > 0 else None, _at(on_gpu, "best"), best_batch_size=rate_batch),
        row("train_time_s", "s", run.positive("finetune_time_s"), replace(_at(on_gpu, whole), recipe=RECIPE)),
    ]


def _at(conditions: Conditions, batch_size: int | str) -> Conditions:
    return replace(conditions, batch_size=batch_size)


def _curves(lines: list[Record]) -> dict[tuple[str, ...], list[Curve]]:
    """The curves of each model at its sizes, in the order of the file; a curve begins where the epochs do."""
    found: dict[tuple[str, ...], list[Curve]] = defaultdict(list)
    before: tuple[tuple[str, ...], int] | None = None
    for line in lines:
        key, epoch = tuple(line.text(column) for column in _RUN), line.count("epoch")
        if before is None or key != before[0] or epoch <= before[1]:
            found[key].append([])
        found[key][-1].append([epoch, line.share("val_top1")])
        before = (key, epoch)
    return found
