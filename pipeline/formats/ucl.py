r"""UCL: the subset of libucl's language that pkg(8) files are written in.

Read are `meta.conf`, fingerprint files, repository `.conf` files and trigger files. Source: libucl
as in freebsd/pkg 2.8.4, external/libucl/src/ucl_parser.c. What this parser accepts it reads as
libucl does; what libucl reads in a surprising way is refused:

1. The document is UTF-8 without NUL, at most `MAX_UCL` bytes; its top is an object, with or without
   braces; nothing but blanks and comments follows the closing brace (libucl ignores what follows).
2. `key value`, `key = value`, `key: value`; items end with `;`, `,`, a new line or a comment.
   `a b {…}` nests. Bare keys have letters, digits, `_/.-` and non-ASCII; others are quoted.
3. A key that occurs again makes a list (an implicit array), in order of appearance; after an
   explicit array it is refused.
4. Comments are `#` to the end of the line and `/* */`, which nest and in which double quotes hide
   what they enclose. Where libucl would take what surrounds one into a value, it is refused.
5. Strings are "JSON-like", 'raw' (only `\'` and an escaped new line mean something), bare up to
   the end of the item, and `<<EOD` … `EOD`. An unknown letter after a backslash is refused.
6. Bare `true`/`yes`/`on`, `false`/`no`/`off` in any case and single `y`, `t`, `n`, `f` are
   booleans; `null` is None.
7. Numbers stay exact: int where there is no fraction or exponent, Decimal where there is; `k`, `m`,
   `g` are powers of 1000, `kb`, `mb`, `gb` of 1024. A time (`5min`, `2s`) is a Decimal of seconds.
   A number must be followed by the end of its item; otherwise the text is a bare string, as in
   libucl (`1.2.3`, `10 apples`). Out of range, `nan` and `inf` are refused.
8. Macros (`.include`) are refused, and variables (`$NAME`, `${NAME}`) too unless the caller wants
   them kept as text, which is what libucl does with variables that nobody defined.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.errors import FormatError
from pipeline.formats.ucl_scanner import BLANK, SPACE, Scanner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

UclValue: TypeAlias = (
    "str | int | bool | Decimal | Mapping[str, UclValue] | Sequence[UclValue] | None"
)
"""What a key may hold: objects are dicts, arrays (also implicit ones) are lists."""

MAX_UCL: Final = 1 << 20
"""Bytes; pkg's own bound for meta.conf (libpkg/pkg_repo.c, PKG_REPO_MAX_META_SIZE)."""

MAX_DEPTH: Final = 32
"""Nesting of objects and arrays."""

_KEY_RE: Final = re.compile(r"[A-Za-z0-9_/\x80-\U0010ffff][A-Za-z0-9_/.\-\x80-\U0010ffff]*")
_AFTER_KEY: Final = (*BLANK, "=", ":")
_BRACE_AHEAD_RE: Final = re.compile(r"[^,;\n\r{\[]*[{\[]")
_VARIABLE_RE: Final = re.compile(r"\$\{?[A-Za-z_]")
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "t", "y"), True),
    **dict.fromkeys(("false", "no", "off", "f", "n"), False),
}


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
    parser = _Parser(Scanner(text), keep_variables=keep_variables, lowercase_keys=lowercase_keys)
    return parser.document()


class _Parser:
    """Objects and arrays out of words."""

    def __init__(self, scanner: Scanner, *, keep_variables: bool, lowercase_keys: bool) -> None:
        self._scanner = scanner
        self._depth = 0
        self._keep_variables = keep_variables
        self._lowercase_keys = lowercase_keys

    def document(self) -> dict[str, UclValue]:
        scanner = self._scanner
        scanner.skip(SPACE)
        braced = scanner.peek() == "{"
        scanner.skip_space()
        if scanner.peek() in ("{", "[") and not braced:
            raise scanner.error(f"got {scanner.peek()!r}, want the keys of an object")
        result = self._object() if braced else self._items(end="")
        scanner.skip_space()
        if scanner.peek():
            raise scanner.error(f"got {scanner.peek()!r} after the end of the document")
        return result

    # ------------------------------------------------------------ containers

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._scanner.error(f"nested more than {MAX_DEPTH} deep")

    def _object(self) -> dict[str, UclValue]:
        self._enter()
        self._scanner.at += 1
        result = self._items(end="}")
        self._scanner.at += 1
        self._depth -= 1
        return result

    def _items(self, end: str) -> dict[str, UclValue]:
        result: dict[str, UclValue] = {}
        again: dict[str, list[UclValue]] = {}
        self._scanner.skip_space()
        while not self._is_at(end):
            key = self._key()
            value = self._value_of_key()
            if key in again:
                again[key].append(value)
            elif isinstance(result.get(key), list):
                raise self._scanner.error(f"key {key!r} again after its array")
            elif key in result:
                result[key] = again[key] = [result[key], value]
            else:
                result[key] = value
            self._end_item(end)
        return result

    def _array(self) -> list[UclValue]:
        self._enter()
        self._scanner.at += 1
        result: list[UclValue] = []
        self._scanner.skip(SPACE)
        while not self._is_at("]"):
            result.append(self._value())
            self._end_item("]")
        self._scanner.at += 1
        self._depth -= 1
        return result

    def _is_at(self, end: str) -> bool:
        here = self._scanner.peek()
        if not here and end:
            raise self._scanner.error(f"got the end of the document, want {end!r}")
        return here == end

    def _end_item(self, end: str) -> None:
        """Skip what ends an item: a separator or more, or the container's end ahead."""
        scanner = self._scanner
        separated = False
        while True:
            scanner.skip(BLANK)
            if scanner.peek() in ("\n", "\r", ",", ";"):
                scanner.at += 1
            elif not scanner.comment():
                break
            separated = True
        if not separated and not self._is_at(end):
            raise scanner.error(f"got {scanner.peek()!r}, want the end of the item")

    # ------------------------------------------------------------ keys

    def _key(self) -> str:
        scanner = self._scanner
        here = scanner.peek()
        if here == ".":
            raise scanner.error("macros are not accepted")
        if here == '"':
            key = scanner.quoted()
            if not key:
                raise scanner.error("empty key")
        else:
            match = _KEY_RE.match(scanner.text, scanner.at)
            if match is None:
                raise scanner.error(f"got {here!r}, want a key")
            key = match[0]
            scanner.at = match.end()
            if scanner.peek() not in _AFTER_KEY:
                raise scanner.error(f"got {scanner.peek()!r} in a key")
        if self._lowercase_keys:
            return "".join(c.lower() if c.isascii() else c for c in key)
        return key

    def _value_of_key(self) -> UclValue:
        scanner = self._scanner
        scanner.skip_in_line()
        separator = scanner.peek()
        if separator in ("=", ":"):
            scanner.at += 1
            scanner.skip_in_line()
            if scanner.peek() in ("=", ":", "#"):
                raise scanner.error(f"got {scanner.peek()!r} after {separator!r}, want a value")
        elif separator == "#":
            raise scanner.error("a comment after a key, want a value")
        elif self._names_more_keys():
            return self._nested()
        return self._value()

    def _names_more_keys(self) -> bool:
        """Tell `a b {…}` from `a b`: libucl looks for a brace before the item's end."""
        scanner = self._scanner
        if scanner.peek() in ("{", "["):
            return False
        return _BRACE_AHEAD_RE.match(scanner.text, scanner.at) is not None

    def _nested(self) -> UclValue:
        self._enter()
        key = self._key()
        self._scanner.skip(BLANK)
        if self._names_more_keys():
            value = self._nested()
        elif self._scanner.peek() in ("{", "["):
            value = self._value()
        else:
            raise self._scanner.error(f"got {self._scanner.peek()!r}, want {{ or [ after keys")
        self._depth -= 1
        return {key: value}

    # ------------------------------------------------------------ values

    def _value(self) -> UclValue:
        scanner = self._scanner
        scanner.skip_before_value()
        here = scanner.peek()
        if here == "{":
            return self._object()
        if here == "[":
            return self._array()
        if here in ('"', "'") or scanner.peek(2) == "<<":
            return self._string(here)
        number = scanner.number()
        return self._bare() if number is None else number

    def _string(self, mark: str) -> str:
        if mark == "'":
            return self._scanner.raw_string()  # the only kind without variables
        return self._expanded(self._scanner.quoted() if mark == '"' else self._scanner.heredoc())

    def _expanded(self, value: str) -> str:
        if not self._keep_variables and (found := _VARIABLE_RE.search(value)):
            name = value[found.start() :][:40]
            raise self._scanner.error(f"got variable {name!r}, which has no value here")
        return value

    def _bare(self) -> str | bool | None:
        raw = self._scanner.bare()
        if raw == "null":
            return None
        if raw in ("nan", "inf"):
            raise self._scanner.error(f"got {raw}, want a number that is one, or quotes")
        if raw.lower() in _BOOLEANS:
            return _BOOLEANS[raw.lower()]
        return self._expanded(self._scanner.unescape(raw))
