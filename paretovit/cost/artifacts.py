"""Files that runtimes run, kept from one measuring to the next.

An export takes longer than all timings of a small model. It needs no quiet machine, so it can be done beforehand.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from paretovit.cost.folders import RUNTIMES
from paretovit.devices import device_name, versions
from paretovit.spec import ModelSpec

if TYPE_CHECKING:
    from paretovit.cost.subject import Setting


def kept_in(root: Path, spec: ModelSpec, setting: Setting) -> Path:
    """The folder under `root` for what a runtime runs of a model under this setting, one file per batch size.

    What other versions of the libraries, ours among them, or another device have made lies elsewhere. Whoever changes
    how a model computes without a new version empties the folder.
    """
    rests_on = {
        "versions": versions(RUNTIMES[setting.runtime].packages()),
        "device": device_name(setting.device),
        "calibration": None if setting.calibration is None else setting.calibration.name,
    }
    digest = hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:12]
    return root / spec.key / f"{setting.runtime}-{setting.dtype}-{digest}"
