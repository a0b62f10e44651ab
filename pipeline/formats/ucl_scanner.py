"""The words of UCL: a position in a text, and the comments, strings and numbers read there.

`ucl` has the rules; the numbers in the docstrings here are its.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from pipeline.errors import FormatError

BLANK: Final = " \t"
SPACE: Final = " \t\n\v\f\r"
ITEM_END: Final = "\n\r,;]}#"

_BLANKS: Final = tuple(BLANK)
_CLOSERS: Final = {"}": "{", "]": "["}
_BAD_ESCAPES: Final = "\n\r\v\f"
_ESCAPES: Final = {"n": "\n", "r": "\r", "b": "\b", "t": "\t", "f": "\f"}

_CONTROL_RE: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_RAW_STRING_RE: Final = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_RAW_ESCAPE_RE: Final = re.compile(r"\\('|\r?\n|\r)")
_CODE_POINT_RE: Final = re.compile("[0-9A-Fa-f]{4}")
_HEREDOC_RE: Final = re.compile(r"<<([A-Z]+)\n")
_NUMBER_RE: Final = re.compile(
    r"(?P<hex>-?0x[0-9a-f]{1,16})"
    r"|(?P<number>-?[0-9]+(?P<fraction>\.[0-9]*)?(?P<exponent>e[+-]?[0-9]+)?)"
    r"(?P<suffix>min|[kmg]b|ms|[kmgshdwy])?",
    re.IGNORECASE,
)
_ODD_HEX_RE: Final = re.compile(r"-?[0-9]+[xX]")

_FACTORS: Final = {
    "": Decimal(1),
    "k": Decimal(1000),
    "m": Decimal(1000) ** 2,
    "g": Decimal(1000) ** 3,
    "kb": Decimal(1024),
    "mb": Decimal(1024) ** 2,
    "gb": Decimal(1024) ** 3,
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
    "y": Decimal(31536000),
}
_TIMES: Final = frozenset({"ms", "s", "min", "h", "d", "w", "y"})
_INT_LIMIT: Final = 1 << 63
_MAX_DIGITS: Final = 40
_MAX_EXPONENT: Final = 300


class Scanner:
    """Read words from a text, front to back."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        if control := _CONTROL_RE.search(text):
            self.at = control.start()
            raise self.error(f"control character {control[0]!r}")

    def error(self, message: str) -> FormatError:
        """Return an error about the current position."""
        line = self.text.count("\n", 0, self.at) + 1
        column = self.at - self.text.rfind("\n", 0, self.at)
        return FormatError(message, context=f"line {line}, column {column}")

    def peek(self, count: int = 1) -> str:
        """Return the next characters without moving; fewer at the end."""
        return self.text[self.at : self.at + count]

    # ------------------------------------------------------------ blanks and comments

    def skip(self, characters: str) -> None:
        """Move over a run of any of these characters."""
        text, at = self.text, self.at
        while at < len(text) and text[at] in characters:
            at += 1
        self.at = at

    def comment(self) -> bool:
        """Move over one comment, if there is one (rule 4)."""
        if self.peek() == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
            return True
        if self.peek(2) == "/*":
            self._block_comment()
            return True
        return False

    def _block_comment(self) -> None:
        text = self.text
        depth, quoted, at = 1, False, self.at + 2
        while depth:
            pair = text[at : at + 2]
            if not pair:
                raise self.error("comment without an end")
            if pair[0] == '"' and text[at - 1] != "\\":
                quoted = not quoted
            elif not quoted and pair in ("/*", "*/"):
                depth += 1 if pair == "/*" else -1
                at += 1
            at += 1
        self.at = at

    def skip_in_line(self) -> None:
        """Move over blanks and block comments."""
        self.skip(BLANK)
        while self.peek(2) == "/*":
            self._block_comment()
            self.skip(BLANK)

    def skip_space(self) -> None:
        """Move over blanks, new lines and comments."""
        self.skip(SPACE)
        while self.comment():
            self.skip(SPACE)

    def skip_before_value(self) -> None:
        """Move over blanks, then comments; libucl takes blanks after those into the value."""
        self.skip(SPACE)
        commented = False
        while (here := self.peek()) and self.comment():
            commented = True
            if here == "#":
                self.at += 1
        if commented and self.peek() in tuple(SPACE):
            raise self.error("got blanks between a comment and a value, want a value")

    # ------------------------------------------------------------ numbers

    def number(self) -> int | Decimal | None:
        """Read a number, or return None if the text here is a bare string (rule 7)."""
        match = _NUMBER_RE.match(self.text, self.at)
        if match is None:
            return None
        value = self._exact(match)
        end = match.end()
        while not match["suffix"] and self.text.startswith(_BLANKS, end):
            end += 1
        if end < len(self.text) and self.text[end] not in ITEM_END:
            if _ODD_HEX_RE.match(self.text, self.at):
                raise self.error("text that looks like a hexadecimal number, want it quoted")
            if self.text.startswith("/*", end):
                raise self.error("a comment after a number, want a separator between them")
            return None
        self.at = match.end()
        return value

    def _exact(self, match: re.Match[str]) -> int | Decimal:
        digits, exponent = match["hex"] or match["number"], match["exponent"]
        if len(digits) > _MAX_DIGITS or (exponent and abs(int(exponent[1:])) > _MAX_EXPONENT):
            raise self.error("number out of range")
        suffix = (match["suffix"] or "").lower()
        value = Decimal(int(digits, 16)) if match["hex"] else Decimal(digits) * _FACTORS[suffix]
        is_whole = match["fraction"] is None and exponent is None
        if suffix.endswith("b") and not is_whole:
            raise self.error("got a fraction of bytes, want a whole number")
        if not is_whole or suffix in _TIMES:
            return value
        if not -_INT_LIMIT <= value < _INT_LIMIT:
            raise self.error("number out of range")
        return int(value)

    # ------------------------------------------------------------ strings

    def bare(self) -> str:
        """Read a bare string, escapes and all; only trailing blanks are gone."""
        start = self.at
        end = self._bare_end()
        raw = self.text[start:end].rstrip(BLANK)
        if not raw:
            raise self.error("no value")
        self.at = end
        return raw

    def _bare_end(self) -> int:
        text, at = self.text, self.at
        opened = {"{": 0, "[": 0}
        while at < len(text):
            c = text[at]
            if c == "\\":
                at += 2
                continue
            if c in opened:
                opened[c] += 1
            elif c in _CLOSERS and opened[_CLOSERS[c]] > 0:
                opened[_CLOSERS[c]] -= 1
            elif c in ITEM_END or text.startswith("/*", at):
                break
            at += 1
        return min(at, len(text))

    def quoted(self) -> str:
        """Read a double-quoted string, of a key or of a value."""
        text, start = self.text, self.at + 1
        at = start
        while at < len(text) and text[at] != '"':
            if text[at] in "\n\r\t\v\f":
                self.at = at
                raise self.error(f"got {text[at]!r} in a quoted string, want it escaped")
            at += 2 if text[at] == "\\" else 1
        if at >= len(text):
            raise self.error("quoted string without an end")
        value = self.unescape(text[start:at])
        self.at = at + 1
        return value

    def unescape(self, raw: str) -> str:
        """Undo backslashes of a bare or double-quoted string."""
        pieces: list[str] = []
        at = 0
        while (found := raw.find("\\", at)) >= 0:
            pieces.append(raw[at:found])
            code = raw[found + 1 : found + 2]
            at = found + (6 if code == "u" else 2)
            pieces.append(
                self._code_point(raw[found + 2 : at]) if code == "u" else self._escape(code)
            )
        pieces.append(raw[at:])
        return "".join(pieces)

    def _escape(self, code: str) -> str:
        if code in _ESCAPES:
            return _ESCAPES[code]
        if not code or code.isalnum() or code in _BAD_ESCAPES:
            raise self.error(f"got a backslash and {code!r}, want an escape of JSON")
        return code

    def _code_point(self, digits: str) -> str:
        character = chr(int(digits, 16)) if _CODE_POINT_RE.fullmatch(digits) else "\0"
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise self.error(f"got escape '\\u{digits}', want the four digits of a character")
        return character

    def raw_string(self) -> str:
        """Read a single-quoted string."""
        match = _RAW_STRING_RE.match(self.text, self.at)
        if match is None:
            raise self.error("quoted string without an end")
        self.at = match.end()
        return _RAW_ESCAPE_RE.sub(lambda m: "'" if m[1] == "'" else "", match[1])

    def heredoc(self) -> str:
        """Read a multi-line string, `<<EOD` to `EOD`."""
        match = _HEREDOC_RE.match(self.text, self.at)
        if match is None:
            raise self.error("got <<, want <<WORD in capital letters at the end of a line")
        text, word = self.text, match[1]
        line = text.find("\n", match.end()) + 1
        while line > 0:
            if text.startswith(word, line):
                end = line + len(word)
                if text[end : end + 1] in ("", "\n", ";", ","):
                    self.at = end
                    return text[match.end() : line - 1]
                if text.startswith(word, line + 1):  # libucl compares at the next character too
                    raise self.error(f"a line of <<{word} that begins with {word}, want another")
            line = text.find("\n", line) + 1
        raise self.error(f"<<{word} without an end")
