"""Nothing happens between two stages of one width."""

from __future__ import annotations

from paretovit.errors import UserError
from paretovit.zoo.between import Between
from paretovit.zoo.tokens import Layout, Tokens


class Straight(Between):
    """The tokens as they are. Raises `UserError` where the width changes."""

    def __init__(self, dim_in: int, dim_out: int, layout: Layout) -> None:
        super().__init__(dim_in, dim_out, layout)
        if dim_in != dim_out:
            raise UserError(f"the width changes from {dim_in} to {dim_out} between stages; name a part for `between`")

    def after(self) -> Layout:
        return self.layout

    def forward(self, tokens: Tokens) -> Tokens:
        return tokens
