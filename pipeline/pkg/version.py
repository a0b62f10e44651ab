"""PkgVersion: the order of package versions, identical to pkg_version_cmp of pkg 2.8.4.

Source: freebsd/pkg 2.8.4, libpkg/pkg_version.c (split_version, get_component, pkg_version_cmp).

1. Only the text after the last `-` counts, so that `name-version` compares as its version.
2. `portrevision` is the number after the last `_`; `portepoch` is the number after the last `,`
   that follows that `_` (anywhere where there is none). Both are 0 where absent.
3. The order is: portepoch, then the components, then portrevision.
4. `+` separates blocks. A block is a sequence of components; every character other than letters,
   digits, `*` and `+` is a separator. Missing components and missing blocks count as zero.
5. A component is (number, letter, patch). A missing number is -1; `*` is -2 and swallows the rest
   of its block. Letters a to z are 2 to 27, only the first of a run counts, case never does; no
   letter is 0 and then patch is 0; a letter without a patch number has patch -1.
6. A run of letters that is a stage (pl, snap, alpha, beta, pre, rc) stands for its value, `pl` 0
   and the others their first letter's, at the start of a component. After a number it starts a
   new component instead, hence 10alpha < 10 < 10a, and 15.0snap1 < 15.0 (since pkg 2.8).
7. Numbers saturate as strtol(3) and strtoul(3) do on a 64-bit machine.

Versions that differ in spelling may be equal (1.0 and 1.00): equality and hash are the order's.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import Final, Self

from pipeline.errors import FormatError

_LONG_MAX: Final = (1 << 63) - 1
_ULONG_MAX: Final = (1 << 64) - 1
_MAX_DIGITS: Final = 20
"""Digits of _ULONG_MAX."""

_STAGES: Final = {"pl": 0, "snap": 20, "alpha": 2, "beta": 3, "pre": 17, "rc": 19}
_FIRST_LETTER: Final = ord("a") - 2

_NUMBER_RE: Final = re.compile(r"[0-9]+")
_LETTERS_RE: Final = re.compile(r"[A-Za-z]+")
_SEPARATORS_RE: Final = re.compile(r"[^0-9A-Za-z*]*")
_STRTOUL_RE: Final = re.compile(r"[ \t\n\v\f\r]*\+?([0-9]+)")

_ZERO: Final = (0, 0, 0)
_END: Final = (0,)


@functools.total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class PkgVersion:
    """A package version; `str()` gives back the text it was parsed from."""

    text: str
    key: tuple[object, ...] = field(init=False, repr=False)
    """Sort key, computed once: comparing two versions compares two tuples."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _key(self.text))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version, or the version out of `name-version` (rule 1)."""
        if not text or "\0" in text:
            raise FormatError(f"got version {text[:80]!r}, want text without NUL")
        return cls(text)

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, PkgVersion) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.key < other.key if isinstance(other, PkgVersion) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)


def _saturated(digits: str, limit: int) -> int:
    """Return the number, or `limit` where it is larger, whatever its length (rule 7)."""
    significant = digits.lstrip("0")
    return min(int(significant or "0"), limit) if len(significant) <= _MAX_DIGITS else limit


def _number(text: str, position: int) -> tuple[int, int] | None:
    """Return the number at `position`, and where it ends."""
    match = _NUMBER_RE.match(text, position)
    return (_saturated(match[0], _LONG_MAX), match.end()) if match else None


def _component(block: str, position: int) -> tuple[tuple[int, int, int], int]:
    """Return the component at `position` and where the next one starts (rules 5 and 6)."""
    if block[position] == "*":
        return (-2, 0, 0), len(block)
    number, position = _number(block, position) or (-1, position)
    letters = _LETTERS_RE.match(block, position)
    letter = patch = 0
    if letters:
        run = letters[0].lower()
        if run in _STAGES and number >= 0:
            return (number, 0, 0), position
        letter = _STAGES.get(run, ord(run[0]) - _FIRST_LETTER)
        patch, position = _number(block, letters.end()) or (-1, letters.end())
    separators = _SEPARATORS_RE.match(block, position)
    assert separators is not None
    return (number, letter, patch), separators.end()


def _trailing(text: str) -> int:
    match = _STRTOUL_RE.match(text)
    return _saturated(match[1], _ULONG_MAX) if match else 0


def _key(text: str) -> tuple[object, ...]:
    """Return a tuple that sorts as the version does.

    Zero-padding (rule 4) makes plain tuples of components wrong: 1 > 1.a, because the missing
    component is 0 and `a` is less. So only components other than zero are listed, each with its
    sign and its place: of two positive ones the earlier place makes the greater version, of two
    negative ones the lesser. The end lies between negative and positive.
    """
    version = text.rpartition("-")[2]
    body, mark, revision = version.rpartition("_")
    if mark:
        epoch = revision.rpartition(",")
    else:
        body, epoch = version, version.rpartition(",")
        if epoch[1]:
            body = epoch[0]
    key: list[object] = [_trailing(epoch[2]) if epoch[1] else 0]
    for place, block in enumerate(body.split("+")):
        position = index = 0
        while position < len(block):
            component, position = _component(block, position)
            if component > _ZERO:
                key.append((1, -place, -index, *component))
            elif component < _ZERO:
                key.append((-1, place, index, *component))
            index += 1
    key += (_END, _trailing(revision) if mark else 0)
    return tuple(key)
