"""The classes of `which-transformer-to-favor` and what papers print of a model. No torch."""

from __future__ import annotations

from dataclasses import dataclass

FAMILIES = (
    "baseline",
    "low-rank attention",
    "sparse attention",
    "fixed attention",
    "kernel attention",
    "hybrid attention",
    "non-attention shuffling",
    "token removal",
    "token merging",
    "summary tokens",
    "specialized parameters",
)


@dataclass(frozen=True)
class Published:
    """Printed figures of one size at 224 px: millions of parameters, billions of multiply-accumulates, top-1 on
    ImageNet-1k in percent, and where they were read; to the digits that are printed there (7 is not 7.0)."""

    params_m: float | None = None
    gmacs: float | None = None
    top1: float | None = None
    source: str = ""
