"""How layers were replaced, in the words of rows of their accuracy: the recipe, and the model's name. No torch.

What writes these rows and what reads them share this file, so that a figure or a claim need not guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HASH = re.compile(r" \([0-9a-f]{8}\)|, [0-9a-f]{8}(?=\))")
_WORDS = re.compile(
    r"(?P<recipe>.+?), from (?P<parent>\S+) \((?P<how>.+)\) with layers (?P<stages>.+?)"
    r"(?P<shape>(?: of depth \d+)?(?: of width \d+)?(?: behind a convolution)?(?:, class token (?:mixed in|among))?), "
    r"alpha (?P<alpha>[\d.e+-]+)(?P<falls>, falling to 0)? of (?P<loss>logits at temperature [\d.e+-]+|\w+)(?P<more>.*)"
)
_STAGE = re.compile(r"(?P<layers>\d+(?:-\d+)?(?:, \d+(?:-\d+)?)*) by (?P<mixer>\w+(?:\(.*?\))?)(?:, |$)")
_START = re.compile(r", begun (?P<start>[\d.e+-]+) of the way to the parent")


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What the recipe of a row says of a model with new stages.

    parent, how   the name of its parent, and how that was trained, without the hashes that tell weights apart
    recipe        the one that the new stages were trained by
    stages        the layers whose place each new stage took, "3-4" or "0, 2", and its mixer
    shape         what else is said of the stages: their depth and width, a convolution in front, the class token
    alpha, loss   the weight of the distillation, and what was made smaller
    more          what else is said of the distillation: a weight that falls, noise, other images
    start         how far from new weights to the parent's the stages began
    """

    parent: str
    how: str
    recipe: str
    stages: tuple[tuple[str, str], ...]
    shape: str
    alpha: float
    loss: str
    more: str = ""
    start: float = 0.0

    @property
    def where(self) -> str:
        """The layers, in words."""
        return ", ".join(layers for layers, _ in self.stages)

    @property
    def mixer(self) -> str:
        """The mixer of all stages; "" where they differ."""
        mixers = {mixer for _, mixer in self.stages}
        return mixers.pop() if len(mixers) == 1 else ""

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last layer of the one stretch; None where there are several."""
        first, _, last = self.where.partition("-")
        return (int(first), int(last or first)) if first.isdecimal() and (last or first).isdecimal() else None

    def __str__(self) -> str:
        """The stages in words: "focal 3-4"."""
        return ", ".join(f"{mixer} {layers}" for layers, mixer in self.stages) + self.shape


def told(parent: str, label: str, digest: str, plan: str, distil: str) -> str:
    """How a replaced model came to be, behind "RECIPE, from ": its parent's name, how that was trained and the
    beginning of the hash of its weights, a plan that begins with "layers", and a distillation that begins with
    "alpha"."""
    return f"{parent} ({label}, {digest}) with {plan}, {distil}"


def tried(recipe: str | None) -> Tried | None:
    """What the recipe of a row says of replaced layers; None for one of something else."""
    match = _WORDS.fullmatch(recipe or "")
    if match is None:
        return None
    begun = _START.search(match["more"])
    return Tried(
        parent=match["parent"],
        how=without_hashes(f"({match['how']})")[1:-1],
        recipe=match["recipe"],
        stages=tuple((stage["layers"], stage["mixer"]) for stage in _STAGE.finditer(match["stages"])),
        shape=match["shape"],
        alpha=float(match["alpha"]),
        loss=match["loss"],
        more=(match["falls"] or "") + _START.sub("", match["more"]),
        start=0.0 if begun is None else float(begun["start"]),
    )


def without_hashes(recipe: str) -> str:
    """The words of a recipe without the beginnings of hashes of the weights that it began from: equal for runs from
    several seeds, each with a parent of its own."""
    return _HASH.sub("", recipe)


def cut_name(parent: str, first: int, last: int) -> str:
    """What a parent is called of which the layers from `first` to its last one are left out."""
    return f"{parent}_without_{first}-{last}"
