"""Multiply-accumulates of one image: matrix products, convolutions, attention (fused or not), FFT."""

from __future__ import annotations

from paretovit.cost.indicators import Static


class Macs(Static):
    """Multiply-accumulates of one image: matrix products, convolutions, attention (fused or not), FFT."""

    title = "multiply-accumulates"
    unit = "1"
    field = "macs"
