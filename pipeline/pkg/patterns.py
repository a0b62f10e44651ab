r"""Patterns out of packages, matched in time that a hostile pattern cannot blow up.

Globs are those of fnmatch(3) without flags, which pkg(8) uses for triggers and sh(1) in `case`;
regular expressions are extended ones of regcomp(3) (re_format(7)). Python's `re` backtracks, so
both are matched by following all possibilities at once.

1. Glob: `*` any characters, `/` included; `?` one; `[a-z]`, `[!a-z]`, `[^a-z]` one of a set; a
   backslash makes the next character literal.
2. Expression: characters, `.`, sets, `( )`, `|`, `* + ?`, `{n}`, `{n,}`, `{n,m}`, `^`, `$`, and a
   backslash in front of a character that is no letter or digit. It matches anywhere in the text.
3. Refused, where implementations differ or nobody needs them: `[:alpha:]` and the like, a
   backslash in a set of an expression, empty alternatives, repeated repetitions, ranges that run
   backwards, patterns that need more than `MAX_STATES` states.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from pipeline.errors import ScriptError

MAX_STATES: Final = 4096
"""States of a compiled expression; the patterns of ports need fewer than a hundred."""

MAX_PATTERN: Final = 1024
MAX_DEPTH: Final = 32
_MAX_REPEAT: Final = 255  # RE_DUP_MAX

_COUNT_RE: Final = re.compile(r"\{([0-9]{1,3})(?:(,)([0-9]{1,3})?)?\}")


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """Characters that may stand at one place."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def has(self, character: str) -> bool:
        """Say whether a character is one of them."""
        found = any(low <= character <= high for low, high in self.ranges)
        return found is not self.negated


ANY: Final = CharacterSet((), negated=True)

Glob: TypeAlias = tuple[CharacterSet | None, ...]
"""A compiled glob; None is `*`."""


def literal(text: str) -> Glob:
    """Return the glob that matches just this text."""
    return tuple(CharacterSet(((c, c),)) for c in text)


def compile_glob(pattern: str) -> Glob:
    """Compile a glob (rule 1).

    Raises:
        ScriptError: for what rule 3 refuses.
    """
    _check_length(pattern)
    result: list[CharacterSet | None] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            if not result or result[-1] is not None:
                result.append(None)
        elif character == "?":
            result.append(ANY)
        elif character == "[":
            members, at = _set(pattern, at, escapes=True)
            result.append(members)
        else:
            if character == "\\":
                if at == len(pattern):
                    raise _refuse(pattern, "a backslash at its end")
                character = pattern[at]
                at += 1
            result += literal(character)
    return tuple(result)


def match_glob(glob: Glob, text: str) -> bool:
    """Say whether a glob matches the whole text."""
    at = position = 0
    star, retry = -1, 0
    while position < len(text):
        item = glob[at] if at < len(glob) else _NOTHING
        if item is None:
            star, retry = at, position
            at += 1
        elif item.has(text[position]):
            at += 1
            position += 1
        elif star >= 0:
            retry += 1
            at, position = star + 1, retry
        else:
            return False
    return all(item is None for item in glob[at:])


_NOTHING: Final = CharacterSet(())


def _check_length(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise ScriptError(f"pattern of {len(pattern)} characters, want at most {MAX_PATTERN}")


def _refuse(pattern: str, what: str) -> ScriptError:
    return ScriptError(f"pattern {pattern[:80]!a} not understood: {what}")


def _set(pattern: str, at: int, *, escapes: bool) -> tuple[CharacterSet, int]:
    """Read a set whose `[` has been read; return it and the place behind its `]`."""
    marks = "!^" if escapes else "^"
    negated = pattern[at : at + 1] in tuple(marks)
    at += negated
    ranges: list[tuple[str, str]] = []
    start = at
    while at < len(pattern) and (pattern[at] != "]" or at == start):
        low, at = _member(pattern, at, escapes=escapes)
        high = low
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("]", ""):
            high, at = _member(pattern, at + 1, escapes=escapes)
        if high < low:
            raise _refuse(pattern, "a range that runs backwards")
        ranges.append((low, high))
    if at >= len(pattern):
        raise _refuse(pattern, "a [ without an end")
    return CharacterSet(tuple(ranges), negated=negated), at + 1


def _member(pattern: str, at: int, *, escapes: bool) -> tuple[str, int]:
    if pattern[at] == "[" and pattern[at + 1 : at + 2] in (":", ".", "="):
        raise _refuse(pattern, "a class of characters")
    if pattern[at] == "\\":
        if not escapes or at + 1 == len(pattern):
            raise _refuse(pattern, "a backslash in a set")
        at += 1
    return pattern[at], at + 1


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class _State:
    """One state: either reads a character, or goes on to others under a condition."""

    reads: CharacterSet | None
    condition: str
    """Of going on: "" always, `^` at the start, `$` at the end."""
    to: tuple[int, ...]


Expression: TypeAlias = tuple[_State, ...]
"""A compiled expression; its start is the last state, its end is state 0."""


def compile_expression(pattern: str) -> Expression:
    """Compile an extended regular expression (rule 2).

    Raises:
        ScriptError: for what rule 3 refuses.
    """
    _check_length(pattern)
    return _Compiler(pattern).compile()


def search(expression: Expression, text: str) -> bool:
    """Say whether an expression matches anywhere in the text."""
    start = len(expression) - 1
    current: set[int] = set()
    for position in range(len(text) + 1):
        current = _closure(expression, current | {start}, position, len(text))
        if 0 in current:
            return True
        if position < len(text):
            current = {
                state.to[0]
                for state in (expression[i] for i in current)
                if state.reads is not None and state.reads.has(text[position])
            }
    return False


def _closure(expression: Expression, states: set[int], position: int, length: int) -> set[int]:
    """Add every state that can be reached without reading."""
    reached: set[int] = set()
    waiting = list(states)
    while waiting:
        number = waiting.pop()
        if number in reached:
            continue
        reached.add(number)
        state = expression[number]
        blocked = (state.condition == "^" and position > 0) or (
            state.condition == "$" and position < length
        )
        if state.reads is None and not blocked:
            waiting += state.to
    return reached


class _Compiler:
    """Recursive descent; each method takes the state to go on to and returns its own start.

    A repetition compiles its atom several times, by reading its text again.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0
        self._states: list[_State] = []

    def compile(self) -> Expression:
        end = self._add(None, "", ())
        atoms = self._alternatives()
        if self._at < len(self._pattern):
            raise _refuse(self._pattern, "a ) without its (")
        self._add(None, "", (self._build(atoms, end),))
        return tuple(self._states)

    def _add(self, reads: CharacterSet | None, condition: str, to: tuple[int, ...]) -> int:
        if len(self._states) >= MAX_STATES:
            raise _refuse(self._pattern, f"it needs more than {MAX_STATES} states")
        self._states.append(_State(reads, condition, to))
        return len(self._states) - 1

    # ---------------------------------------------------------------- reading

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _alternatives(self) -> _Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refuse(self._pattern, "too deep")
        branches = [self._branch()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._branch())
        self._depth -= 1
        return _Node("|", tuple(branches))

    def _branch(self) -> _Node:
        pieces: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            pieces.append(self._piece())
        if not pieces:
            raise _refuse(self._pattern, "an empty alternative")
        return _Node("", tuple(pieces))

    def _piece(self) -> _Node:
        atom = self._atom()
        low, high = self._repetition()
        if (low, high) == (1, 1):
            return atom
        if atom.kind in ("^", "$") or self._repetition() != (1, 1):
            raise _refuse(self._pattern, "a repetition of something that cannot be repeated")
        return _Node("*", (atom,), low=low, high=high)

    def _repetition(self) -> tuple[int, int]:
        """Read `*`, `+`, `?` or a count; -1 is without end."""
        simple = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}.get(self._peek())
        if simple is not None:
            self._at += 1
            return simple
        if self._peek() != "{":
            return 1, 1
        count = _COUNT_RE.match(self._pattern, self._at)
        if count is None:
            raise _refuse(self._pattern, "a { that counts nothing")
        self._at = count.end()
        low = int(count[1])
        high = int(count[3]) if count[3] else (-1 if count[2] else low)
        if low > _MAX_REPEAT or high > _MAX_REPEAT or 0 <= high < low or (low, high) == (1, 1):
            raise _refuse(self._pattern, "a count out of range")
        return low, high

    def _atom(self) -> _Node:
        character = self._peek()
        self._at += 1
        if character in ("*", "+", "?", "{"):
            raise _refuse(self._pattern, f"{character} with nothing in front of it")
        if character == "(":
            inner = self._alternatives()
            if self._peek() != ")":
                raise _refuse(self._pattern, "a ( without its )")
            self._at += 1
            return inner
        if character in ("^", "$"):
            return _Node(character)
        return _Node("c", reads=self._character(character))

    def _character(self, character: str) -> CharacterSet:
        if character == ".":
            return ANY
        if character == "[":
            members, self._at = _set(self._pattern, self._at, escapes=False)
            return members
        if character == "\\":
            character = self._peek()
            self._at += 1
            if not character or (character.isascii() and character.isalnum()):
                raise _refuse(self._pattern, f"a backslash and {character!a}")
        return CharacterSet(((character, character),))

    # ---------------------------------------------------------------- building

    def _build(self, node: _Node, to: int) -> int:
        """Make the states of a node that goes on to `to`; return its start."""
        if node.kind == "c":
            return self._add(node.reads, "", (to,))
        if node.kind in ("^", "$"):
            return self._add(None, node.kind, (to,))
        if node.kind == "|":
            starts = tuple(self._build(branch, to) for branch in node.parts)
            return starts[0] if len(starts) == 1 else self._add(None, "", starts)
        if node.kind == "*":
            return self._repeat(node, to)
        for part in reversed(node.parts):
            to = self._build(part, to)
        return to

    def _repeat(self, node: _Node, to: int) -> int:
        atom, end = node.parts[0], to
        if node.high < 0:
            loop = self._add(None, "", ())
            start = self._build(atom, loop)
            self._states[loop] = _State(None, "", (start, end))
            to = loop
        for _ in range(max(0, node.high - node.low)):
            to = self._add(None, "", (self._build(atom, to), end))
        for _ in range(node.low):
            to = self._build(atom, to)
        return to


@dataclass(frozen=True, slots=True)
class _Node:
    """A piece of an expression: `c`, `^`, `$`, `|`, `*`, or "" for one after another."""

    kind: str
    parts: tuple[_Node, ...] = ()
    reads: CharacterSet | None = None
    low: int = 1
    high: int = 1
