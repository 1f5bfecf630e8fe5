"""A runtime for a data type."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

from paretovit.cost.folders import RUNTIMES
from paretovit.cost.runtimes import FileRuntime, Runtime
from paretovit.errors import Unmeasurable, UserError

DTYPES = ("float32", "bfloat16", "float16", "int8")


def chosen(name: str, dtype: str, images: Callable[[], Tensor] | None = None) -> Runtime:
    """The runtime of that name, with `images` (N, C, H, W) to calibrate on if `dtype` is "int8".

    Raises `Unmeasurable` for a data type that it does not compute in, and where int8 wants a library that is not here.
    """
    runtime = RUNTIMES[name]()
    if dtype not in runtime.dtypes:
        raise Unmeasurable(f"{name} computes in {', '.join(runtime.dtypes)}, not in {dtype}")
    if dtype == "int8":
        assert isinstance(runtime, FileRuntime)  # the others run the module as it is
        assert images is not None, "asked for before"
        if absent := runtime.missing_for_int8():
            raise Unmeasurable(f"int8 with {name}: {absent}")
        for library in runtime.int8_libraries:
            import_module(library)  # takes seconds, which are no cost of the model
        runtime.calibration = images()
    return runtime


def check_dtype(dtype: str, calibration: object) -> None:
    """Raises `UserError` for an unknown data type, for int8 without images to calibrate it on, and for images with
    another data type."""
    if dtype not in DTYPES:
        raise UserError(f"unknown dtype {dtype!r}; use one of {', '.join(DTYPES)}")
    if dtype == "int8" and calibration is None:
        raise UserError(
            "int8 is calibrated on real images; give --calibration DATA, such as digits, hfds/PATH or a folder"
        )
    if dtype != "int8" and calibration is not None:
        raise UserError(f"--calibration is for --dtype int8, not for {dtype}; leave one of them out")


def tensors_of(dtype: str) -> torch.dtype:
    """Of the module and its images. int8 is made of float32, when a file is exported."""
    return torch.float32 if dtype == "int8" else getattr(torch, dtype)
