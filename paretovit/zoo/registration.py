"""Every catalog model as a timm model, so that timm's own scripts work with it.

timm takes seconds to load and the command line must not wait for it, so nothing is registered before timm is
imported by somebody: then at once, by an import hook that removes itself.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType


def when_timm_is_imported() -> None:
    """Registers the catalog now if timm is loaded, else as soon as it is."""
    if "timm" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Hook())


class _Hook(importlib.abc.MetaPathFinder):
    """Lets the import of timm go its way, then registers."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "timm":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                if self in sys.meta_path:  # whoever only asks whether timm is there leaves the hook in its place
                    sys.meta_path.remove(self)
                run(module)
                _register()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _register() -> None:
    from paretovit.zoo import timm_entrypoints

    timm_entrypoints.register()
