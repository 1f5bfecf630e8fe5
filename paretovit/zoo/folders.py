"""The folders of the zoo. Listing them imports no torch; the base class of each is in its `__init__.py`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from paretovit.errors import UserError
from paretovit.folder import Folder
from paretovit.spec import Part

if TYPE_CHECKING:
    from paretovit.zoo.architectures import Macro
    from paretovit.zoo.between import Between
    from paretovit.zoo.mixers import Mixer
    from paretovit.zoo.mlps import TokenMlp
    from paretovit.zoo.norms import Norm
    from paretovit.zoo.positions import Position
    from paretovit.zoo.readouts import Readout
    from paretovit.zoo.sequences import Sequence
    from paretovit.zoo.stems import Stem
    from paretovit.zoo.transforms import Transform
    from paretovit.zoo.wholes import Whole

T = TypeVar("T")

MIXERS: Folder[Mixer] = Folder("paretovit.zoo.mixers", "token mixer")
SEQUENCES: Folder[Sequence] = Folder("paretovit.zoo.sequences", "token-sequence method")
MLPS: Folder[TokenMlp] = Folder("paretovit.zoo.mlps", "MLP")
STEMS: Folder[Stem] = Folder("paretovit.zoo.stems", "stem")
POSITIONS: Folder[Position] = Folder("paretovit.zoo.positions", "position")
READOUTS: Folder[Readout] = Folder("paretovit.zoo.readouts", "read-out")
BETWEEN: Folder[Between] = Folder("paretovit.zoo.between", "stage transition")
TRANSFORMS: Folder[Transform] = Folder("paretovit.zoo.transforms", "transform")
NORMS: Folder[Norm] = Folder("paretovit.zoo.norms", "norm")
MACROS: Folder[Macro] = Folder("paretovit.zoo.architectures", "architecture")
WHOLES: Folder[Whole] = Folder("paretovit.zoo.wholes", "kind of whole model")


def make(folder: Folder[T], part: Part, *given: Any) -> T:
    """The part, made with its options behind what every class of its folder is given.

    Raises `UserError` for options that the class does not have, or has and was not told.
    """
    kind, options = folder[part.name], dict(part.options)
    try:
        inspect.signature(kind).bind(*given, **options)
    except TypeError as error:
        raise UserError(
            f"{folder.what} {part}: {error}; see the class in {folder.package}.{part.name} for its options"
        ) from error
    return kind(*given, **options)
