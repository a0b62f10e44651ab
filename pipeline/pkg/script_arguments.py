"""Outcomes of the commands of a package script, and how their arguments are read.

1. A command that is understood succeeds. What depends on the image (is there a group of that
   name?) is a `Question`.
2. A path that begins with the root directory loses it. One without it means the same path of the
   image: older templates forget the root directory.
3. Options are read as getopt(3) does; each at most once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.errors import ScriptError
from pipeline.pkg.effect_fields import check_image_path
from pipeline.pkg.script_expand import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.pkg.effects import Effect

_NUMBER_RE: Final = re.compile(r"[0-9]{1,10}")
_MODE_RE: Final = re.compile(r"[0-7]{3,4}")


class Query(StrEnum):
    """What a script can ask about an image."""

    GROUP = "group"
    USER = "user"
    MEMBER = "member"
    FILE = "file"
    DIRECTORY = "directory"
    PROGRAM = "program"


@dataclass(frozen=True, slots=True)
class Question:
    """A status that depends on the image: true where the answer is `holds`."""

    query: Query | None
    """None: several questions at once, which decide nothing."""
    subject: tuple[str, ...]
    holds: bool


Status: TypeAlias = bool | Question


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command does."""

    status: Status = True
    effects: tuple[Effect, ...] = ()


def negated(status: Status) -> Status:
    """Return the status behind `!`."""
    if isinstance(status, Question):
        return Question(status.query, status.subject, holds=not status.holds)
    return not status


# ---------------------------------------------------------------- arguments


def image_path(text: str) -> str:
    """Return a path of the image, `/` included (rule 2), or raise."""
    rest = text.removeprefix(ROOT)
    if rest == text and not text.startswith("/"):
        raise ScriptError(f"got path {text[:80]!a}, want an absolute path")
    if rest and not rest.startswith("/"):
        raise ScriptError(f"got path {text[:80]!a}, want a slash behind the root directory")
    return check_image_path(re.sub("/+", "/", rest).rstrip("/") or "/", root=True)


def read_options(
    arguments: Sequence[str], *, flags: str = "", values: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Read options (rule 3); return them and the operands. A flag is worth itself."""
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        while word := word[1:]:
            letter = word[0]
            if letter in found or letter not in flags + values:
                raise ScriptError(f"option -{letter}")
            if letter in flags:
                found[letter] = letter
                continue
            if len(word) == 1 and not rest:
                raise ScriptError(f"option -{letter} without its value")
            found[letter] = word[1:] or rest.pop(0)
            break
    return found, rest


def read_operands(operands: Sequence[str], count: int) -> Sequence[str]:
    """Return the operands if there are so many."""
    if len(operands) != count:
        raise ScriptError(f"got {len(operands)} operands, want {count}")
    return operands


def read_number(text: str) -> int:
    """Return an id or another number."""
    if not _NUMBER_RE.fullmatch(text):
        raise ScriptError(f"got id {text[:80]!a}, want a number")
    return int(text)


def read_mode(text: str) -> int:
    """Return permission bits."""
    if not _MODE_RE.fullmatch(text):
        raise ScriptError(f"got mode {text[:80]!a}, want three or four octal digits")
    return int(text, 8)


def expect_path(text: str, want: str) -> None:
    """Refuse any other path of the image."""
    got = image_path(text)
    if got != want:
        raise ScriptError(f"got path {got!a}, want {want!a}")
