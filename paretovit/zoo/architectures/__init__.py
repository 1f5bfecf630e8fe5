"""Architectures with a macro-structure of their own: one file each, whose class states the paper and lists the models.

`cvt.py` holds `Cvt`, and from then on `cvt_13` is in the catalog. No torch: the parts that the specs name are in the
other folders of the zoo.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from paretovit.spec import ModelSpec
from paretovit.zoo.taxonomy import Published


class Macro(ABC):
    """The models of one paper.

    paper, arxiv   author, year and title; arXiv number
    family         class in the taxonomy where the parts of the specs do not tell it; else empty
    """

    paper: ClassVar[str]
    arxiv: ClassVar[str]
    family: ClassVar[str] = ""

    @staticmethod
    @abstractmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        """Every model, under its name, with what is printed of it at its image size."""
