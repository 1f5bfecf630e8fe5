"""One number, with everything it depends on and where it came from. No torch.

A row never substitutes: a cost that could not be had has `value=None` and says `why`.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a value depends on. A table column is one indicator under one set of these, the spec aside.

    spec          key of the `ModelSpec`; holds image size, classes and every option of the architecture
    device        the hardware by name, such as "AMD EPYC, 2 cores" or "NVIDIA H200"
    runtime       name in `cost/runtimes`
    dtype         "float32", "bfloat16", ...
    batch_size    images per call; "best" where the batch size is found, not given
    threads       threads that one operator may use
    data, split   such as "digits" and "val"
    recipe        name of the training recipe, with its changed fields
    seed          of the training run
    source        of a published value: the table it was read from
    assumptions   what the value takes for granted, such as a price: pairs of name and value
    part          of the model that the value is about, such as "group norm" or "layer blocks.0.attn"; None for all
    """

    spec: str = ""
    device: str | None = None
    runtime: str | None = None
    dtype: str | None = None
    batch_size: int | str | None = None
    threads: int | None = None
    data: str | None = None
    split: str | None = None
    recipe: str | None = None
    seed: int | None = None
    source: str | None = None
    assumptions: tuple[tuple[str, Any], ...] = ()
    part: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "assumptions", tuple(sorted(self.assumptions, key=lambda pair: pair[0])))

    def column(self) -> Conditions:
        """These conditions for any model: what all cells of a table column have in common."""
        return Conditions(**{f.name: getattr(self, f.name) for f in fields(self) if f.name != "spec"})

    def of_part(self, part: str) -> Conditions:
        """These conditions for a part of the model."""
        return replace(self, part=part)

    def to_json(self) -> dict[str, Any]:
        """Only what is stated; `from_json` reads it back to equal conditions."""
        # not `asdict`, which copies deeply: stores ask this of every row
        stated = {f.name: v for f in fields(self) if (v := getattr(self, f.name)) not in (None, "", ())}
        if "assumptions" in stated:
            stated["assumptions"] = dict(stated["assumptions"])
        return stated

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Conditions:
        content = dict(content)
        content["assumptions"] = tuple(sorted(content.get("assumptions", {}).items()))
        return cls(**content)

    @property
    def text(self) -> str:
        """Canonical JSON: equal for equal conditions; the store's key."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a value came from: facts that explain it, but that do not make it another quantity.

    how        "measured", "counted", "predicted", "trained", "published" or "derived"
    time       UTC, ISO 8601
    commit     of the paretovit checkout, if it is one; "-dirty" appended where files differ
    versions   python and the libraries that the value rests on
    machine    system, processor, cores, memory
    timing     for timed values: rounds, repeats, the anchor's samples, contention, and what was found on the
               way (best batch size and the curve that led to it)
    """

    how: str
    time: str = ""
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if v}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Origin:
        return cls(**content)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row: an indicator of a model under stated conditions.

    `samples` are the raw repeats and `value` their median, unless the indicator says which other quantile.
    Raises `ValueError` for a value that is not finite, and for a missing value without a reason.
    """

    model: str
    indicator: str
    unit: str
    value: float | None
    samples: tuple[float, ...] = ()
    conditions: Conditions
    origin: Origin
    why: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.why:
            raise ValueError(f"{self.indicator} of {self.model} has neither a value nor a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.indicator} of {self.model} is {self.value}; a value that cannot be had is None")

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "indicator": self.indicator,
            "unit": self.unit,
            "value": self.value,
            "samples": list(self.samples),
            "conditions": self.conditions.to_json(),
            "origin": self.origin.to_json(),
            "why": self.why,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Measurement:
        content = dict(content)
        content["samples"] = tuple(content.get("samples", ()))
        content["conditions"] = Conditions.from_json(content["conditions"])
        content["origin"] = Origin.from_json(content["origin"])
        return cls(**content)


def median(samples: tuple[float, ...] | list[float]) -> float:
    """The middle of the repeats."""
    return statistics.median(samples)


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The 95% interval of a share. Wilson 1927, "Probable Inference", JASA 22; unlike the usual one it holds near
    0 and 1, where these accuracies are."""
    z = 1.959964
    share = hits / images
    centre = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return max(0.0, centre - half), min(1.0, centre + half)
