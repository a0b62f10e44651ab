r"""The login class database: login.conf.db, as cap_mkdb makes it.

Specification: FreeBSD `usr.bin/cap_mkdb/cap_mkdb.c`, `lib/libc/gen/getcap.c` (`cgetnext`,
`cgetent`); getcap(3), login.conf(5).

The program reads the file twice, with two notions of a line:

1. `cgetnext` finds names. It reads physical lines. An empty line ends a continuation. A line that
   begins with white space, `:` or `#`, or that follows one ending in `\`, names nothing. On any
   other the name field goes up to `:`; a `\` or the end of the line continues it on the next line,
   whose own last byte then does not count as a continuation. The last byte of a last line without
   newline is lost. The first name, up to `|`, is looked up.
2. `cgetent` finds records. It joins lines that end in `\`, skips what is empty or begins with `#`,
   ignores text after the last newline, and takes the first record that has the name. A name that is
   not found ends the run, silently.
3. `:tc=name:` is replaced by the text of that record after its name field, expanded itself and with
   a final `:`. `:tc@` ends the expansion. A name that is not found leaves the field alone and marks
   the record, and every record that includes it, as not expanded.
4. A record is stored under its whole name field. If that has several names, each of them is stored
   as a reference to it; an empty name is not, its `|` sticks to the next one.

Refused beyond what the program refuses: NUL bytes, name fields that overflow its buffer or that the
file ends in, records that grow beyond a limit by inclusion.
Left out: `-f`, several input files, an existing database beside the input (which the program would
read instead of the text).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats.db185 import HashParameters, build_hash_file
from pipeline.formats.db185_table import DEFAULT_FFACTOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.formats.db185_header import ByteOrder

_RECORD_EXPANDED: Final = b"\x00"
_RECORD_UNRESOLVED: Final = b"\x01"
_REFERENCE: Final = b"\x02"

_MAX_NAME_FIELD: Final = 1022
"""The program's buffer has 1024 bytes, for the colon and a NUL too."""
_MAX_DEPTH: Final = 32
_MAX_INPUT: Final = 1 << 18
_MAX_TOTAL: Final = 1 << 24
"""Bytes of all records together: inclusion could double them line by line."""
_NO_NAME: Final = b" \t\n\v\f\r:#"
"""What a line that names a record does not begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityRecord:
    """One record as it is stored."""

    text: bytes
    """The record with all inclusions, name field first."""
    is_expanded: bool
    """Whether every inclusion was found."""

    @property
    def name_field(self) -> bytes:
        """All names and the description, separated by `|`."""
        return self.text.partition(b":")[0]


def parse_capabilities(raw: bytes) -> tuple[CapabilityRecord, ...]:
    """Return the records that the names of a file lead to, in the order of the names.

    Raises:
        FormatError: cap_mkdb would fail, or behave in a way that is not defined.
    """
    if len(raw) > _MAX_INPUT:
        raise FormatError(f"login.conf: got {len(raw)} bytes, want at most {_MAX_INPUT}")
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise FormatError(f"login.conf:{line}: got a NUL byte, want text")
    lookup = _Lookup(raw)
    records = []
    size = 0
    for line, name in _names(raw):
        try:
            record = lookup.expand(name)
        except FormatError as e:
            raise FormatError(f"login.conf:{line}: {e.message}") from None
        if record is None:
            break
        size += len(record.text)
        if size > _MAX_TOTAL:
            raise FormatError(f"login.conf:{line}: got records beyond {_MAX_TOTAL} bytes")
        records.append(record)
    return tuple(records)


def build_login_conf_db(raw: bytes, *, lorder: ByteOrder) -> bytes:
    """Return login.conf.db for the text of login.conf.

    Raises:
        FormatError: cap_mkdb would fail, or behave in a way that is not defined.
    """
    parameters = HashParameters(
        bsize=4096, ffactor=DEFAULT_FFACTOR, nelem=1, cachesize=65536, lorder=lorder
    )
    return build_hash_file(_pairs(parse_capabilities(raw)), parameters)


def _pairs(records: tuple[CapabilityRecord, ...]) -> Iterator[tuple[bytes, bytes]]:
    stored: set[bytes] = set()
    for record in records:
        if b":" not in record.text:
            continue
        field = record.name_field
        status = _RECORD_EXPANDED if record.is_expanded else _RECORD_UNRESOLVED
        yield field, status + record.text + b"\0"
        if field in stored:
            continue
        stored.add(field)
        if b"|" in field:
            for name in _stored_names(field):
                stored.add(name)
                yield name, _REFERENCE + field


def _stored_names(field: bytes) -> Iterator[bytes]:
    """Split a name field where a name of at least one byte ends."""
    start = 0
    for end in (*(i for i, byte in enumerate(field) if byte == ord("|")), len(field)):
        if end > start:
            yield field[start:end]
            start = end + 1


def _names(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield line number and first name of each name line, as `cgetnext` finds them."""
    *lines, rest = raw.split(b"\n")
    if rest:
        lines.append(rest[:-1])
    numbered = enumerate(lines, 1)
    is_continued = False
    for number, line in numbered:
        was_continued, is_continued = is_continued, line.endswith(b"\\")
        if not line or line[0] in _NO_NAME or was_continued:
            continue
        field, has_ended = _name_part(line)
        while not has_ended:
            _, line_after = next(numbered, (0, None))
            if line_after is None:
                raise FormatError(f"login.conf:{number}: got the end of the file, want a colon")
            part, has_ended = _name_part(line_after)
            field = _checked_field(field + part, number)
        yield number, _checked_field(field, number).partition(b"|")[0]


def _checked_field(field: bytes, number: int) -> bytes:
    if len(field) > _MAX_NAME_FIELD:
        raise FormatError(
            f"login.conf:{number}: got a name field of {len(field)} bytes,"
            f" want at most {_MAX_NAME_FIELD}"
        )
    return field


def _name_part(line: bytes) -> tuple[bytes, bool]:
    """Return the part of a name field that a line holds, and whether the field ends there."""
    before, colon, _ = line.partition(b":")
    before, backslash, _ = before.partition(b"\\")
    return before, bool(colon) and not backslash


@dataclass(frozen=True, slots=True)
class _Expansion:
    record: CapabilityRecord
    depth: int
    """Levels of inclusion below the record."""


class _Lookup:
    """The records of a file as `cgetent` sees them, with what was expanded so far."""

    def __init__(self, raw: bytes) -> None:
        self._records = list(_logical_lines(raw))
        self._expansions: dict[int, _Expansion | None] = {}
        """By index of the record; None while it is being expanded."""
        self._first: dict[bytes, int] = {}
        for index, text in enumerate(self._records):
            for name in text.partition(b":")[0].split(b"|"):
                self._first.setdefault(name, index)

    def expand(self, name: bytes) -> CapabilityRecord | None:
        """Return the first record that has a name, its inclusions replaced."""
        expansion = self._expand(name, 0)
        return expansion.record if expansion else None

    def _find(self, name: bytes) -> int | None:
        if b"|" not in name:
            return self._first.get(name)
        # The library compares byte by byte, so `tc=a|b` matches two adjacent names.
        wanted = b"|" + name + b"|"
        for index, text in enumerate(self._records):
            if wanted in b"|" + text.partition(b":")[0] + b"|":
                return index
        return None

    def _expand(self, name: bytes, level: int) -> _Expansion | None:
        index = self._find(name)
        if index is None:
            return None
        if index in self._expansions:
            known = self._expansions[index]
            # A record within itself: the library goes on until the limit stops it.
            if known is None or level + known.depth > _MAX_DEPTH:
                raise _too_deep(name)
            return known
        if level > _MAX_DEPTH:
            raise _too_deep(name)
        self._expansions[index] = None
        expansion = self._expand_text(self._records[index], level)
        self._expansions[index] = expansion
        return expansion

    def _expand_text(self, text: bytes, level: int) -> _Expansion:
        """Replace the inclusions of a record; what was included is not scanned again."""
        parts = []
        copied = position = depth = size = 0
        is_expanded = True
        while (start := _find_tc(text, position)) is not None:
            position = text.find(b":", start)
            has_colon = position >= 0
            name = text[start + 3 : position] if has_colon else text[start + 3 :]
            included = self._expand(name, level + 1)
            if included is None:
                is_expanded = False
                if not has_colon:
                    # The library puts the missing colon over the last byte of the name.
                    text = text[:-1] + b":"
            else:
                is_expanded &= included.record.is_expanded
                depth = max(depth, included.depth + 1)
                body = _body(included.record.text)
                parts += [text[copied:start], body]
                copied = position + 1 if has_colon else len(text)
                size += len(body)
                if size > _MAX_TOTAL:
                    raise FormatError(f"got a record beyond {_MAX_TOTAL} bytes by tc={name!r}")
            if not has_colon:
                break
        parts.append(text[copied:])
        return _Expansion(CapabilityRecord(text=b"".join(parts), is_expanded=is_expanded), depth)


def _too_deep(name: bytes) -> FormatError:
    return FormatError(f"got tc={name!r} below more than {_MAX_DEPTH} levels")


def _logical_lines(raw: bytes) -> Iterator[bytes]:
    """Yield the records of a file: continued lines joined, comments and empty lines dropped."""
    record = bytearray()
    for line in raw.split(b"\n")[:-1]:
        record += line
        if record.endswith(b"\\"):
            del record[-1]
            continue
        if record and not record.startswith(b"#"):
            yield bytes(record)
        record.clear()


def _find_tc(text: bytes, position: int) -> int | None:
    """Return the offset of the next `tc=`, skipping the field at `position`."""
    while True:
        colon = text.find(b":", position)
        if colon < 0 or text.startswith((b"tc@", b"tc=@"), colon + 1):
            return None
        if text.startswith(b"tc=", colon + 1):
            return colon + 1
        position = colon + 1


def _body(text: bytes) -> bytes:
    """Return a record without its name field, ending in a colon."""
    _, colon, body = text.partition(b":")
    return body if body.endswith(b":") or (colon and not body) else body + b":"
