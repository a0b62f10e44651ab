"""Request: what a declaration asks for by one string.

1. `name`: the package of that name.
2. `name=version`: that very version, compared as text.
3. A glob, which is what has `*`, `?`, `[` or a backslash: every package whose name, or whose
   `name-version`, it matches, as `pkg install -g`. Where it matches no bare name but a
   `name-version`, it also restricts the version.
4. Globs are those of fnmatch(3) without flags: `*`, `?`, `[a-z]`, `[!a-z]` or `[^a-z]`, and a
   backslash makes the next character literal. Case counts. A `[` that nothing closes is refused
   in a request; as a pattern it would stand for itself.
5. Origins, regular expressions, ranges of versions and pinned globs are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from pipeline.errors import DeclarationError, ManifestError
from pipeline.pkg.names import check_name, check_version

_GLOB_CHARACTERS: Final = frozenset("*?[\\")
_BRACKET_RE: Final = re.compile(r"\[([!^]?)(\]?(?:[^\]\\]|\\.)*)\]", re.DOTALL)


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Translate a glob (rule 4) to a regular expression for `fullmatch`."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        bracket = _BRACKET_RE.match(pattern, position)
        if bracket:
            out.append(_bracket(bracket[1], bracket[2]))
            position = bracket.end()
            continue
        if character == "\\" and position + 1 < len(pattern):
            position += 1
            out.append(re.escape(pattern[position]))
        elif character == "*":
            out.append(".*")
        elif character == "?":
            out.append(".")
        else:
            out.append(re.escape(character))
        position += 1
    return re.compile("".join(out), re.DOTALL)


def _bracket(negation: str, body: str) -> str:
    """Return the set of characters as a regular expression; a range is read as in fnmatch(3)."""
    characters = re.findall(r"\\.|.", body, re.DOTALL)
    items: list[str] = []
    while characters:
        low = characters.pop(0)[-1]
        high = low
        if len(characters) > 1 and characters[0] == "-":
            high = characters[1][-1]
            del characters[:2]
        if low <= high:
            items.append(f"{re.escape(low)}-{re.escape(high)}")
    if not items:  # only ranges that run backwards: nothing is in the set
        return "." if negation else "(?!)"
    return f"[{'^' if negation else ''}{''.join(items)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One entry of `packages`; `str()` gives back its text."""

    text: str
    name: str | None
    """The package that is asked for; None for a glob."""
    version: str | None
    """The version that is asked for; None for any."""
    glob: re.Pattern[str] | None
    """The compiled glob; None for a plain name."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one entry of a declaration.

        Raises:
            DeclarationError: if it is none of the three forms.
        """
        name, pin, version = text.partition("=")
        if _GLOB_CHARACTERS.intersection(name):
            if pin:
                raise DeclarationError(
                    f"got package {text[:80]!r}, want a glob without a version",
                    hint="pin each package by its own name=version",
                )
            return cls(text=text, name=None, version=None, glob=_checked_glob(text))
        try:
            check_name(name)
            if pin:
                check_version(version)
        except ManifestError:
            raise DeclarationError(
                f"got package {text[:80]!r}, want name, name=version or a glob",
                hint="a version is pinned by name=version; origins, ranges and regular expressions"
                " are not understood",
            ) from None
        return cls(text=text, name=name, version=version if pin else None, glob=None)

    def __str__(self) -> str:
        return self.text

    def matches_name(self, name: str) -> bool:
        """Tell whether any version of the package is meant."""
        if self.glob is not None:
            return self.glob.fullmatch(name) is not None
        return name == self.name and self.version is None

    def matches(self, name: str, version: str) -> bool:
        """Tell whether this version of the package is meant."""
        if self.glob is not None:
            return self.matches_name(name) or self.glob.fullmatch(f"{name}-{version}") is not None
        return name == self.name and self.version in (None, version)


def _checked_glob(text: str) -> re.Pattern[str]:
    without = _BRACKET_RE.sub("", text)
    if re.search(r"(?<!\\)\[", without) or without.endswith("\\"):
        raise DeclarationError(f"got glob {text[:80]!r}, want every [ closed by a ]")
    return compile_glob(text)
