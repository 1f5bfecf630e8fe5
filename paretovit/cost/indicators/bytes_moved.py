"""Bytes that every operator reads and writes for one image; fused attention counted as fused."""

from __future__ import annotations

from paretovit.cost.indicators import Static


class BytesMoved(Static):
    """Bytes that every operator reads and writes for one image; fused attention counted as fused."""

    title = "bytes moved"
    unit = "B"
    field = "bytes_moved"
