"""The class token speaks for the image (Dosovitskiy et al. 2020, eq. 4)."""

from __future__ import annotations

from torch import Tensor

from paretovit.zoo.readouts import Readout
from paretovit.zoo.tokens import Tokens


class ClassToken(Readout):
    """The first token, after the final norm. It joins the patches before the blocks of stage `joins`, counted from 0.

    It is late in Wu et al. 2021, "CvT", sec. 3, whose last stage alone has one.
    """

    prefix = 1

    def __init__(self, dim: int, *, joins: int = 0) -> None:
        super().__init__(dim)
        self.joins = joins

    def forward(self, tokens: Tokens) -> Tensor:
        return tokens.x[:, 0]
