"""Statements of the POSIX shell, as values.

Specification: POSIX.1-2024, Shell Command Language, 2.9 Shell Commands. `shell` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pipeline.pkg.shell_words import Part, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """`NAME=value`."""

    name: str
    value: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirection:
    """`>file`, `2>file`, `2>&1`, `<file`."""

    operator: str
    descriptor: str
    target: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A simple command."""

    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...]
    line: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subshell:
    """`( … )`."""

    body: tuple[Statement, ...]
    redirections: tuple[Redirection, ...]
    line: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Commands joined by `|`, or one behind `!`; a lone plain command is no pipeline."""

    commands: tuple[Statement, ...]
    negated: bool
    line: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AndOr:
    """Statements joined by `&&` and `||`, which bind alike and from the left."""

    first: Statement
    rest: tuple[tuple[str, Statement], ...]
    line: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class If:
    """`if`; an `elif` is an `If` alone in `otherwise`."""

    condition: tuple[Statement, ...]
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
    line: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`case`: patterns and the statements behind them, in order."""

    word: Word
    clauses: tuple[tuple[tuple[Word, ...], tuple[Statement, ...]], ...]
    line: int
    source: str


Statement: TypeAlias = Command | Subshell | Pipeline | AndOr | If | Case
