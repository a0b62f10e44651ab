r"""UCL: the subset of libucl's language that pkg(8) files are written in.

Read are `meta.conf`, fingerprint files, repository `.conf` files and trigger files. Source: libucl
as in freebsd/pkg 2.8.4, external/libucl/src/ucl_parser.c. What this parser accepts it reads as
libucl does; what libucl reads in a surprising way is refused:

1. The document is UTF-8 without NUL, at most `MAX_UCL` bytes; its top is an object, with or without
   braces; nothing but blanks and comments follows the closing brace (libucl ignores what follows).
2. `key value`, `key = value`, `key: value`; items end with `;`, `,`, a new line or a comment.
   `a b {…}` nests. Bare keys have letters, digits, `_/.-` and non-ASCII; others are quoted.
3. A key that occurs again makes a list (an implicit array), in order of appearance.
4. Comments are `#` to the end of the line and `/* */`, which nest and in which double quotes hide
   what they enclose.
5. Strings are "JSON-like", 'raw' (only `\'` and an escaped new line mean something), bare up to the
   end of the item, and `<<EOD` … `EOD`. An unknown letter after a backslash is refused.
6. Bare `true`/`yes`/`on`, `false`/`no`/`off` in any case and single `y`, `t`, `n`, `f` are booleans;
   `null` is None.
7. Numbers stay exact: int where there is no fraction or exponent, Decimal where there is; `k`, `m`,
   `g` are powers of 1000, `kb`, `mb`, `gb` of 1024. A time (`5min`, `2s`) is a Decimal of seconds.
   A number must be followed by the end of its item; otherwise the text is a bare string, as in
   libucl (`1.2.3`, `10 apples`). Out of range, `nan` and `inf` are refused.
8. Macros (`.include`) are refused, and variables (`$NAME`, `${NAME}`) too unless the caller wants
   them kept as text, which is what libucl does with variables that nobody defined.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UclValue: TypeAlias = (
    "str | int | bool | Decimal | None | Mapping[str, UclValue] | Sequence[UclValue]"
)
"""What a key may hold: objects are dicts, arrays (also implicit ones) are lists."""

MAX_UCL: Final = 1 << 20
"""Bytes; pkg's own bound for meta.conf (libpkg/pkg_repo.c, PKG_REPO_MAX_META_SIZE)."""

MAX_DEPTH: Final = 32
"""Nesting of objects and arrays."""

_BLANK: Final = " \t"
_SPACE: Final = " \t\n\v\f\r"
_ITEM_END: Final = "\n\r,;]}#"
_CLOSERS: Final = {"}": "{", "]": "["}

_KEY_RE: Final = re.compile(r"[A-Za-z0-9_/\x80-\U0010ffff][A-Za-z0-9_/.\-\x80-\U0010ffff]*")
_HEREDOC_RE: Final = re.compile(r"<<([A-Z]+)\n")
_VARIABLE_RE: Final = re.compile(r"\$\{?[A-Za-z_]")
_CONTROL_RE: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_NUMBER_RE: Final = re.compile(
    r"(?P<hex>-?0[xX][0-9A-Fa-f]{1,16})"
    r"|(?P<number>-?[0-9]+(?P<fraction>\.[0-9]*)?(?P<exponent>[eE][+-]?[0-9]+)?)"
    r"(?P<suffix>min|[kmg]b|ms|[kmgshdwy])?",
    re.IGNORECASE,
)
_ODD_HEX_RE: Final = re.compile(r"-?[0-9]+[xX]")

_BOOLEANS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "t": True,
    "y": True,
    "false": False,
    "no": False,
    "off": False,
    "f": False,
    "n": False,
}
_ESCAPES: Final = {"n": "\n", "r": "\r", "b": "\b", "t": "\t", "f": "\f"}
_FACTORS: Final = {
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


def parse_ucl(
    raw: bytes, *, keep_variables: bool = False, lowercase_keys: bool = False
) -> dict[str, UclValue]:
    """Parse a document.

    Args:
        raw: the whole file.
        keep_variables: leave `${NAME}` in strings as it stands instead of refusing it.
        lowercase_keys: fold keys to lower case (ASCII), as pkg does for meta.conf.

    Raises:
        FormatError: with line and column of the fault.
    """
    if len(raw) > MAX_UCL:
        raise FormatError(f"got {len(raw)} bytes of UCL, want at most {MAX_UCL}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise FormatError(f"not UTF-8 at byte {e.start}") from None
    return _Parser(text, keep_variables=keep_variables, lowercase_keys=lowercase_keys).document()


class _Parser:
    """A position in a text, and what can be read there."""

    def __init__(self, text: str, *, keep_variables: bool, lowercase_keys: bool) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._keep_variables = keep_variables
        self._lowercase_keys = lowercase_keys
        if control := _CONTROL_RE.search(text):
            self._at = control.start()
            self._fail(f"control character {control[0]!r}")

    def _fail(self, message: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        column = self._at - self._text.rfind("\n", 0, self._at)
        raise FormatError(message, context=f"line {line}, column {column}")

    def _peek(self, count: int = 1) -> str:
        return self._text[self._at : self._at + count]

    # ------------------------------------------------------------ blanks and comments

    def _skip(self, characters: str) -> None:
        text, at = self._text, self._at
        while at < len(text) and text[at] in characters:
            at += 1
        self._at = at

    def _comment(self) -> bool:
        """Skip one comment, if there is one."""
        if self._peek() == "#":
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
            return True
        if self._peek(2) == "/*":
            self._block_comment()
            return True
        return False

    def _block_comment(self) -> None:
        text, start = self._text, self._at
        depth, quoted, at = 1, False, start + 2
        while depth:
            pair = text[at : at + 2]
            if not pair:
                self._fail("comment without an end")
            if pair[0] == '"' and text[at - 1] != "\\":
                quoted = not quoted
            elif not quoted and pair in ("/*", "*/"):
                depth += 1 if pair == "/*" else -1
                at += 1
            at += 1
        self._at = at

    def _skip_space(self) -> None:
        self._skip(_SPACE)
        while self._comment():
            self._skip(_SPACE)

    # ------------------------------------------------------------ structure

    def document(self) -> dict[str, UclValue]:
        self._skip(_SPACE)
        braced = self._peek() == "{"
        self._skip_space()
        if self._peek() in ("{", "[") and not braced:
            self._fail(f"got {self._peek()!r}, want the keys of an object")
        result = self._object() if braced else self._items(end="")
        self._skip_space()
        if self._at < len(self._text):
            self._fail(f"got {self._peek()!r} after the end of the document")
        return result

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"nested more than {MAX_DEPTH} deep")
        self._at += 1

    def _object(self) -> dict[str, UclValue]:
        self._enter()
        result = self._items(end="}")
        self._at += 1
        self._depth -= 1
        return result

    def _items(self, end: str) -> dict[str, UclValue]:
        result: dict[str, UclValue] = {}
        implicit: set[str] = set()
        self._skip_space()
        while not self._at_end(end):
            key = self._key()
            value = self._value_of_key()
            if key not in result:
                result[key] = value
            elif key in implicit:
                held = result[key]
                assert isinstance(held, list)
                held.append(value)
            elif isinstance(result[key], list):
                self._fail(f"key {key!r} again after its array")
            else:
                result[key] = [result[key], value]
                implicit.add(key)
            self._separator(end)
        return result

    def _array(self) -> list[UclValue]:
        self._enter()
        result: list[UclValue] = []
        self._skip(_SPACE)
        while not self._at_end("]"):
            result.append(self._value())
            self._separator("]")
        self._at += 1
        self._depth -= 1
        return result

    def _at_end(self, end: str) -> bool:
        here = self._peek()
        if not here and end:
            self._fail(f"got the end of the document, want {end!r}")
        return here == end

    def _separator(self, end: str) -> None:
        """Skip what ends an item: at least one separator, or the end of the container ahead."""
        separated = False
        while True:
            self._skip(_BLANK)
            here = self._peek()
            if here and here in "\n\r,;":
                self._at += 1
            elif not self._comment():
                break
            separated = True
        if not separated and not self._at_end(end):
            self._fail(f"got {self._peek()!r}, want the end of the item")

    # ------------------------------------------------------------ keys

    def _key(self) -> str:
        here = self._peek()
        if here == ".":
            self._fail("macros are not accepted")
        if here == '"':
            key = self._quoted()
            if not key:
                self._fail("empty key")
        else:
            match = _KEY_RE.match(self._text, self._at)
            if match is None:
                self._fail(f"got {here!r}, want a key")
            key = match[0]
            self._at = match.end()
            if self._peek() not in tuple(" \t=:"):
                self._fail(f"got {self._peek()!r} in a key")
        if self._lowercase_keys:
            key = "".join(c.lower() if c.isascii() else c for c in key)
        return key

    def _value_of_key(self) -> UclValue:
        self._skip_in_line()
        separator = self._peek()
        if separator in ("=", ":"):
            self._at += 1
            self._skip_in_line()
            if self._peek() in ("=", ":"):
                self._fail(f"got {self._peek()!r} after {separator!r}, want a value")
        elif separator == "#":
            self._fail("a comment after a key, want a value")
        elif self._names_more_keys():
            return self._nested()
        return self._value()

    def _skip_in_line(self) -> None:
        self._skip(_BLANK)
        while self._peek(2) == "/*":
            self._block_comment()
            self._skip(_BLANK)

    def _names_more_keys(self) -> bool:
        """Tell `a b {…}` from `a b`: libucl looks for a brace before the item's end."""
        if self._peek() in ("{", "["):
            return False
        ahead = re.compile(r"[^,;\n\r{\[]*([{\[])").match(self._text, self._at)
        return ahead is not None

    def _nested(self) -> UclValue:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"nested more than {MAX_DEPTH} deep")
        key = self._key()
        self._skip(_BLANK)
        if self._names_more_keys():
            value = self._nested()
        elif self._peek() in ("{", "["):
            value = self._value()
        else:
            self._fail(f"got {self._peek()!r}, want {{ or [ after nested keys")
        self._depth -= 1
        return {key: value}

    # ------------------------------------------------------------ values

    def _before_value(self) -> None:
        """Skip blanks, then comments; libucl takes blanks after them into the value."""
        self._skip(_SPACE)
        commented = False
        while (here := self._peek()) and self._comment():
            commented = True
            if here == "#":
                self._at += 1
        if commented and self._peek() in tuple(_SPACE):
            self._fail("got blanks between a comment and a value, want a value")

    def _value(self) -> UclValue:
        self._before_value()
        here = self._peek()
        if here == "{":
            return self._object()
        if here == "[":
            return self._array()
        if here == '"':
            return self._expanded(self._quoted())
        if here == "'":
            return self._raw_string()
        if self._peek(2) == "<<":
            return self._expanded(self._heredoc())
        if here and here in "-0123456789":
            number = self._number()
            if number is not None:
                return number
        return self._bare()

    def _expanded(self, value: str) -> str:
        if not self._keep_variables and (found := _VARIABLE_RE.search(value)):
            self._fail(f"got variable {value[found.start() :][:40]!r}, which has no value here")
        return value

    def _number(self) -> int | Decimal | None:
        match = _NUMBER_RE.match(self._text, self._at)
        if match is None:
            return None
        end = match.end()
        if not (match["suffix"] and match["number"]):
            while end < len(self._text) and self._text[end] in _BLANK:
                end += 1
        value = self._exact(match)
        if end < len(self._text) and self._text[end] not in _ITEM_END:
            if _ODD_HEX_RE.match(self._text, self._at):
                self._fail("text that looks like a hexadecimal number, want it quoted")
            if self._text.startswith("/*", end):
                self._fail("a comment after a number: libucl would read text, want a separator")
            return None
        self._at = match.end()
        return value

    def _exact(self, match: re.Match[str]) -> int | Decimal:
        digits, exponent = match["hex"] or match["number"], match["exponent"]
        if len(digits) > _MAX_DIGITS or (exponent and abs(int(exponent[1:])) > _MAX_EXPONENT):
            self._fail("number out of range")
        suffix = (match["suffix"] or "").lower()
        if match["hex"]:
            value = Decimal(int(digits, 16))
        else:
            value = Decimal(digits) * _FACTORS.get(suffix, Decimal(1))
        is_exact = match["fraction"] is None and exponent is None
        if suffix.endswith("b") and not is_exact:
            self._fail("got a fraction of bytes, want a whole number")
        if not is_exact or suffix in _TIMES:
            return value
        if not -_INT_LIMIT <= value < _INT_LIMIT:
            self._fail("number out of range")
        return int(value)

    def _bare(self) -> str | bool | None:
        start = self._at
        self._at = self._bare_end()
        raw = self._text[start : self._at].rstrip(_BLANK)
        if not raw:
            self._at = start
            self._fail("no value")
        if raw == "null":
            return None
        if raw.lower() in _BOOLEANS:
            return _BOOLEANS[raw.lower()]
        if raw in ("nan", "inf"):
            self._fail(f"got {raw}, want a number that is one, or quotes")
        return self._expanded(self._unescape(raw))

    def _bare_end(self) -> int:
        text, at = self._text, self._at
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
            elif c in _ITEM_END or text.startswith("/*", at):
                break
            at += 1
        return min(at, len(text))

    # ------------------------------------------------------------ strings

    def _quoted(self) -> str:
        """Read a double-quoted string, of a key or of a value."""
        text, start = self._text, self._at + 1
        at = start
        while at < len(text) and text[at] != '"':
            if text[at] in "\n\r\t\v\f":
                self._at = at
                self._fail(f"got {text[at]!r} in a quoted string, want it escaped")
            at += 2 if text[at] == "\\" else 1
        if at >= len(text):
            self._fail("quoted string without an end")
        value = self._unescape(text[start:at])
        self._at = at + 1
        return value

    def _unescape(self, raw: str) -> str:
        if "\\" not in raw:
            return raw
        pieces: list[str] = []
        at = 0
        while (found := raw.find("\\", at)) >= 0:
            pieces.append(raw[at:found])
            code = raw[found + 1 : found + 2]
            if code == "u":
                pieces.append(self._code_point(raw[found + 2 : found + 6]))
                at = found + 6
            else:
                pieces.append(self._escaped(code))
                at = found + 2
        pieces.append(raw[at:])
        return "".join(pieces)

    def _escaped(self, code: str) -> str:
        if code in _ESCAPES:
            return _ESCAPES[code]
        if not code or code.isalnum() or code in "\n\r\v\f":
            self._fail(f"got escape \\{code}, want one of \\n \\r \\t \\b \\f \\u \\\\ \\\"")
        return code

    def _code_point(self, digits: str) -> str:
        if not re.fullmatch("[0-9A-Fa-f]{4}", digits):
            self._fail(f"got escape \\u{digits}, want four hexadecimal digits")
        character = chr(int(digits, 16))
        if character == "\0" or "\ud800" <= character <= "\udfff":
            self._fail(f"got escape \\u{digits}, want a character")
        return character

    def _raw_string(self) -> str:
        match = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL).match(self._text, self._at)
        if match is None:
            self._fail("quoted string without an end")
        self._at = match.end()
        return re.sub(r"\\('|\r?\n|\r)", lambda m: "'" if m[1] == "'" else "", match[1])

    def _heredoc(self) -> str:
        match = _HEREDOC_RE.match(self._text, self._at)
        if match is None:
            self._fail("got <<, want <<WORD in capital letters at the end of a line")
        text, word = self._text, match[1]
        line = text.find("\n", match.end()) + 1
        while line > 0:
            after = text[line + len(word) : line + len(word) + 1]
            if text.startswith(word, line):
                if after in ("", "\n", ";", ","):
                    self._at = line + len(word)
                    return text[match.end() : line - 1]
                if text.startswith(word, line + 1):
                    self._fail(f"a line in <<{word} begins with {word}: libucl would misread it")
            line = text.find("\n", line) + 1
        self._fail(f"<<{word} without an end")
