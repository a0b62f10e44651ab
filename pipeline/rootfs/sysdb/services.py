"""The service database: services.db, as services_mkdb makes it.

Specification: FreeBSD `usr.sbin/services_mkdb/services_mkdb.c`; services(5).

1. A line is a name and `port/protocol`, separated by blanks and tabs, then aliases up to a `#`.
   White space before it is skipped; a line that is empty then, or begins with `#`, is a comment.
2. A line without a port, without a protocol, or with a port that is no number up to 65535 is
   skipped. Ports are read as C does: `014` is 12, `0x10` is 16.
3. Names and aliases of all lines of one port and protocol form one list, without duplicates.
4. The lists are stored by port, then by protocol in the order in which the file first names them,
   each as a numbered record with references from port and names; the first reference wins.

The install scripts of FreeBSD 15 and later name a directory instead of a file: the program reads
nothing and writes the database of an empty file, `build_services_db(b"", ...)`.

Refused beyond what the program refuses: NUL bytes, records that overflow its buffers.
Left out: `-u` (a text output), the warnings about lines that are skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats.db185 import HashParameters, build_hash_file
from pipeline.rootfs.sysdb.numerals import strtoul_any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.formats.db185_header import ByteOrder

_MAX_INPUT: Final = 1 << 22
_MAX_PORT: Final = 65535
_MAX_PROTOCOLS: Final = 5
_MAX_RECORD: Final = 1023
_NAME_PARTS: Final = 2
_WHITE: Final = b" \t\n\v\f\r"

_BY_NAME: Final = b"\xfe"
_BY_PORT: Final = b"\xff"


def build_services_db(raw: bytes, *, lorder: ByteOrder) -> bytes:
    """Return services.db for the text of a services file.

    Raises:
        FormatError: services_mkdb would fail, or behave in a way that is not defined.
    """
    parameters = HashParameters(bsize=256, ffactor=4, nelem=32768, cachesize=1024, lorder=lorder)
    return build_hash_file(_pairs(_parse(raw)), parameters)


class _Services:
    """The lists of names, by port and protocol; filled line by line."""

    def __init__(self) -> None:
        self.protocols: list[bytes] = []
        self.lists: dict[tuple[int, int], dict[bytes, None]] = {}
        """Port and protocol number to names in order; a dictionary, for its keys are unique."""

    def add(self, port: int, protocol: bytes, names: list[bytes]) -> dict[bytes, None]:
        if protocol not in self.protocols:
            if len(self.protocols) == _MAX_PROTOCOLS:
                raise FormatError(
                    f"got {protocol!r} as one more protocol, want at most {_MAX_PROTOCOLS}"
                )
            self.protocols.append(protocol)
        members = self.lists.setdefault((port, self.protocols.index(protocol)), {})
        members.update(dict.fromkeys(names))
        return members


def _parse(raw: bytes) -> _Services:
    if len(raw) > _MAX_INPUT:
        raise FormatError(f"services: got {len(raw)} bytes, want at most {_MAX_INPUT}")
    services = _Services()
    for number, line in enumerate(raw.split(b"\n"), 1):
        if b"\0" in line:
            raise FormatError(f"services:{number}: got a NUL byte, want text")
        try:
            _parse_line(line, services)
        except FormatError as e:
            raise FormatError(f"services:{number}: {e.message}") from None
    return services


def _parse_line(line: bytes, services: _Services) -> None:
    text = line.lstrip(_WHITE)
    if not text or text.startswith(b"#"):
        return
    words = _words(text)
    if len(words) < _NAME_PARTS:
        return
    number, _, protocol = words[1].partition(b"/")
    port = strtoul_any(number)
    if not protocol or port is None or port > _MAX_PORT:
        return
    aliases = _words(_after_words(text, words[:2]).partition(b"#")[0])
    members = services.add(port, protocol, [words[0], *aliases])
    size = len(_record(list(members), port, protocol)) - 1
    if size > _MAX_RECORD:
        raise FormatError(f"got a record of {size} bytes, want at most {_MAX_RECORD}")


def _words(text: bytes) -> list[bytes]:
    return [word for word in text.replace(b"\t", b" ").split(b" ") if word]


def _after_words(text: bytes, words: list[bytes]) -> bytes:
    """Return what follows the first words of a text."""
    end = 0
    for word in words:
        end = text.index(word, end) + len(word)
    return text[end:]


def _record(members: list[bytes], port: int, protocol: bytes) -> bytes:
    aliases = b"".join(alias + b" " for alias in members[1:])
    return b"%s %d/%s %s\0" % (members[0], port, protocol, aliases)


def _pairs(services: _Services) -> Iterator[tuple[bytes, bytes]]:
    for count, (port, index) in enumerate(sorted(services.lists)):
        members = list(services.lists[port, index])
        protocol = services.protocols[index]
        reference = b"%d\0" % count
        yield reference, _record(members, port, protocol)
        yield b"%s%d/%s\0" % (_BY_PORT, port, protocol), reference
        yield b"%s%d\0" % (_BY_PORT, port), reference
        for member in members:
            yield b"%s%s/%s\0" % (_BY_NAME, member, protocol), reference
            # The program cuts the key at its first slash, which may be part of the name.
            yield b"%s%s\0" % (_BY_NAME, member.partition(b"/")[0]), reference
