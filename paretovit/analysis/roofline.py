"""The roofline: how fast a product can be on a device at most, and what 2:4 sparse weights would make of that.

Paper    Williams et al. 2009, "Roofline", CACM 52(4); for sparse weights Vadakkeveedu 2023, "Exploration of
         Optimization Strategies for Vision Transformers", sec. 4.2.
Differs  The thesis counts floating-point operations, we multiply-accumulates (half as many); intensity is in MAC/B.
         It puts the indices of the kept weights at an eighth of the weights' bytes. Two bits for each kept weight
         are a sixteenth in 16-bit formats; that is what is taken here.

A sparse product executes half of the multiply-accumulates, each as fast as a dense one at most. So its roof is that of
the dense product (a peak of "2x" is the same, with those that are skipped counted as done), its work is half, and so,
but for the weights, is its intensity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretovit.devices import Device
from paretovit.errors import UserError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

KEPT = 0.5  # of the weights in a 2:4 pattern
INDEX_BITS = 2  # for each weight kept
ELEMENT_BYTES = {"float32": 4, "tfloat32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Roof:
    """What bounds every product: multiply-accumulates per second, and bytes per second of memory."""

    macs_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """The intensity (MAC/B) from which on memory is no longer what one waits for."""
        return self.macs_per_s / self.bytes_per_s

    def attainable(self, intensity: ArrayLike) -> Floats:
        """Multiply-accumulates per second at that many of them per byte."""
        return np.minimum(self.macs_per_s, self.bytes_per_s * np.asarray(intensity, float))

    def seconds(self, macs: ArrayLike, moved_bytes: ArrayLike) -> Floats:
        """The least time of that much work: computing and moving go on at once."""
        return np.maximum(np.asarray(macs, float) / self.macs_per_s, np.asarray(moved_bytes, float) / self.bytes_per_s)


def dense_roof(device: Device, dtype: str) -> Roof:
    """Raises `UserError` for a dtype that the device has no peak for."""
    return Roof(device.peak(dtype), device.bytes_per_s)


def sparse_roof(device: Device, dtype: str) -> Roof | None:
    """Of the multiply-accumulates that are left when weights are 2:4 sparse; None where nothing executes it so."""
    peak = device.sparse_macs_per_s.get(dtype)
    return None if peak is None else Roof(peak * KEPT, device.bytes_per_s)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Products on a roofline, an array each: intensity in MAC/B, whether the peak bounds it, and the least time in s.

    The sparse ones are NaN (and false) where a product cannot be sparse.
    """

    intensity: Floats
    compute_bound: Bools
    seconds: Floats
    sparse_intensity: Floats
    sparse_compute_bound: Bools
    sparse_seconds: Floats

    @property
    def speedup(self) -> Floats:
        """How many times as fast the sparse product can be."""
        return self.seconds / self.sparse_seconds


def place(
    macs: ArrayLike,
    input_elements: ArrayLike,
    output_elements: ArrayLike,
    weight_elements: ArrayLike,
    *,
    device: Device,
    dtype: str = "float16",
    batch_size: float = 1,
    can_be_sparse: ArrayLike = True,
) -> Placement:
    """Products of one image, `batch_size` images at a time: every input, weight and output is moved once.

    With an infinite batch size the weights' bytes count for nothing; times are then those of one image. Raises
    `UserError` for a dtype without a peak or a width.
    """
    if dtype not in ELEMENT_BYTES:
        raise UserError(f"cannot place {dtype} on a roofline; take {', '.join(ELEMENT_BYTES)}")
    work, inputs, outputs, weights, able = np.broadcast_arrays(
        *(np.asarray(a, float) for a in (macs, input_elements, output_elements, weight_elements)),
        np.asarray(can_be_sparse, bool),
    )
    images = 1.0 if np.isinf(batch_size) else float(batch_size)
    width = ELEMENT_BYTES[dtype]
    weight_bytes = width * weights * (0 if np.isinf(batch_size) else 1)
    index_bytes = weight_bytes / width * KEPT * INDEX_BITS / 8
    moved = width * (inputs + outputs) * images

    roof, sparse = dense_roof(device, dtype), sparse_roof(device, dtype)
    dense_macs, dense_bytes = work * images, moved + weight_bytes
    left_macs, left_bytes = KEPT * dense_macs, moved + KEPT * weight_bytes + index_bytes
    able = able & (sparse is not None)
    thin = Roof(np.nan, np.nan) if sparse is None else sparse
    intensity, left = dense_macs / dense_bytes, np.where(able, left_macs / left_bytes, np.nan)
    return Placement(
        intensity=intensity,
        compute_bound=intensity >= roof.ridge,
        seconds=roof.seconds(dense_macs, dense_bytes),
        sparse_intensity=left,
        sparse_compute_bound=left >= thin.ridge,
        sparse_seconds=np.where(able, thin.seconds(left_macs, left_bytes), np.nan),
    )


def overall(seconds: Sequence[float], sparse_seconds: Sequence[float], pruned: Sequence[bool]) -> float:
    """Speed-up of all products one after the other where those marked are sparse (Amdahl 1967)."""
    before = sum(seconds)
    after = sum(s if p else d for d, s, p in zip(seconds, sparse_seconds, pruned, strict=True))
    return before / after
