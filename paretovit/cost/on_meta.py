"""Running models on meta tensors, which have a shape and no storage: quickly, and saying where values are needed."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from paretovit.errors import Unmeasurable


class MetaResults:
    """Runs an operator on meta tensors once for every kind of argument, and remembers what came out.

    A result on meta is its shape, strides and dtype, and these follow from those of the arguments. Working them
    out takes torch up to milliseconds, most of the time of counting; the blocks of a model ask the same again.
    Views, whose results share more than a shape, and operators with arguments on other devices are run each time.
    What is remembered serves every model of this process: their blocks are often of the same sizes.
    """

    known: ClassVar[dict[Any, Any]] = {}

    def __call__(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func.is_view or torch.Tag.inplace_view in func.tags:
            return func(*args, **kwargs)
        try:
            # a scalar's product with a whole number is of the type that torch makes numbers of by default
            key = (func, torch.get_default_dtype(), _kind(args), _kind(tuple(kwargs.items())))
            known = self.known.get(key)
        except TypeError:
            return func(*args, **kwargs)
        if known is not None:
            return args[0] if known is _FIRST_ARGUMENT else _remade(known)
        result = func(*args, **kwargs)
        if len(self.known) >= _MOST:
            self.known.clear()
        if args and result is args[0]:
            self.known[key] = _FIRST_ARGUMENT
        elif not func._schema.is_mutable:
            with suppress(TypeError):  # results on another device
                self.known[key] = _kind(result)
        return result


_MOST = 50_000  # kinds of calls that are remembered, some tens of megabytes; a model has a hundred or two
_FIRST_ARGUMENT = object()  # what an in-place operator returns


def _kind(value: Any) -> Any:
    """All of a value that a result on meta depends on. Raises TypeError for tensors that are not plain meta ones."""
    if isinstance(value, Tensor):
        if not value.is_meta or type(value) not in (Tensor, nn.Parameter):
            raise TypeError("not a meta tensor")
        return Tensor, value.shape, value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return type(value), *map(_kind, value)
    return type(value), value


def _remade(kind: Any) -> Any:
    """A value of this kind, tensors without storage."""
    if kind[0] is Tensor:
        return torch.empty_strided(kind[1], kind[2], dtype=kind[3], device="meta")
    if kind[0] in (tuple, list):
        return kind[0](map(_remade, kind[1:]))
    return kind[1]


def needs_values(what: str) -> Unmeasurable:
    return Unmeasurable(
        f"{what} needs values, which tensors without storage do not have; count this model on real tensors, "
        f"with count_module"
    )


@contextmanager
def values_are_asked_for() -> Iterator[None]:
    """Says so where values of meta tensors are asked for by no operator, as in `tolist`."""
    try:
        yield
    except (RuntimeError, TypeError) as error:
        reason = str(error).split("\n")[0]
        if isinstance(error, Unmeasurable) or not re.search("meta (tensor|device)", reason, re.IGNORECASE):
            raise
        raise needs_values(f"this model ({reason.rstrip('.;!')})") from error


@contextmanager
def no_collection() -> Iterator[None]:
    """Holds off the garbage collector: building makes many objects and little garbage, and going through all that
    torch and timm hold, as happens midway otherwise, takes longer than the whole count."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
