r"""Words of the POSIX shell: script text to tokens, as far as package scripts need it.

Specification: POSIX.1-2024, Shell Command Language, 2.2 Quoting, 2.3 Token Recognition, 2.6.2
Parameter Expansion. Nothing is evaluated here.

1. The text has at most `MAX_TEXT` characters; of control characters only tab and new line. Outside
   quotes and comments it is ASCII.
2. Quoting is `'…'`, `"…"` and the backslash; a backslash and a new line vanish where POSIX says so.
3. Expansions are `$name`, `${name}`, `$1` to `$9`, `$#`, `$?`, and of the operators
   `${name%pattern}`, `${name:-word}`, `${name:+word}`.
4. Refused, with the line: command substitution, backticks, arithmetic, other expansions and
   operators, here-documents, `&` (background), a tilde without quotes, an open quote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from pipeline.errors import ScriptError

MAX_TEXT: Final = 1 << 16
"""Characters; the longest script that was met has less than 3 KiB."""

MAX_DEPTH: Final = 16
"""Nesting of compound commands, and of expansions within expansions."""

_NAME_RE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL: Final = frozenset("123456789#?")
_OPERATORS: Final = ("&&", "||", ";;", ">>", ">&", "\n", ";", "|", "(", ")", "<", ">")
_REFUSED: Final = {
    "<<": "a here-document",
    "<>": "redirection <>",
    "<&": "redirection <&",
    ">|": "redirection >|",
    "&": "a command in the background",
}
_BLANK: Final = (" ", "\t")
_ENDS_WORD: Final = frozenset(" \t\n;|&()<>")


@dataclass(frozen=True, slots=True)
class Literal:
    """Characters that stand for themselves."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An expansion."""

    name: str
    operator: str
    """`%`, `:-`, `:+`, or empty."""
    argument: tuple[Part, ...]
    """The word behind the operator."""
    quoted: bool


Part: TypeAlias = Literal | Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word, with its quotes understood and its expansions not yet made."""

    parts: tuple[Part, ...]
    line: int
    start: int
    """Offsets of its source in the text."""
    end: int

    @property
    def bare(self) -> str | None:
        """The text of a word without quotes and expansions; None for any other."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Literal):
            return None if self.parts[0].quoted else self.parts[0].text
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A control or redirection operator; a new line is one too."""

    text: str
    descriptor: str
    """The digit right in front of a redirection, or empty."""
    line: int
    start: int
    end: int


Token: TypeAlias = Word | Operator


def not_understood(what: str, *, line: int) -> ScriptError:
    """Return the error for something at a line."""
    return ScriptError(what, context=f"line {line}")


def shown(source: str) -> str:
    """Return source text in one short line, for people."""
    line = " ".join(source.split())
    return line if len(line) <= 160 else line[:157] + "..."  # noqa: PLR2004


def line_at(text: str, offset: int) -> str:
    """Return the line of a text that has an offset."""
    end = text.find("\n", offset)
    return text[text.rfind("\n", 0, offset) + 1 : end if end >= 0 else None]


def scan(text: str) -> tuple[Token, ...]:
    """Split a script into tokens.

    Raises:
        ScriptError: for what rules 1 and 4 refuse; the context is the line.
    """
    if len(text) > MAX_TEXT:
        raise ScriptError(f"script of {len(text)} characters, want at most {MAX_TEXT}")
    for number, line in enumerate(text.split("\n"), 1):
        bad = next((c for c in line if (c < " " and c != "\t") or c == "\x7f"), None)
        if bad is not None:
            raise not_understood(f"control character {bad!a}", line=number)
    return tuple(_Scanner(text).tokens())


class _Scanner:
    """A place in the text, and the line it is on."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._depth = 0

    def tokens(self) -> list[Token]:
        result: list[Token] = []
        while self._skip_blanks():
            operator = self._operator()
            if operator is not None:
                result.append(operator)
            elif (word := self._redirection_digit()) is not None:
                result.append(word)
            else:
                result.append(self._word())
        return result

    # ---------------------------------------------------------------- characters

    def _peek(self, length: int = 1) -> str:
        """Return what comes, over continued lines."""
        while self._text.startswith("\\\n", self._at):
            self._at += 2
            self._line += 1
        return self._text[self._at : self._at + length]

    def _take(self, length: int = 1) -> str:
        taken = self._text[self._at : self._at + length]
        self._line += taken.count("\n")
        self._at += length
        return taken

    def _error(self, what: str) -> ScriptError:
        source = line_at(self._text, min(self._at, len(self._text) - 1))
        return not_understood(f"{what} in {shown(source)!a}", line=self._line)

    def _skip_blanks(self) -> bool:
        """Skip blanks and comments; say whether anything is left."""
        while self._peek() in _BLANK:
            self._take()
        if self._peek() == "#":
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
        return self._at < len(self._text)

    # ---------------------------------------------------------------- operators

    def _operator(self, descriptor: str = "") -> Operator | None:
        ahead = self._peek(2)
        text = next((o for o in _OPERATORS if ahead.startswith(o)), None)
        for refused, what in _REFUSED.items():
            if ahead.startswith(refused) and text not in ("&&", ">&"):
                raise self._error(what)
        if text is None:
            return None
        start, line = self._at, self._line
        self._take(len(text))
        return Operator(text=text, descriptor=descriptor, line=line, start=start, end=self._at)

    def _redirection_digit(self) -> Operator | None:
        ahead = self._peek(2)
        if len(ahead) == 2 and ahead[0] in "0123456789" and ahead[1] in "<>":  # noqa: PLR2004
            self._take()
            return self._operator(ahead[0])
        return None

    # ---------------------------------------------------------------- words

    def _word(self) -> Word:
        line, start = self._line, self._at
        parts: list[Part] = []
        while self._peek() and self._peek() not in _ENDS_WORD:
            parts += self._part(quoted=False)
        word = Word(parts=_joined(parts), line=line, start=start, end=self._at)
        if word.bare is not None and word.bare.isdigit() and self._peek() in ("<", ">"):
            raise self._error(f"redirection of descriptor {word.bare}")
        return word

    def _part(self, *, quoted: bool) -> list[Part]:
        """Read one piece of a word, inside or outside double quotes."""
        character = self._peek()
        if character == "$":
            return [self._dollar(quoted=quoted)]
        if character == "`":
            raise self._error("command substitution")
        if character == "\\":
            return [self._backslash(quoted=quoted)]
        if quoted:
            return [Literal(self._take(), quoted=True)]
        if character == '"':
            return self._double_quoted()
        if character == "'":
            return [self._single_quoted()]
        if not character.isascii():
            raise self._error(f"character {character!a} outside quotes")
        if character == "~":  # also behind `=`, `:` and `${x:-`, where it means a home as well
            raise self._error("a tilde")
        return [Literal(self._take(), quoted=False)]

    def _backslash(self, *, quoted: bool) -> Literal:
        self._take()
        character = self._text[self._at : self._at + 1]
        if not character:
            raise self._error("a backslash at the end")
        if quoted and character not in '$`"\\':
            return Literal("\\", quoted=True)
        if not quoted and not character.isascii():
            raise self._error(f"character {character!a} outside quotes")
        return Literal(self._take(), quoted=True)

    def _single_quoted(self) -> Literal:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._error("a quote without an end")
        self._take()
        value = self._take(end - self._at)
        self._take()
        return Literal(value, quoted=True)

    def _double_quoted(self) -> list[Part]:
        opened = self._error("a quote without an end")
        self._take()
        parts: list[Part] = [Literal("", quoted=True)]
        while self._peek() != '"':
            if not self._peek():
                raise opened
            parts += self._part(quoted=True)
        self._take()
        return parts

    # ---------------------------------------------------------------- expansions

    def _dollar(self, *, quoted: bool) -> Part:
        self._take()
        following = self._peek()
        if following == "(":
            raise self._error("command substitution")
        if following == "{":
            return self._braced(quoted=quoted)
        name = self._name()
        if name:
            return Parameter(name=name, operator="", argument=(), quoted=quoted)
        ends = not following or following in _ENDS_WORD or (quoted and following == '"')
        if not ends:
            raise self._error(f"expansion ${following}")
        return Literal("$", quoted=quoted)

    def _name(self) -> str:
        if self._peek() in _SPECIAL:
            return self._take()
        match = _NAME_RE.match(self._text, self._at)
        if match is None:
            return ""
        name = self._take(len(match[0]))
        if self._text.startswith("\\\n", self._at):
            raise self._error("a name over two lines")
        return name

    def _braced(self, *, quoted: bool) -> Parameter:
        self._take()
        name = self._name()
        if not name:
            raise self._error(f"expansion ${{{self._peek()}")
        ahead = self._peek(2)
        operator = ahead if ahead in (":-", ":+") else ahead[:1]
        if operator == "}":
            self._take()
            return Parameter(name=name, operator="", argument=(), quoted=quoted)
        if operator not in ("%", ":-", ":+") or ahead == "%%":
            raise self._error(f"expansion ${{{name}{ahead}")
        self._take(len(operator))
        argument = self._argument(quoted=quoted and operator != "%")
        return Parameter(name=name, operator=operator, argument=argument, quoted=quoted)

    def _argument(self, *, quoted: bool) -> tuple[Part, ...]:
        """Read the word behind an operator, up to its brace."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error("expansions too deep")
        opened = self._error("an expansion without an end")
        parts: list[Part] = []
        while self._peek() != "}":
            if self._peek() in ("", "\n"):
                raise opened
            if quoted and self._peek() == '"':
                raise self._error("quotes within a quoted expansion")
            parts += self._part(quoted=quoted)
        self._take()
        self._depth -= 1
        return _joined(parts)


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Merge neighbouring literals of the same kind."""
    result: list[Part] = []
    for part in parts:
        last = result[-1] if result else None
        if isinstance(part, Literal) and isinstance(last, Literal) and part.quoted is last.quoted:
            result[-1] = Literal(last.text + part.text, quoted=part.quoted)
        else:
            result.append(part)
    return tuple(result)
