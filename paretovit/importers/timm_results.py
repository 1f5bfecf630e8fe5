"""timm's result tables: accuracies of pretrained models on eight test sets, speeds on GPUs and CPUs.

Source   Wightman, "PyTorch Image Models", folder `results` of the repository: `results-*.csv`, one line per set of
         weights and one file per test set, and `benchmark-*.csv`, one line per architecture and one file per machine.
Models   Weights are timm models with a tag, such as `resnet50.a1_in1k`; architectures go without. The image size that
         a line states is that of its spec.
Left out Ranks and differences, which follow from the rest, and `model_metadata-in1k.csv`, which holds no numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from paretovit.errors import UserError
from paretovit.importers import Importer, Published
from paretovit.importers._csv import Record, records
from paretovit.measurement import Conditions, Measurement, Origin, wilson
from paretovit.spec import ModelSpec
from paretovit.zoo.catalog import timm_spec

# What each file of accuracies was taken on, and on how many images.
TEST_SETS = {
    "imagenet": ("ImageNet-1k", 50_000),
    "imagenet-real": ("ImageNet-ReaL", 46_837),  # those of the 50,000 that have a label; Beyer et al. 2020
    "imagenetv2-matched-frequency": ("ImageNetV2, matched frequency", 10_000),
    "sketch": ("ImageNet-Sketch", 50_889),
    "imagenet-a": ("ImageNet-A", 7_500),
    "imagenet-r": ("ImageNet-R", 30_000),
    "imagenet-a-clean": ("ImageNet-1k, classes of ImageNet-A", 10_000),
    "imagenet-r-clean": ("ImageNet-1k, classes of ImageNet-R", 10_000),
}

# The machines by the word that the files have for them; a word that is not here is taken as it is.
DEVICES = {
    "rtx3090": "NVIDIA GeForce RTX 3090",
    "rtx4090": "NVIDIA GeForce RTX 4090",
    "4090": "NVIDIA GeForce RTX 4090",
    "5090": "NVIDIA GeForce RTX 5090",
    "pro6000maxq": "NVIDIA RTX PRO 6000 Max-Q",
    "i9_10940x": "Intel Core i9-10940X",
    "i7_12700h": "Intel Core i7-12700H",
}
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "amp": "amp float16", "amp_bf16": "amp bfloat16"}
_BENCHMARK = re.compile(
    r"benchmark-(?P<phase>infer|train)-(?P<dtype>fp32|bf16|amp|amp_bf16)-(?P<layout>nchw|nhwc)-pt(?P<torch>\d{3})"
    r"-(?P<backend>cu\d+|cpu)-(?P<device>[a-z0-9_]+)(?P<compiled>-dynamo)?"
)
_ACCURACY = ("model", "img_size", "top1", "top1_err", "top5", "top5_err", "param_count", "crop_pct", "interpolation")
_DIFFERENCES = ("top1_diff", "top5_diff", "rank_diff")
_COUNTS = {"macs": ("infer_gmacs", 1e9), "activations": ("infer_macts", 1e6), "params": ("param_count", 1e6)}
_SPEEDS = ("samples_per_sec", "step_time", "batch_size", "img_size")
_SUMS_UP = 0.01  # percent, for accuracy and error are rounded each
_ROUNDED = 0.005  # counts have two decimals; half of the last one
LARGEST = "the largest that fits"


class TimmResults(Importer):
    """Shares with their Wilson interval, times as printed, counts with the interval that rounding leaves.

    top1, top5           of weights, on the test set that is `conditions.data`
    latency_s            of an architecture where every batch of the file is one image
    images_per_s, train_images_per_s   elsewhere, at the largest batch that fits, which the row's origin names
    macs, activations, params          of an architecture; every file prints them, and where one prints another number
                         the newest torch speaks and the others stay as older rows. macs of a torch release may lack
                         fused attention, as those of 2.1 do: they are what was printed, not what we count

    A line without a speed is a row that says so. The path is the folder, or one file of it.
    """

    title = "timm's results (results-*.csv and benchmark-*.csv)"

    def read(self, path: Path) -> Published:
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        accuracies = [file for file in files if file.name.startswith("results-")]
        machines = [_Machine.of(file) for file in files if file.name.startswith("benchmark-")]
        if not accuracies and not machines:
            raise UserError(f"{path} holds no results-*.csv or benchmark-*.csv; give the folder of {self.title}")
        specs: dict[str, ModelSpec] = {}
        rows: list[Measurement] = []
        for file in sorted(accuracies, key=_place):  # the foremost test set first
            rows += _accuracies(file, specs)
        counts: dict[tuple[str, str], Measurement] = {}
        for machine in sorted(machines, key=lambda found: (found.torch, found.path.name)):
            for line in machine.lines:
                spec = _known(timm_spec(line.text("model"), image_px=line.count(machine.column("img_size"))), specs)
                rows.append(machine.speed(line, spec))
                for row in machine.counts(line, spec):
                    before = counts.get((row.indicator, spec.key))
                    if before is None or before.value != row.value:
                        counts[row.indicator, spec.key] = row
                        rows.append(row)
        return rows, list(specs.values())


@dataclass(frozen=True)
class _Machine:
    """A file of speeds: what its name says, and its lines."""

    path: Path
    phase: str
    torch: tuple[int, ...]
    conditions: Conditions
    lines: list[Record]

    @classmethod
    def of(cls, path: Path) -> _Machine:
        match = _BENCHMARK.fullmatch(path.stem)
        if match is None:
            raise UserError(
                f"{path}: its name should be like benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv, for that tells "
                "the machine; nothing was imported"
            )
        phase, release = match["phase"], match["torch"]
        conditions = Conditions(
            device=DEVICES.get(match["device"], match["device"]),
            runtime="torch_compile" if match["compiled"] else "torch_eager",
            dtype=_DTYPES[match["dtype"]],
            source=f"timm {path.stem}",
            assumptions=(("memory format", "channels last"),) if match["layout"] == "nhwc" else (),
        )
        needed = ["model", *(f"{phase}_{name}" for name in _SPEEDS), "param_count"]
        lines = records(path, needed, [column for column, _ in _COUNTS.values()])
        # 1.13 is written 113, and 2.4.0 is written 240
        torch = (1, int(release[1:])) if release[0] == "1" else tuple(map(int, release))
        return cls(path, phase, torch, conditions, lines)

    def column(self, name: str) -> str:
        return f"{self.phase}_{name}"

    @cached_property
    def one_image(self) -> bool:
        """Whether every batch is of one image, so that the time of a step is a latency."""
        return self.phase == "infer" and {line.values[self.column("batch_size")] for line in self.lines} == {"1"}

    @cached_property
    def made(self) -> Origin:
        return Origin(how="published", versions={"torch": ".".join(map(str, self.torch))})

    def speed(self, line: Record, spec: ModelSpec) -> Measurement:
        """The line's one speed; what it holds beside it follows from it."""
        step = line.positive_or_none(self.column("step_time"))
        rate = line.positive_or_none(self.column("samples_per_sec"))
        batch = line.count(self.column("batch_size")) if step is not None else None
        if self.one_image:
            value = None if step is None else step / 1e3
            return _row(spec, "latency_s", "s", value, replace(self.conditions, batch_size=1), self.made)
        indicator = "images_per_s" if self.phase == "infer" else "train_images_per_s"
        made = self.made if batch is None else replace(self.made, timing={"batch_size": batch})
        return _row(spec, indicator, "1/s", rate, replace(self.conditions, batch_size=LARGEST), made)

    def counts(self, line: Record, spec: ModelSpec) -> Iterator[Measurement]:
        """The line's counts, as far as it has them."""
        for indicator, (column, factor) in _COUNTS.items():
            if line.values.get(column):
                printed = line.number(column)
                if printed < 0:
                    raise line.refused(column, f"is {printed}, which is below 0")
                low, high = (factor * max(0.0, printed + side) for side in (-_ROUNDED, _ROUNDED))
                made = replace(self.made, timing={"interval_95": [low, high]})
                yield _row(spec, indicator, "1", printed * factor, Conditions(source="timm benchmark"), made)


def _place(path: Path) -> int:
    """Where the file's test set stands among all. Raises `UserError` for one that is not among them."""
    name = path.stem.removeprefix("results-")
    if name not in TEST_SETS:
        raise UserError(f"{path}: unknown test set {name!r}; known are {', '.join(TEST_SETS)}; nothing was imported")
    return list(TEST_SETS).index(name)


def _accuracies(path: Path, specs: dict[str, ModelSpec]) -> Iterator[Measurement]:
    """Two rows for each set of weights."""
    data, images = list(TEST_SETS.values())[_place(path)]
    for line in records(path, _ACCURACY, _DIFFERENCES):
        spec = _known(timm_spec(line.text("model"), image_px=line.count("img_size")), specs)
        facts = {"images": images, "crop_pct": line.positive("crop_pct"), "interpolation": line.text("interpolation")}
        for indicator in ("top1", "top5"):
            percent = line.number(indicator)
            if not 0 <= percent <= 100 or abs(percent + line.number(f"{indicator}_err") - 100) > _SUMS_UP:
                raise line.refused(indicator, f"is {line.values[indicator]}, which its error does not make up to 100")
            interval = wilson(round(percent / 100 * images), images)
            made = Origin(how="published", timing=facts | {"interval_95": list(interval)})
            conditions = Conditions(data=data, split="val", source=f"timm {path.stem}")
            yield _row(spec, indicator, "1", percent / 100, conditions, made)


def _known(spec: ModelSpec, specs: dict[str, ModelSpec]) -> ModelSpec:
    return specs.setdefault(spec.key, spec)


def _row(
    spec: ModelSpec, indicator: str, unit: str, value: float | None, conditions: Conditions, made: Origin
) -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=indicator,
        unit=unit,
        value=value,
        conditions=replace(conditions, spec=spec.key),
        origin=made,
        why="" if value is not None else "the table's cell is empty",
    )
