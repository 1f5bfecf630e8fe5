"""How a script ends: for bad input with one line and exit code 2, as the commands do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from paretovit.errors import UserError


def script(work: Callable[[], int | None]) -> NoReturn:
    """Does the work, which may return an exit code."""
    try:
        code = work() or 0
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)
