"""Expansion of the words of a package script: what its variables are worth.

Specification: POSIX.1-2024, Shell Command Language, 2.6 Word Expansions; pkg(8)'s environment as in
freebsd/pkg 2.8.4, libpkg/scripts.c (pkg_script_run).

1. A variable is worth what the script itself gave it, or what pkg gives: `PKG_ROOTDIR`,
   `PKG_PREFIX`, `PKG_NAME`. `UNSET` names are known to be unset when an image is built. Any other
   variable has no value that is known here and is refused.
2. `PKG_ROOTDIR` is worth `ROOT`, which no script can spell, or `/` as on a live system. No answer
   depends on what else it may be called (`pkg.script_compare`).
3. Values of expansions without quotes are split at blanks; a word of only such empty values
   vanishes.
4. Names of files are never generated: an unquoted `*`, `?` or `[` marks the field as a pattern.
5. `${name%pattern}` takes characters, or characters and a `*` at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.pkg.patterns import compile_glob, literal
from pipeline.pkg.shell_words import Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipeline.pkg.patterns import Glob
    from pipeline.pkg.shell_words import Part, Word

ROOT: Final = "/\0"
"""Stands for the root directory; a script has no NUL."""

UNSET: Final = frozenset(("INSTALL_AS_USER", "PKG_CHROOTED", "PKG_METALOG", "PKG_UPGRADE"))
"""Unset where packages are installed afresh, by root, without a METALOG."""

MAX_VALUE: Final = 1024
"""Characters that are kept or compared, as long as a path: values could double again and again."""

MAX_WORD: Final = 1 << 16
"""Characters of an argument."""

_SPLITS: Final = " \t\n"
_SPEAKS: Final = frozenset(("echo", "printf"))


@dataclass(frozen=True, slots=True)
class Field:
    """One argument."""

    text: str
    is_pattern: bool
    """It has a `*`, `?` or `[…` that names of files would replace."""


class Environment:
    """Variables and arguments of a script at one moment."""

    def __init__(self, variables: dict[str, str], arguments: tuple[str, ...]) -> None:
        self.variables = variables
        self.arguments = arguments
        self.status: str | None = "0"
        """`$?`; None where it depends on the image."""
        self.stops = False
        """`set -e` has been called."""

    def copy(self) -> Environment:
        """Return one that changes by itself."""
        result = Environment(dict(self.variables), self.arguments)
        result.status = self.status
        result.stops = self.stops
        return result

    def state(self) -> tuple[object, ...]:
        """Return what later statements can see, but for `$?`."""
        return dict(self.variables), self.arguments, self.stops

    def value(self, name: str) -> str:
        """Return what a variable or special parameter is worth.

        Raises:
            ScriptError: if nobody knows.
        """
        if name == "#":
            return str(len(self.arguments))
        if name == "?" and self.status is not None:
            return self.status
        if name.isdigit():
            number = int(name) - 1
            return self.arguments[number] if number < len(self.arguments) else ""
        if name in self.variables:
            return self.variables[name]
        if name in UNSET:
            return ""
        raise ScriptError(f"variable {name!a} has no value that is known here")


@dataclass(frozen=True, slots=True)
class _Run:
    """A piece of an expanded word."""

    text: str
    quoted: bool
    splits: bool
    """It is split at blanks."""


def expand_text(parts: Sequence[Part], environment: Environment) -> str:
    """Expand without splitting, as in an assignment."""
    return _bounded("".join(run.text for run in _runs(parts, environment)), MAX_VALUE)


def expand_pattern(parts: Sequence[Part], environment: Environment) -> Glob:
    """Expand to a pattern, as in `case`: what is quoted stands for itself."""
    glob: Glob = ()
    for run in _runs(parts, environment):
        glob += literal(run.text) if run.quoted else compile_glob(run.text)
    return glob


def expand_words(words: Sequence[Word], environment: Environment) -> list[Field]:
    """Expand to the fields of a command."""
    return [field for word in words for field in _fields(_runs(word.parts, environment))]


def expand_command(words: Sequence[Word], environment: Environment) -> list[str]:
    """Expand to the name and the arguments of a command.

    Raises:
        ScriptError: if there is no name, or names of files would be generated for a command that
            does more than speak.
    """
    fields = expand_words(words, environment)
    if not fields:
        raise ScriptError("a command without a name")
    if fields[0].text not in _SPEAKS and any(field.is_pattern for field in fields):
        raise ScriptError("a pattern for names of files")
    return [field.text for field in fields]


def _runs(
    parts: Sequence[Part], environment: Environment, *, inner: bool = False
) -> Iterator[_Run]:
    """Expand to pieces; `inner` is the word behind an operator, which is split as well."""
    for part in parts:
        if isinstance(part, Literal):
            yield _Run(part.text, part.quoted, splits=inner and not part.quoted)
            continue
        value = environment.value(part.name)
        uses_word = (part.operator == ":-" and not value) or (part.operator == ":+" and value)
        if part.operator == "%":
            value = _without_suffix(value, expand_pattern(part.argument, environment))
        if uses_word:
            yield from _runs(part.argument, environment, inner=True)
        elif part.operator != ":+":
            yield _Run(value, part.quoted, splits=not part.quoted)


def _fields(runs: Iterable[_Run]) -> list[Field]:
    """Make the fields of one word (rule 3)."""
    fields: list[list[tuple[str, bool]]] = []
    is_open = False
    for run in runs:
        for piece, splits in _pieces(run.text) if run.splits else ((run.text, False),):
            if splits:
                is_open = False
                continue
            if not is_open:
                fields.append([])
            fields[-1].append((piece, run.quoted))
            is_open = True
    return [_field(pieces) for pieces in fields]


def _pieces(value: str) -> list[tuple[str, bool]]:
    """Split a value into runs of text and of blanks; the flag marks blanks."""
    result: list[tuple[str, bool]] = []
    for character in value:
        splits = character in _SPLITS
        if result and result[-1][1] is splits:
            result[-1] = (result[-1][0] + character, splits)
        else:
            result.append((character, splits))
    return result


def _field(pieces: Sequence[tuple[str, bool]]) -> Field:
    text = _bounded("".join(piece for piece, _ in pieces), MAX_WORD)
    bare = "".join(piece for piece, quoted in pieces if not quoted)
    return Field(text, "*" in bare or "?" in bare or ("[" in bare and text != "["))


def _bounded(text: str, limit: int) -> str:
    if len(text) > limit:
        raise ScriptError(f"word of {len(text)} characters, want at most {limit}")
    return text


def _without_suffix(value: str, glob: Glob) -> str:
    """Remove the shortest suffix that matches: characters, or characters and one `*` (rule 5)."""
    has_star = bool(glob) and glob[-1] is None
    head = glob[:-1] if has_star else glob
    text = "".join(item.ranges[0][0] for item in head if item is not None and item.ranges)
    if literal(text) != head:
        raise ScriptError("a suffix is removed by a pattern that is not understood")
    if not has_star:
        return value.removesuffix(text)
    at = value.rfind(text)
    return value if at < 0 else value[:at]
