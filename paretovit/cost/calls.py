"""One call of an operator: what it was given, what it returned, and the bytes of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor
from torch._ops import OpOverload

from paretovit.errors import UserError


class Uncountable(UserError):
    """An operator that no rule covers. The message names it and says how to add a rule."""


class Work(NamedTuple):
    """The cost of one call. `bytes_moved=None` stands for every tensor argument read and every result written."""

    macs: int = 0
    elementwise_ops: int = 0
    activations: int = 0
    bytes_moved: int | None = None

    @property
    def is_free(self) -> bool:
        """Nothing is computed and nothing moves: a view, an allocation, a question."""
        return self == (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator. `call["name"]` is the argument of that name in the operator's schema."""

    operator: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    def __getitem__(self, name: str) -> Any:
        if name in self.kwargs:
            return self.kwargs[name]
        position, default = _parameters(self.operator)[name]
        return self.args[position] if position < len(self.args) else default

    def get(self, *names: str) -> Any:
        """The argument of the first of these names that the schema has; None without any."""
        known = _parameters(self.operator)
        return next((self[name] for name in names if name in known), None)

    @property
    def output(self) -> Tensor:
        """The result, or the first of several."""
        return self.result if isinstance(self.result, Tensor) else next(tensors_in(self.result))

    @property
    def tensors(self) -> Iterator[Tensor]:
        """All tensor arguments."""
        return tensors_in([*self.args, *self.kwargs.values()])

    @property
    def results(self) -> Iterator[Tensor]:
        """All tensors that it returns."""
        return tensors_in(self.result)

    @property
    def read(self) -> int:
        """Bytes of all tensor arguments but those that are only written (`out=`)."""
        arguments = [v for k, v in self.kwargs.items() if k not in _out_names(self.operator)]
        return bytes_of(self.args) + bytes_of(arguments)

    @property
    def written(self) -> int:
        """Bytes of all results."""
        return bytes_of(self.result)

    @property
    def bytes_moved(self) -> int:
        return self.read + self.written


def operator_name(operator: OpOverload) -> str:
    """ "aten.mm" for every overload of it."""
    return str(operator.overloadpacket)


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def bytes_of(value: Any) -> int:
    """Bytes of all tensors in a value; elements that an expanded tensor repeats are there once."""
    total = 0
    for tensor in tensors_in(value):
        elements, strides = tensor.numel(), tensor.stride()
        if 0 in strides:
            elements = math.prod(size for size, stride in zip(tensor.shape, strides, strict=True) if stride)
        total += elements * tensor.element_size()
    return total


@cache
def _parameters(operator: OpOverload) -> dict[str, tuple[int, Any]]:
    """Position and default of every argument."""
    arguments = operator._schema.arguments
    return {a.name: (i, a.default_value if a.has_default_value() else None) for i, a in enumerate(arguments)}


@cache
def _out_names(operator: OpOverload) -> frozenset[str]:
    return frozenset(a.name for a in operator._schema.arguments if a.is_out)
