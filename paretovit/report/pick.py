"""Which column of a sheet somebody means by an indicator and some conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase

from paretovit.errors import UserError, unknown
from paretovit.measurement import Conditions
from paretovit.report.headings import Heading, Sheet, described
from paretovit.store import differing

_SHOWN = 4  # values of a condition that a message names
_USUAL = "ImageNet-1k"  # what a published accuracy is about where nobody says on which images


@dataclass(frozen=True)
class Condition:
    """A condition must be like `pattern`, for the columns of one `indicator`, or of all where that is "".

    It is like it if it is equal, or contains it (capitals do not matter), or matches its wildcards. An empty pattern
    stands for a condition that is not stated.
    """

    field: str
    pattern: str
    indicator: str = ""

    @classmethod
    def of(cls, words: str) -> Condition:
        """From `FIELD=PATTERN` or `INDICATOR.FIELD=PATTERN`.

        Raises `UserError` for other words, and for what is no field of `Conditions`.
        """
        name, equals, pattern = words.partition("=")
        if not equals:
            raise UserError(f"{words!r} is no condition; write it like device='RTX 4090' or top1.data=ImageNet-1k")
        indicator, _, field = name.strip().rpartition(".")
        known = [f.name for f in fields(Conditions) if f.name != "spec"]
        if field not in known:
            raise unknown("condition", field, known)
        return cls(field, pattern, indicator)

    def among(self, headings: Sequence[Heading]) -> list[Heading]:
        """Those that it lets pass: a column that does not state it does not depend on it, but one that does goes
        first, and of these one that is equal."""
        stated = {h.key: _text(h.column.conditions, self.field) for h in headings}
        if not self.pattern:
            return [h for h in headings if not stated[h.key]]
        likes: tuple[Callable[[str], bool], ...] = (
            lambda text: text == self.pattern,
            lambda text: bool(text) and fnmatchcase(text.casefold(), f"*{self.pattern.casefold()}*"),
            lambda text: not text,
        )
        return next((found for like in likes if (found := [h for h in headings if like(stated[h.key])])), [])

    def __str__(self) -> str:
        return f"{f'{self.indicator}.' if self.indicator else ''}{self.field}={self.pattern!r}"


def pick(sheet: Sheet, indicator: str, where: Sequence[Condition] = ()) -> Heading:
    """The one column of the indicator that the conditions leave.

    A condition for this indicator alone replaces one for all. Of published accuracies on several sets of images it is
    that on ImageNet-1k, unless a condition says otherwise. Raises `UserError` where several columns are left, which no
    comparison may mix, and where none is.
    """
    known = [h for h in sheet.headings if h.column.indicator == indicator]
    if not known:
        raise unknown("indicator in this store", indicator, {h.column.indicator for h in sheet.headings})
    left = known = [h for h in known if h.is_quality] or known  # what a recipe held out to look at was set aside
    own = {c.field: c for c in where if c.indicator == indicator}
    applied = [*(c for c in where if not c.indicator and c.field not in own), *own.values()]
    for condition in applied:
        left = condition.among(left)
        if not left:
            raise UserError(f"no {indicator} was taken under {condition}; there is {_listed(known)}")
    if not {c.field for c in applied} & {"data", "source"}:
        left = _usual(left)
    if len(left) > 1:
        raise UserError(
            f"{indicator} was taken under several conditions that one column must not mix: {_listed(left)}; "
            f"choose, such as --where {_choice(indicator, left)}"
        )
    return left[0]


def _usual(headings: list[Heading]) -> list[Heading]:
    """Of published qualities those on ImageNet-1k, where there are any; but what was trained here is never dropped."""
    if not all(h.is_quality and h.column.conditions.source for h in headings):
        return headings
    return [h for h in headings if h.column.conditions.data == _USUAL] or headings


def _text(conditions: Conditions, field: str) -> str:
    """A condition in words; "" where it is not stated."""
    value = getattr(conditions, field)
    if value in (None, "", ()):
        return ""
    return described(conditions, (field,)) if field == "assumptions" else str(value)


def _listed(headings: Sequence[Heading]) -> str:
    """The conditions in which they differ, with some of their values."""
    words = []
    found = [h.column.conditions for h in headings]
    for name in differing(found):
        values = list(dict.fromkeys(_text(c, name) or "none" for c in found))
        more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        words.append(f"{name} ({', '.join(values[:_SHOWN])}{more})")
    return "; ".join(words) or described(found[0])


def _choice(indicator: str, headings: Sequence[Heading]) -> str:
    """A condition that tells the first of them from most others: the field that has the most values."""
    found = [h.column.conditions for h in headings]
    name = max(differing(found), key=lambda n: len({_text(c, n) for c in found}))
    return f"{indicator}.{name}={next(text for c in found if (text := _text(c, name)))!r}"
