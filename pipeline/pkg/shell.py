"""Statements of the POSIX shell: script text to a tree, as far as package scripts need it.

Specification: POSIX.1-2024, Shell Command Language, 2.9 Shell Commands and 2.10 Grammar. The words
are those of `shell_words`; nothing is evaluated here.

1. Understood: simple commands with assignments and redirections, `!`, pipelines, `&&`, `||`, `;`,
   `if`/`elif`/`else`, `case`, subshells.
2. Refused, with the line and the source: loops, functions, braces, and whatever the grammar of
   POSIX does not have.
3. Reserved words count only where a command may begin, and only without quotes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.pkg.shell_tree import (
    AndOr,
    Assignment,
    Case,
    Command,
    If,
    Pipeline,
    Redirection,
    Statement,
    Subshell,
)
from pipeline.pkg.shell_words import (
    MAX_DEPTH,
    Literal,
    Operator,
    Token,
    Word,
    line_at,
    not_understood,
    scan,
    shown,
)

if TYPE_CHECKING:
    from pipeline.errors import ScriptError

_ASSIGNMENT_RE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_REDIRECTIONS: Final = frozenset((">", ">>", ">&", "<"))
_CLOSING: Final = frozenset(("then", "elif", "else", "fi", "esac", "do", "done", "}"))
_REFUSED_WORDS: Final = frozenset(("!", "for", "while", "until", "{", "in", "[["))


def parse_shell(text: str) -> tuple[Statement, ...]:
    """Split a script into its statements.

    Raises:
        ScriptError: for what is not understood; the context is the line.
    """
    return _Parser(text).script()


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = scan(text)
        self._at = 0
        self._depth = 0

    def script(self) -> tuple[Statement, ...]:
        result = self._statements()
        if self._at < len(self._tokens):
            raise self._unexpected()
        return result

    # ---------------------------------------------------------------- tokens

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, *operators: str) -> bool:
        token = self._peek()
        return isinstance(token, Operator) and token.text in operators

    def _reserved(self) -> str | None:
        """Return the bare word that comes, which may be reserved."""
        token = self._peek()
        return token.bare if isinstance(token, Word) else None

    def _source(self, first: int) -> str:
        """Return the text from a token up to the one before the current place."""
        return self._text[self._tokens[first].start : self._tokens[self._at - 1].end]

    def _error(self, what: str, index: int) -> ScriptError:
        token = self._tokens[min(index, len(self._tokens) - 1)]
        source = line_at(self._text, token.start)
        return not_understood(f"{what} in {shown(source)!a}", line=token.line)

    def _unexpected(self) -> ScriptError:
        token = self._peek()
        if token is None:
            return self._error("the script ends too early", len(self._tokens))
        name = self._text[token.start : token.end]
        return self._error(f"unexpected {'end of line' if name == chr(10) else name!a}", self._at)

    def _expect(self, word: str) -> None:
        if self._reserved() != word and not self._is(word):
            raise self._unexpected()
        self._at += 1

    def _skip_lines(self) -> None:
        while self._is("\n"):
            self._at += 1

    # ---------------------------------------------------------------- lists

    def _statements(self) -> tuple[Statement, ...]:
        """Read statements up to a closing word, `)`, `;;` or the end."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep", self._at)
        result: list[Statement] = []
        self._skip_lines()
        while self._peek() is not None and not self._closes():
            result.append(self._and_or())
            if not self._is(";", "\n"):
                break
            self._at += 1
            self._skip_lines()
        self._depth -= 1
        return tuple(result)

    def _closes(self) -> bool:
        return self._is(")", ";;") or self._reserved() in _CLOSING

    def _some_statements(self) -> tuple[Statement, ...]:
        result = self._statements()
        if not result:
            raise self._unexpected()
        return result

    def _and_or(self) -> Statement:
        start = self._at
        first = self._pipeline()
        rest: list[tuple[str, Statement]] = []
        while self._is("&&", "||"):
            operator = self._source_of_operator()
            self._skip_lines()
            rest.append((operator, self._pipeline()))
        if not rest:
            return first
        return AndOr(first=first, rest=tuple(rest), line=first.line, source=self._source(start))

    def _source_of_operator(self) -> str:
        token = self._tokens[self._at]
        self._at += 1
        return self._text[token.start : token.end]

    def _pipeline(self) -> Statement:
        start = self._at
        negated = self._reserved() == "!"
        self._at += negated
        commands = [self._command()]
        while self._is("|"):
            self._at += 1
            self._skip_lines()
            commands.append(self._command())
        if len(commands) == 1 and not negated:
            return commands[0]
        return Pipeline(
            commands=tuple(commands),
            negated=negated,
            line=self._tokens[start].line,
            source=self._source(start),
        )

    # ---------------------------------------------------------------- commands

    def _command(self) -> Statement:
        word = self._reserved()
        if word == "if":
            return self._if()
        if word == "case":
            return self._case()
        if word in _REFUSED_WORDS or word in _CLOSING:
            raise self._error(f"{word!a} is not understood", self._at)
        if self._is("("):
            return self._subshell()
        return self._simple()

    def _simple(self) -> Command:
        start = self._at
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirections: list[Redirection] = []
        while (token := self._peek()) is not None:
            if isinstance(token, Operator):
                if token.text not in _REDIRECTIONS:
                    break
                redirections.append(self._redirection(token))
                continue
            self._at += 1
            assignment = None if words else _assignment(token)
            if assignment is None:
                words.append(token)
            else:
                assignments.append(assignment)
        if not words and not assignments:
            raise self._unexpected()
        if self._is("("):
            raise self._error("a function is not understood", self._at)
        return Command(
            assignments=tuple(assignments),
            words=tuple(words),
            redirections=tuple(redirections),
            line=self._tokens[start].line,
            source=self._source(start),
        )

    def _redirection(self, operator: Operator) -> Redirection:
        self._at += 1
        target = self._peek()
        if not isinstance(target, Word):
            raise self._unexpected()
        self._at += 1
        return Redirection(operator=operator.text, descriptor=operator.descriptor, target=target)

    def _subshell(self) -> Subshell:
        start = self._at
        self._at += 1
        body = self._some_statements()
        self._expect(")")
        redirections = self._redirections()
        return Subshell(
            body=body,
            redirections=redirections,
            line=self._tokens[start].line,
            source=self._source(start),
        )

    def _redirections(self) -> tuple[Redirection, ...]:
        result: list[Redirection] = []
        while isinstance(token := self._peek(), Operator) and token.text in _REDIRECTIONS:
            result.append(self._redirection(token))
        return tuple(result)

    def _ends_compound(self) -> None:
        """Refuse redirections of `if` and `case`: nobody writes them."""
        if self._redirections():
            raise self._error("redirection of a compound command", self._at - 1)

    def _if(self) -> If:
        start = self._at
        result = self._if_parts(start)
        self._expect("fi")
        self._ends_compound()
        return result

    def _if_parts(self, start: int) -> If:
        """Read from `if` or `elif` up to `fi`, which stays."""
        self._at += 1
        condition = self._some_statements()
        self._expect("then")
        body = self._some_statements()
        otherwise: tuple[Statement, ...] = ()
        if self._reserved() == "elif":
            self._depth += 1
            otherwise = (self._if_parts(self._at),)
            self._depth -= 1
        elif self._reserved() == "else":
            self._at += 1
            otherwise = self._some_statements()
        return If(
            condition=condition,
            body=body,
            otherwise=otherwise,
            line=self._tokens[start].line,
            source=self._source(start),
        )

    def _case(self) -> Case:
        start = self._at
        self._at += 1
        word = self._peek()
        if not isinstance(word, Word):
            raise self._unexpected()
        self._at += 1
        self._skip_lines()
        self._expect("in")
        self._skip_lines()
        clauses: list[tuple[tuple[Word, ...], tuple[Statement, ...]]] = []
        while self._reserved() != "esac":
            patterns = self._patterns()
            clauses.append((patterns, self._statements()))
            if not self._is(";;"):
                break
            self._at += 1
            self._skip_lines()
        self._expect("esac")
        self._ends_compound()
        line = self._tokens[start].line
        return Case(word=word, clauses=tuple(clauses), line=line, source=self._source(start))

    def _patterns(self) -> tuple[Word, ...]:
        if self._is("("):
            self._at += 1
        result: list[Word] = []
        while True:
            pattern = self._peek()
            if not isinstance(pattern, Word):
                raise self._unexpected()
            self._at += 1
            result.append(pattern)
            if not self._is("|"):
                break
            self._at += 1
        self._expect(")")
        return tuple(result)


def _assignment(word: Word) -> Assignment | None:
    """Read a word as an assignment: its name and `=` stand without quotes."""
    first = word.parts[0] if word.parts else None
    if not isinstance(first, Literal) or first.quoted:
        return None
    match = _ASSIGNMENT_RE.fullmatch(first.text)
    if match is None:
        return None
    value = (Literal(match[2], quoted=False),) if match[2] else ()
    return Assignment(name=match[1], value=(*value, *word.parts[1:]))
