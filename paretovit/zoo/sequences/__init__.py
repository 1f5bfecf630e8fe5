"""Token-sequence methods: which tokens a block goes on with. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Layout, Tokens


@dataclass(frozen=True)
class Turn:
    """Which of the blocks of a stage that have the method it is in.

    index   counted from 0
    count   how many there are
    start   the layout of the tokens that the first of them sees
    """

    index: int
    count: int
    start: Layout

    @property
    def last(self) -> bool:
        return self.index == self.count - 1


class Sequence(nn.Module, ABC):
    """Removes, merges or summarises tokens in one block.

    A subclass takes `(dim, layout, *, its options)`, `layout` being that of the tokens it will see, and states

    family   its class in the taxonomy
    where    "before" the mixer, "between" mixer and MLP, or "after" the MLP of its block; a method that is not the same
             in all of its blocks may set it when it is made
    ask      what it asks of the block's mixer ("class_row", "keys"), or None; only for `where = "between"`
    counts   True if it matters which of its blocks it is in; it then takes a `Turn` behind the layout
    trials   options, beside those of the catalog, with which the contract tests try it on some 30 tokens

    In training mode it may leave removed tokens where they are and mark them in `tokens.alive`; its `after` is then
    `masked`, and only mixers and MLPs that mind the mark can follow.
    """

    family: ClassVar[str]
    where: Literal["before", "between", "after"]
    ask: ClassVar[str | None] = None
    counts: ClassVar[bool] = False
    trials: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __init__(self, dim: int, layout: Layout) -> None:
        super().__init__()
        self.dim, self.layout = dim, layout

    @classmethod
    def blocks(cls, depth: int) -> tuple[int, ...]:
        """The blocks of a stage that have it, counted from 0, unless the part's option `blocks` says otherwise."""
        return tuple(range(depth))

    @abstractmethod
    def after(self) -> Layout:
        """The layout of the tokens that it returns."""

    @abstractmethod
    def forward(self, tokens: Tokens, answer: Tensor | None) -> Tokens:
        """The tokens to go on with; `answer` is what the mixer told, if asked."""

    def macs(self, mixer: Mixer) -> int:
        """Multiply-accumulates for one image in a block with `mixer`, whose answer is counted there; closed form."""
        return 0
