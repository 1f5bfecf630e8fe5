"""What the scripts of this folder share: their arguments, how long one call takes, and how it ends."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))

from script import script

from paretovit.devices import check_device


def arguments(doc: str, *, minutes: float = 9) -> argparse.ArgumentParser:
    """What every script can be told; its documentation is its help."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines of the models' rows")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=minutes, help="begin nothing after so many; the next call "
                        "goes on")  # fmt: skip
    return parser


def end_of(options: argparse.Namespace) -> float:
    """When a call that begins now begins nothing more, a time of `time.monotonic`."""
    return time.monotonic() + 60 * options.minutes


def run(work: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> NoReturn:
    """Does the work, which returns how many steps are left. The exit code is 0 where there are none, 1 where the same
    call goes on, and 2, with one line, where this machine cannot do it."""

    def whole() -> int:
        check_device(options.device)
        left = work(options)
        print(f"{left} steps left", file=sys.stderr)
        return 1 if left else 0

    script(whole)
