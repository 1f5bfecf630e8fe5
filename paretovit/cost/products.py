"""Every matrix product and convolution of a model, by the module that calls it: its work and what it moves.

They are caught in one forward pass on tensors without storage, as the operator counter does, so a model of which
nothing is known but how it is built is taken apart, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.cost.calls import operator_name
from paretovit.cost.counting import Call, Work, count_module
from paretovit.cost.on_meta import no_collection, values_are_asked_for
from paretovit.spec import ModelSpec
from paretovit.zoo.build import build
from paretovit.zoo.layers import weight_matrix

_SPOKEN = {"scaled_dot_product_attention": "attention"}
_BYTES = 4  # of an element: the pass runs in float32


@dataclass(frozen=True, kw_only=True)
class Product:
    """All calls of one operator by one module, for one image.

    module       its name in the model, "" for the model itself
    operator     such as "aten.addmm"
    calls        how many there were
    *_elements   what they read and write; biases are left out, being a thousandth of it
    in_features  the width of a layer's weights, which is summed over; None where the operator does not multiply by the
                 matrix of a layer, as attention does not
    """

    module: str
    operator: str
    calls: int
    macs: int
    input_elements: int
    output_elements: int
    weight_elements: int
    in_features: int | None

    @property
    def name(self) -> str:
        """The module, and what it does where that is not to multiply by its weights."""
        if self.in_features is not None:
            return self.module
        operator = self.operator.removeprefix("aten.")
        return f"{self.module}: {_SPOKEN.get(operator, operator)}".removeprefix(": ")


def products_of(spec: ModelSpec) -> list[Product]:
    """The products of a model of that spec; nothing is allocated. Raises as `counting.count` does."""
    return products(lambda: build(spec), (1, *spec.input_shape))


def products(make_module: Callable[[], nn.Module], input_shape: Sequence[int]) -> list[Product]:
    """The products of one pass over an input of that shape, in the order in which they are first called."""
    with no_collection():
        with torch.device("meta"), values_are_asked_for():
            module = make_module().to("meta")
            image = torch.empty(tuple(input_shape))
        found: dict[tuple[str, str], Product] = {}
        weights = {p.untyped_storage()._cdata for p in module.parameters()}  # a product may be given a view
        with calling(module) as caller:

            def watch(call: Call, work: Work) -> None:
                if work.activations:  # as of matrix products and convolutions, and of nothing else
                    product = _product(caller[-1], call, work, weights)
                    place = (product.module, product.operator)
                    found[place] = _sum(found[place], product) if place in found else product

            count_module(module, image, watch=watch)
    return list(found.values())


@contextmanager
def calling(module: nn.Module) -> Iterator[list[tuple[str, nn.Module]]]:
    """A list whose last entry is the module whose forward is running, by name, and before it those that called it."""
    stack: list[tuple[str, nn.Module]] = [("", module)]
    handles = []

    def enter(name: str) -> Callable[..., None]:
        return lambda m, _: stack.append((name, m))

    def leave(m: nn.Module, args: Any, result: Any) -> None:
        stack.pop()

    for name, child in module.named_modules():
        if child is not module:
            handles += [child.register_forward_pre_hook(enter(name)), child.register_forward_hook(leave)]
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def _product(caller: tuple[str, nn.Module], call: Call, work: Work, weights: set[int]) -> Product:
    name, module = caller
    given = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor)]
    held = [value for value in given if value.untyped_storage()._cdata in weights]
    matrix = weight_matrix(module)
    return Product(
        module=name,
        operator=operator_name(call.operator),
        calls=1,
        macs=work.macs,
        input_elements=call.read // _BYTES - sum(value.numel() for value in held),
        output_elements=call.written // _BYTES,
        weight_elements=sum(value.numel() for value in held if value.ndim > 1),
        in_features=None if matrix is None else matrix.shape[1],
    )


def _sum(one: Product, other: Product) -> Product:
    fields = ("calls", "macs", "input_elements", "output_elements", "weight_elements")
    return replace(one, **{name: getattr(one, name) + getattr(other, name) for name in fields})
