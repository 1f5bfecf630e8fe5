"""Size of what the runtime loads."""

from __future__ import annotations

from paretovit.cost.indicators import Indicator
from paretovit.cost.subject import Subject


class ArtifactBytes(Indicator):
    """Bytes on disk of what `export` writes for the runtime, for one image: weights and graph."""

    title = "size on disk"
    unit = "B"
    kind = "once"
    batch = "one"

    def __call__(self, subject: Subject) -> list[float]:
        folder = subject.artifact(1).parent
        return [float(sum(file.stat().st_size for file in folder.iterdir()))]
