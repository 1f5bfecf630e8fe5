"""The folders of the cost core. Listing them imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretovit.folder import Folder

if TYPE_CHECKING:
    from paretovit.cost.indicators import Indicator
    from paretovit.cost.runtimes import Runtime

INDICATORS: Folder[Indicator] = Folder("paretovit.cost.indicators", "indicator")
RUNTIMES: Folder[Runtime] = Folder("paretovit.cost.runtimes", "runtime")
