"""Comparisons of a package script in which the root directory takes part.

A build knows no name of a root directory: `pkg -r /mnt install` and `pkg -r /var/jail install` make
the same image. So what a script compares has to have the same answer whatever the root directory is
called, but for `/`, which is walked by itself (`pkg.scripts`, rule 4).

1. `ROOT` in a text stands for `/` and at least one character more, none of them known, the first
   of them no slash.
2. A pattern matches if it does so whatever stands there: only a `*` takes in what is not known. It
   does not if no name makes it match. Anything between the two is refused.
3. Where both sides begin with `ROOT`, the rest is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.pkg.patterns import CharacterSet, literal, match_glob
from pipeline.pkg.script_expand import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.pkg.patterns import Glob

_UNKNOWN: Final = ROOT[1:]
_SLASH: Final = CharacterSet((("/", "/"),))


def is_equal(left: str, right: str) -> bool:
    """Say whether two texts are equal, whatever the root directory is called.

    Raises:
        ScriptError: it depends on that.
    """
    if ROOT not in left:
        left, right = right, left
    return matches(literal(right), left)


def matches(glob: Glob, text: str) -> bool:
    """Say whether a pattern matches a text, whatever the root directory is called.

    Raises:
        ScriptError: it depends on that.
    """
    root = literal(ROOT)
    if text.startswith(ROOT) and glob[: len(root)] == root:
        glob, text = glob[len(root) :], text.removeprefix(ROOT)
    if _is_unknown(glob):
        raise ScriptError("a comparison with something behind the root directory")
    if ROOT not in text or _match(glob, text, certainly=True):
        return match_glob(glob, text)
    if _match(glob, text, certainly=False):
        raise ScriptError("a comparison that depends on what the root directory is called")
    return False


def _is_unknown(glob: Glob) -> bool:
    return any(item is not None and item == CharacterSet(((_UNKNOWN, _UNKNOWN),)) for item in glob)


def _match(glob: Glob, text: str, *, certainly: bool) -> bool:
    """Match a text with something unknown in it (rules 1 and 2), all possibilities at once."""
    places = _beyond_stars(glob, {0})
    for character in text:
        if character != _UNKNOWN:
            places = _step(glob, places, character)
        elif certainly:
            places = {at for at in places if at < len(glob) and glob[at] is None}
        else:
            places = _steps(glob, {at for at in places if glob[at : at + 1] != (_SLASH,)})
        places = _beyond_stars(glob, places)
    return len(glob) in places


def _step(glob: Glob, places: Iterable[int], character: str) -> set[int]:
    """Return where a pattern can be after one more character."""
    found = set()
    for at in places:
        item = glob[at] if at < len(glob) else CharacterSet(())
        if item is None:
            found.add(at)
        elif item.has(character):
            found.add(at + 1)
    return found


def _steps(glob: Glob, places: set[int]) -> set[int]:
    """Return where a pattern can be after one or more characters, whichever they are."""
    found: set[int] = set()
    for start in places:
        found |= {start} if glob[start : start + 1] == (None,) else set()
        found |= set(range(start + 1, len(glob) + 1))
    return found


def _beyond_stars(glob: Glob, places: set[int]) -> set[int]:
    """Add the places that are reached with no character."""
    found = set(places)
    for start in places:
        at = start
        while glob[at : at + 1] == (None,):
            at += 1
            found.add(at)
    return found
