"""Short names for the recipes of a page.

A row names its recipe in full: every field that differs from the recipe of that name, and behind "from" in the same way
what the weights came from, so that nothing has to be remembered. Beside each other most of that is the same. A short
name is the recipe's name with what differs; the whole stays in tooltips and lists.

The words are those of `Recipe.label`, `begin_from`, `told_of` and `pruning.told`: clauses between commas, of which the
first is a name; a clause may have another recipe in parentheses; ", from " begins what the weights came from, which may
end in " at 32 px (8d1378ce)". Words of another kind are taken for a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_AT = re.compile(r"(.+)( at \S+ px(?: \([0-9a-f]{8}\))?)")


def short_names(labels: Iterable[str]) -> dict[str, str]:
    """A name for each label, no two the same; the labels themselves where that cannot be had."""
    known = list(dict.fromkeys(labels))
    texts = [_read(label) for label in known]
    names = _told(texts, _inner(texts))
    return dict(zip(known, names if len(set(names)) == len(known) else known, strict=True))


def left_out(labels: Iterable[str]) -> list[str]:
    """What short names leave out because all labels of one name have it: "demo: lr=0.001, train_images=4000"."""
    texts = [_read(label) for label in dict.fromkeys(labels)]
    shared = {text.name: [c.words for c in text.clauses[1:] if c in _shared(text, texts)] for text in texts}
    return [f"{name}: {', '.join(clauses)}" for name, clauses in shared.items() if clauses]


@dataclass(frozen=True)
class _Text:
    """The clauses of a recipe, of which the first has its name; what it began from; what stands behind both."""

    clauses: tuple[_Clause, ...]
    source: _Text | None
    at: str

    @property
    def name(self) -> str:
        return self.clauses[0].before

    @property
    def words(self) -> str:
        source = "" if self.source is None else f", from {self.source.words}"
        return ", ".join(clause.words for clause in self.clauses) + source + self.at


@dataclass(frozen=True)
class _Clause:
    """Words with another recipe between parentheses, if there is one."""

    before: str
    inside: _Text | None = None
    after: str = ""

    @property
    def words(self) -> str:
        return self.before if self.inside is None else f"{self.before} ({self.inside.words}){self.after}"


def _read(label: str, *, is_source: bool = False) -> _Text:
    match = _AT.fullmatch(label) if is_source else None
    body, at = (label, "") if match is None else match.groups()
    own, *source = _split(body, ", from ", most=1)
    clauses = tuple(_clause(words) for words in _split(own, ", "))
    return _Text(clauses, _read(source[0], is_source=True) if source else None, at)


def _clause(words: str) -> _Clause:
    start = words.find(" (")
    end = _closed(words, start + 1) if start > 0 else -1
    if end < 0:
        return _Clause(words)
    return _Clause(words[:start], _read(words[start + 2 : end]), words[end + 1 :])


def _closed(words: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes; -1 if nowhere."""
    depth = 0
    for at in range(start, len(words)):
        depth += {"(": 1, ")": -1}.get(words[at], 0)
        if not depth:
            return at
    return -1


def _split(words: str, by: str, most: int = -1) -> list[str]:
    """Cut outside of parentheses, `most` times at most."""
    pieces, start, depth, at = [], 0, 0, 0
    while at < len(words):
        depth += {"(": 1, ")": -1}.get(words[at], 0)
        if depth <= 0 and words.startswith(by, at) and most:
            pieces.append(words[start:at])
            start = at = at + len(by)
            most -= 1
        else:
            at += 1
    return [*pieces, words[start:]]


def _shared(text: _Text, texts: Sequence[_Text]) -> set[_Clause]:
    """The clauses that all of its name have."""
    return set.intersection(*(set(other.clauses[1:]) for other in texts if other.name == text.name))


def _inner(texts: Iterable[_Text]) -> dict[str, list[_Text]]:
    """What stands in parentheses anywhere, by the words before them."""
    found: dict[str, list[_Text]] = {}
    for clause in _clauses(texts):
        if clause.inside is not None and clause.inside not in found.setdefault(clause.before, []):
            found[clause.before].append(clause.inside)
    return found


def _clauses(texts: Iterable[_Text]) -> Iterator[_Clause]:
    for text in texts:
        for clause in text.clauses:
            yield clause
            yield from _clauses([clause.inside] if clause.inside is not None else [])
        yield from _clauses([text.source] if text.source is not None else [])


def _told(texts: Sequence[_Text], inner: dict[str, list[_Text]]) -> list[str]:
    """Each text by its name and by what not all of them have: of the clauses, all of its name."""
    sources = list(dict.fromkeys(text.source for text in texts))
    begun = [source for source in sources if source is not None]
    of_source = dict(zip(begun, _told(begun, inner), strict=True)) if len(sources) > 1 else {}
    names = []
    for text in texts:
        shared = _shared(text, texts)
        kept = [_spoken(clause, inner) for clause in text.clauses[1:] if clause not in shared]
        words = ", ".join([_spoken(text.clauses[0], inner), *kept])
        if text.source in of_source:
            words += f", from {of_source[text.source]}"
        alike = {other.at for other in texts if other.name == text.name}
        names.append(words + text.at if len(alike) > 1 else words)
    return names


def _spoken(clause: _Clause, inner: dict[str, list[_Text]]) -> str:
    """The clause without its parentheses where whatever has these words before them has the same inside."""
    if clause.inside is None:
        return clause.before
    others = inner[clause.before]
    if len(others) == 1:
        return clause.before + clause.after
    inside = _told(others, inner)[others.index(clause.inside)]
    return f"{clause.before} ({inside}){clause.after}"
