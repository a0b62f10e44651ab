"""Words that a builder's surroundings leave in a text: moments, paths, identities, random names.

`tokenise` cuts a line into plain text and such words. Two lines whose plain texts are equal differ
in words alone, and the kind of those words is the cause.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from reproducibility.moments import TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of where one side was made; all of it may be empty."""

    paths: tuple[str, ...] = ()
    """Build directory, home, temporary directory."""
    identities: tuple[str, ...] = ()
    """Host names, user names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """The surroundings of both sides."""

    a: Surroundings = Surroundings()
    b: Surroundings = Surroundings()


class Word(enum.StrEnum):
    """Kinds of words."""

    TEXT = "text"
    BUILD_PATH = "build_path"
    BUILD_IDENTITY = "build_identity"
    TIME = "time"
    UUID = "uuid"
    HEX = "hex"
    PATH = "path"
    IDENTITY = "identity"
    PROCESS = "process"
    TEMPORARY = "temporary"
    DECIMAL = "decimal"


class Token(NamedTuple):
    """A piece of a line."""

    word: Word
    text: str


_PATH_CHARACTER: Final = r"[\w.+@%~=,:-]"
_KINDS: Final[tuple[tuple[Word, str], ...]] = (
    (Word.TIME, TIME),
    (
        Word.UUID,
        r"(?<![0-9a-fA-F-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-f-])",
    ),
    (Word.HEX, r"(?<![0-9a-zA-Z])(?:[0-9a-f]{32,}|[0-9A-F]{32,})(?![0-9a-zA-Z])"),
    (Word.PATH, rf"(?:(?<![\w./])|(?<=-[A-Za-z]))/(?:{_PATH_CHARACTER}+/)*{_PATH_CHARACTER}+"),
    (Word.IDENTITY, r"(?<![\w.@+-])[\w.+-]+@[\w][\w.-]*"),
    (Word.PROCESS, r"(?i:\bpid\b\W{0,2}\d+)"),
    (Word.TEMPORARY, r"(?<!\w)(?i:tmp)[._-]?[a-zA-Z0-9_]{6,12}(?!\w)"),
    (Word.DECIMAL, r"(?<![\d.,])\d+[.,]\d+(?![\d.,])"),
)
_SHORTEST_HINT: Final = 3


@lru_cache(maxsize=64)
def _recogniser(paths: tuple[str, ...], identities: tuple[str, ...]) -> re.Pattern[str]:
    parts = []
    longest = sorted((p for p in paths if len(p) >= _SHORTEST_HINT), key=len, reverse=True)
    if longest:
        rest = rf"(?:/{_PATH_CHARACTER}+)*"
        parts.append((Word.BUILD_PATH, f"(?:{'|'.join(map(re.escape, longest))}){rest}"))
    names = sorted((n for n in identities if len(n) >= _SHORTEST_HINT), key=len, reverse=True)
    if names:
        parts.append((Word.BUILD_IDENTITY, rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)"))
    return re.compile("|".join(f"(?P<{kind}>{text})" for kind, text in (*parts, *_KINDS)))


def tokenise(line: str, surroundings: Surroundings) -> list[Token]:
    """Cut a line into plain text and words; text and words alternate, text may be empty."""
    tokens = []
    end = 0
    recogniser = _recogniser(surroundings.paths, surroundings.identities)
    for match in recogniser.finditer(line):
        tokens.append(Token(Word.TEXT, line[end : match.start()]))
        tokens.append(Token(Word(match.lastgroup or Word.TEXT), match[0]))
        end = match.end()
    tokens.append(Token(Word.TEXT, line[end:]))
    return tokens


def mask(tokens: list[Token]) -> str:
    """Return a line with its words replaced by their kinds; paths of a build are paths."""
    return "\0".join(
        token.text if token.word is Word.TEXT else SAME_AS.get(token.word, token.word).value
        for token in tokens
    )


SAME_AS: Final = {Word.BUILD_PATH: Word.PATH}
"""Words that one side may recognise by its surroundings and the other only by their form."""
