"""The two things that go wrong in ways a user should read about.

`UserError` is bad input: the command line prints it as one line and exits with 2.
`Unmeasurable` is a cost that could not be had: it becomes a row with a `why`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message is one line that says what to do about it."""


class Unmeasurable(RuntimeError):
    """A cost that cannot be had here. The message becomes the row's `why`; it is never a zero."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that nobody knows, with the nearest right names in it."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or [k for k in known if name and name in k][:3]
    if near:
        return UserError(f"unknown {kind} {name!r}; did you mean {', '.join(near)}?")
    listed = ", ".join(known) if len(known) <= 12 else f"{', '.join(known[:12])}, ... ({len(known)} in all)"
    return UserError(f"unknown {kind} {name!r}; known: {listed}")
