"""From two contents to the cause of their difference.

| what is seen | cause | evidence |
|---|---|---|
| moments at the same place of the text | clock-in-content | both, and how far apart |
| moments a multiple of 15 minutes, at most 26 hours, apart; or with other zones | timezone | both |
| absolute paths at the same place, or a build's own path | path-in-content | both |
| `user@host`, `pid N`, a host or user name of a build | identity-in-content | both |
| UUIDs, names like `tmpk3v9x2` at the same place | random | both |
| hex numbers of 32 or more digits at the same place | consequence | a digest of something else |
| decimal point and comma; dotless i; names of days and months; two encodings | locale | both |
| the same lines or words, one side sorted as a locale sorts | locale | both orders |
| the same lines or words, one side sorted or backwards, or names of files | order | both orders |
| the same lines or words, in two orders that are none | hash-order | both orders |
| bytes that are a 32- or 64-bit time within 400 days of each other | clock-in-content | both |
| gzip's MTIME, the time in a .pyc | clock-in-content | both |
| equal after decompression | compressor | fields of the two headers |
| none of these | unknown | the first lines or bytes that differ |

Several causes in one content give several findings. What a build's surroundings were, if the
caller knows, makes paths and identities certain (`patterns.Hints`).
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.findings import Found, shown
from reproducibility.moments import explain_moments
from reproducibility.orders import HEADING, explain_order
from reproducibility.patterns import SAME_AS, Hints, Token, Word, mask, tokenise
from reproducibility.translations import explain_language
from reproducibility.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_LINES: Final = 20_000
"""Lines that are compared one by one; of longer texts only what differs at its ends is told."""
_MAX_ALIGNED: Final = 2000
_EXAMPLES: Final = 3
_MAX_LINE: Final = 20_000
_AROUND: Final = 200

_CAUSES: Final = {
    Word.BUILD_PATH: (Cause.PATH, "a path of the build"),
    Word.PATH: (Cause.PATH, "absolute paths at the same place"),
    Word.BUILD_IDENTITY: (Cause.IDENTITY, "a host or user name of the build"),
    Word.IDENTITY: (Cause.IDENTITY, "user@host at the same place"),
    Word.PROCESS: (Cause.IDENTITY, "process ids at the same place"),
    Word.UUID: (Cause.RANDOM, "UUIDs at the same place"),
    Word.TEMPORARY: (Cause.RANDOM, "temporary names at the same place"),
    Word.HEX: (Cause.CONSEQUENCE, "digests at the same place"),
}


@dataclass(slots=True)
class _Tally:
    """Findings of one cause within a content."""

    a: str
    b: str
    evidence: list[str] = field(default_factory=list)
    count: int = 0


class Tallies:
    """Gather causes while a content is compared."""

    def __init__(self) -> None:
        self._by_cause: dict[Cause, _Tally] = {}

    def add(self, cause: Cause, a: str, b: str, evidence: str) -> None:
        """Note one place."""
        tally = self._by_cause.setdefault(cause, _Tally(a, b))
        tally.count += 1
        is_first = tally.count == 1
        line = evidence if is_first else f"{evidence}: {shown(a)} | {shown(b)}"
        if len(tally.evidence) < _EXAMPLES and line not in tally.evidence:
            tally.evidence.append(line)

    def found(self) -> tuple[Found, ...]:
        """Return one finding a cause, the unexplained last."""
        result = []
        for cause in sorted(self._by_cause, key=list(Cause).index):
            tally = self._by_cause[cause]
            more = [plural(tally.count, "place")] if tally.count > len(tally.evidence) else []
            result.append(
                Found(
                    cause=cause,
                    inside="",
                    package="",
                    a=shown(tally.a),
                    b=shown(tally.b),
                    evidence=(*tally.evidence, *more),
                )
            )
        return tuple(result)


def attribute_text(
    a: str, b: str, *, hints: Hints, is_name: Callable[[str], bool]
) -> tuple[Found, ...]:
    """Explain the difference of two texts.

    Args:
        a: one side.
        b: the other.
        hints: what is known of how they were made.
        is_name: says whether a word is the name of a file in the image.
    """
    tallies = Tallies()
    all_a, all_b = a.splitlines(), b.splitlines()
    lines_a, lines_b = _differing(all_a, all_b, around=0)
    if not lines_a and not lines_b:
        tallies.add(Cause.ENCODING, _ending(a), _ending(b), "line ends")
        return tallies.found()
    order = explain_order(*_differing(all_a, all_b, around=HEADING), is_name=is_name)
    if order is not None:
        tallies.add(order.cause, order.a, order.b, order.evidence)
        return tallies.found()
    _Comparer(hints, is_name, tallies).compare(lines_a, lines_b)
    return tallies.found()


def _ending(text: str) -> str:
    for name, mark in (("CR LF", "\r\n"), ("LF", "\n"), ("CR", "\r")):
        if mark in text:
            return f"{name}, {'with' if text.endswith(mark) else 'without'} one at the end"
    return "none"


def _differing(
    a: Sequence[str], b: Sequence[str], *, around: int
) -> tuple[Sequence[str], Sequence[str]]:
    """Strip the lines that both begin and end with, but for a few around the difference."""
    start = 0
    limit = min(len(a), len(b))
    while start < limit and a[start] == b[start]:
        start += 1
    end = 0
    while end < limit - start and a[-1 - end] == b[-1 - end]:
        end += 1
    start, end = max(start - around, 0), max(end - around, 0)
    return a[start : len(a) - end], b[start : len(b) - end]


class _Comparer:
    """Compares lines; everything found goes into the tallies."""

    def __init__(self, hints: Hints, is_name: Callable[[str], bool], tallies: Tallies) -> None:
        self._hints = hints
        self._is_name = is_name
        self._tallies = tallies

    def compare(self, a: Sequence[str], b: Sequence[str]) -> None:
        """Pair lines and explain each pair; what has no partner may have moved."""
        lost: list[str] = []
        added: list[str] = []
        for x, y in self._pairs(a[:MAX_LINES], b[:MAX_LINES]):
            if x is None or y is None:
                lost.extend(() if x is None else (x,))
                added.extend(() if y is None else (y,))
            elif x != y and not self._explain(x, y):
                lost.append(x)
                added.append(y)
        if max(len(a), len(b)) > MAX_LINES:
            self._tallies.add(Cause.UNKNOWN, "", "", f"more than {MAX_LINES} lines differ")
        if lost or added:
            self._unpaired(lost, added)

    def _pairs(self, a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
        if len(a) == len(b) or max(len(a), len(b)) > _MAX_ALIGNED:
            yield from zip(a, b, strict=False)
            yield from ((x, None) for x in a[len(b) :])
            yield from ((None, y) for y in b[len(a) :])
            return
        masked_a = [mask(tokenise(line, self._hints.a)) for line in a]
        masked_b = [mask(tokenise(line, self._hints.b)) for line in b]
        matcher = difflib.SequenceMatcher(None, masked_a, masked_b, autojunk=False)
        for tag, i, j, k, m in matcher.get_opcodes():
            if tag == "equal" or (tag == "replace" and j - i == m - k):
                yield from zip(a[i:j], b[k:m], strict=True)
            else:
                yield from ((x, None) for x in a[i:j])
                yield from ((None, y) for y in b[k:m])

    def _unpaired(self, lost: list[str], added: list[str]) -> None:
        order = explain_order(lost, added, is_name=self._is_name)
        if order is not None:
            self._tallies.add(order.cause, order.a, order.b, order.evidence)
            return
        left, right = Counter(lost), Counter(added)
        only_a, only_b = list((left - right).elements()), list((right - left).elements())
        evidence = f"{plural(len(only_a), 'line')} only in A, {len(only_b)} only in B"
        first_a, first_b = (only_a or [""])[0], (only_b or [""])[0]
        self._tallies.add(Cause.UNKNOWN, first_a, first_b, evidence)

    def _explain(self, x: str, y: str) -> bool:
        """Explain a pair of lines by their words, all of them or not at all."""
        if max(len(x), len(y)) > _MAX_LINE:
            x, y = _around_difference(x, y)
            if max(len(x), len(y)) > _MAX_LINE:
                return False
        tokens_a, tokens_b = tokenise(x, self._hints.a), tokenise(y, self._hints.b)
        causes = explain_tokens(tokens_a, tokens_b)
        if causes is None:
            language = explain_language(x, y)
            if language is not None:
                self._tallies.add(Cause.LOCALE, x, y, language)
                return True
            order = explain_order(x.split(), y.split(), is_name=self._is_name) or explain_order(
                _words(x), _words(y), is_name=self._is_name
            )
            if order is None:
                return False
            self._tallies.add(order.cause, order.a, order.b, order.evidence)
            return True
        for cause, a, b, evidence in causes:
            self._tallies.add(cause, a, b, evidence)
        return True


_SEPARATORS: Final = str.maketrans(dict.fromkeys(",;:|=()[]{}<>\"'", " "))


def _around_difference(x: str, y: str) -> tuple[str, str]:
    """Cut two long lines to what differs and a little around it."""
    limit = min(len(x), len(y))
    start = next((i for i in range(limit) if x[i] != y[i]), limit)
    rest = limit - start
    end = next((i for i in range(rest) if x[-1 - i] != y[-1 - i]), rest)
    start, end = max(start - _AROUND, 0), max(end - _AROUND, 0)
    return x[start : len(x) - end], y[start : len(y) - end]


def _words(line: str) -> list[str]:
    return line.translate(_SEPARATORS).split()


def explain_tokens(a: list[Token], b: list[Token]) -> list[tuple[Cause, str, str, str]] | None:
    """Explain two lines whose plain text is equal; None if it is not, or a word has no excuse."""
    if len(a) != len(b):
        return None
    result = []
    for x, y in zip(a, b, strict=True):
        if x.text == y.text:
            continue
        cause = _explain_words(x, y)
        if cause is None:
            return None
        result.append((cause[0], x.text, y.text, cause[1]))
    return result or None


def _explain_words(x: Token, y: Token) -> tuple[Cause, str] | None:
    kinds = {x.word, y.word}
    if Word.TEXT in kinds:
        return None
    if kinds == {Word.TIME}:
        return explain_moments(x.text, y.text)
    if kinds == {Word.DECIMAL}:
        same = x.text.replace(",", ".") == y.text.replace(",", ".")
        return (Cause.LOCALE, "decimal point and comma") if same else None
    if kinds == {Word.PATH}:
        return _explain_paths(x.text, y.text)
    if {SAME_AS.get(word, word) for word in kinds} == {Word.PATH}:
        return _CAUSES[Word.BUILD_PATH]
    return _CAUSES.get(x.word) if x.word is y.word else None


def _explain_paths(a: str, b: str) -> tuple[Cause, str]:
    """Look whether two paths differ only in a moment or a random name."""
    parts_a, parts_b = a.split("/"), b.split("/")
    if len(parts_a) == len(parts_b):
        nothing = Hints().a
        found = []
        for x, y in zip(parts_a, parts_b, strict=True):
            if x != y:
                found.append(explain_tokens(tokenise(x, nothing), tokenise(y, nothing)))
        causes = {causes[0][0] for causes in found if causes}
        if all(found) and len(causes) == 1:
            return causes.pop(), "in a path"
    return _CAUSES[Word.PATH]
