"""Which vision transformer should run on this device, under this budget? Answered by measurement.

Importing this loads no torch; the names below load what they need when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from paretovit.zoo.registration import when_timm_is_imported

if TYPE_CHECKING:
    from paretovit.cost.count import count
    from paretovit.cost.measure import measure
    from paretovit.cost.prepare import prepare
    from paretovit.measurement import Conditions, Measurement, Origin
    from paretovit.optimize.propose import propose
    from paretovit.report.draw import draw
    from paretovit.report.page import write
    from paretovit.spec import ModelSpec, Part, Stage
    from paretovit.store import Store
    from paretovit.training.data import open_data
    from paretovit.training.loop import train
    from paretovit.training.recipe import Recipe
    from paretovit.zoo.build import build
    from paretovit.zoo.catalog import catalog, resolve

__version__ = "0.1.0"

_HOMES = {
    "Conditions": "paretovit.measurement",
    "Measurement": "paretovit.measurement",
    "ModelSpec": "paretovit.spec",
    "Origin": "paretovit.measurement",
    "Part": "paretovit.spec",
    "Recipe": "paretovit.training.recipe",
    "Stage": "paretovit.spec",
    "Store": "paretovit.store",
    "build": "paretovit.zoo.build",
    "catalog": "paretovit.zoo.catalog",
    "count": "paretovit.cost.count",
    "draw": "paretovit.report.draw",
    "measure": "paretovit.cost.measure",
    "open_data": "paretovit.training.data",
    "prepare": "paretovit.cost.prepare",
    "propose": "paretovit.optimize.propose",
    "resolve": "paretovit.zoo.catalog",
    "train": "paretovit.training.loop",
    "write": "paretovit.report.page",
}
__all__ = [
    "Conditions",
    "Measurement",
    "ModelSpec",
    "Origin",
    "Part",
    "Recipe",
    "Stage",
    "Store",
    "build",
    "catalog",
    "count",
    "draw",
    "measure",
    "open_data",
    "prepare",
    "propose",
    "resolve",
    "train",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'paretovit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


when_timm_is_imported()
