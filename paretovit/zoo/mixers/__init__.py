"""Token mixers: the part of a block in which tokens hear of each other. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.rotation import Rotation
from paretovit.zoo.tokens import Layout, Tokens


class Mixer(nn.Module, ABC):
    """Mixes tokens: (B, N, D) to (B, N, D), without the residual and the norm around it.

    A subclass takes `(dim, heads, layout, *, its options)` and states

    family          its class in the taxonomy
    answers         what a token-sequence method may ask of it: "class_row", the attention of the class token
                    to every token (B, H, N), and "keys" (B, H, N, K)
    mixes           False if tokens do not hear of each other
    attends         True if it is softmax attention of every token to every token, whose map can be looked at
    takes_prefix    False if class tokens cannot pass through it; `build` then refuses them
    needs_grid      True if patch tokens must lie on their grid
    takes_time      True if that grid may have a time axis in front of rows and columns
    weighs_sizes    True if it minds `tokens.size`, the patches a token stands for
    hears_alive     True if it minds `tokens.alive`, whatever the number of tokens
    rotates         True if it has queries and keys and passes them through `rotated`; else it refuses rotary positions
    enters          the name of the one linear map that alone takes its tokens, so that a norm can be folded into it
    alternates      True if it differs from block to block; it then takes `block`, counted from 0 in its stage
    trials          options, beside the default ones, with which the contract tests try it on some 30 tokens
    """

    family: ClassVar[str]
    answers: ClassVar[tuple[str, ...]] = ()
    head_dim: int  # K, the width of its keys; of those that tell them
    mixes: ClassVar[bool] = True
    attends: ClassVar[bool] = False
    takes_prefix: ClassVar[bool] = True
    needs_grid: ClassVar[bool] = False
    takes_time: ClassVar[bool] = False
    weighs_sizes: ClassVar[bool] = False
    hears_alive: ClassVar[bool] = False
    rotates: bool = False
    enters: ClassVar[str] = ""
    alternates: ClassVar[bool] = False
    trials: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __init__(self, dim: int, heads: int, layout: Layout) -> None:
        super().__init__()
        name = type(self).__name__
        if layout.prefix and not self.takes_prefix:
            raise UserError(f"{name} cannot carry class tokens; give the model the read-out 'mean'")
        if layout.grid is None and self.needs_grid:
            raise UserError(f"{name} needs tokens on a grid; it cannot follow a method that removes or merges tokens")
        self.dim, self.heads, self.layout = dim, heads, layout
        self.front = 0  # empty rows that it puts before the tokens; on one axis they have places too
        self.rotation: Rotation | None = None  # of a model with rotary positions, once it is built

    def rotated(self, tokens: Tokens, *parts: Tensor, index: Tensor | None = None) -> tuple[Tensor, ...]:
        """Queries or keys (B, H, N, K) turned by their places; as they are in a model without rotary positions.

        `index` (N,) names the token in each row, where rows are not the tokens in order.
        """
        return parts if self.rotation is None else self.rotation(tokens, *parts, index=index)

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """The mixed values (B, N, D)."""

    def answer(self, tokens: Tokens, ask: str) -> tuple[Tensor, Tensor]:
        """The mixed values, and what was asked; only for what `answers` names."""
        able = ", ".join(self.answers) or "nothing"
        raise UserError(f"{type(self).__name__} cannot tell {ask!r}; it can tell: {able}")

    def answer_macs(self, ask: str) -> int:
        """Multiply-accumulates for one image that telling it adds to `macs`; closed form."""
        return 0

    @abstractmethod
    def reference(self, tokens: Tokens) -> Tensor:
        """The same result in the plainest code there is; only tests call it, in float64."""

    @abstractmethod
    def macs(self) -> int:
        """Multiply-accumulates for one image at the layout it was built for; closed form."""


def head_dim_of(dim: int, heads: int, head_dim: int | None) -> int:
    """Width of a head: as given, else `dim / heads`. Raises `UserError` where heads do not divide the width."""
    if head_dim is not None:
        return head_dim
    if dim % heads:
        raise UserError(f"{heads} heads do not divide the width {dim}; choose a multiple, or state head_dim")
    return dim // heads


def rows_and_columns(layout: Layout) -> tuple[int, int]:
    """The sides of the grid that an image's tokens lie on. Raises `UserError` for none, and for one with time."""
    if layout.grid is None or len(layout.grid) != 2:
        raise UserError(f"this token mixer needs tokens on a grid of rows and columns, got {layout.grid}")
    rows, columns = layout.grid
    return rows, columns
