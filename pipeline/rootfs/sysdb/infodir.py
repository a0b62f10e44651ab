"""The directory node of GNU info manuals: `dir`, as indexinfo(1) of FreeBSD's ports makes it.

Specification: indexinfo.c of print/indexinfo 0.3; Texinfo manual, "Installing Dir Entries".

1. Files named `*.info` and `*.info.gz` are read, other names are not; here in the order of their
   names' bytes (indexinfo takes the order of the directory).
2. Only what stands before the first line that begins with a unit separator counts. A line
   `INFO-DIR-SECTION name` chooses a section; between START-INFO-DIR-ENTRY and END-INFO-DIR-ENTRY,
   lines that begin with `*` are its entries, continuation lines are not.
3. Sections stand in the order in which they are first named, entries in the order they are met.
   Without a section there is no file.
4. The first line, which is not part of the node, names this project.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_TEXT: Final = 8 << 20
"""Bytes of a manual's head that are looked at."""
_SECTION: Final = b"INFO-DIR-SECTION "
_END_OF_HEAD: Final = b"\x1f"

_HEAD: Final = (
    b"Produced by: pkgbase-oci.\n"
    b"\x1f\n"
    b"File: dir,\tNode: Top\tThis is the top of the INFO tree\n"
    b"\n"
    b"  This (the Directory node) gives a menu of major topics.\n"
    b'  Typing "q" exits, "?" lists all Info commands, "d" returns here,\n'
    b'  "h" gives a primer for first-timers,\n'
    b'  "mXXX<Return>" visits the XXX manual, etc.\n'
    b"\n"
    b"* Menu:\n"
)


def _head(name: str, data: bytes) -> bytes:
    """Return the part of a manual before its first node."""
    if name.endswith(".gz"):
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, _MAX_TEXT)
        except zlib.error as e:
            raise FormatError(f"{name}: damaged gzip stream: {e}") from None
    head, _, _ = (b"\n" + data[:_MAX_TEXT]).partition(b"\n" + _END_OF_HEAD)
    return head


def _collect(head: bytes, sections: dict[bytes, list[bytes]]) -> None:
    section: list[bytes] | None = None
    inside = False
    for line in head.split(b"\n"):
        if line.startswith(_SECTION):
            section = sections.setdefault(line[len(_SECTION) :].lstrip(), [])
        elif line == b"START-INFO-DIR-ENTRY":
            inside = True
        elif line == b"END-INFO-DIR-ENTRY":
            inside = False
        elif inside and section is not None and line.startswith(b"*"):
            section.append(line)


def build_info_dir(files: Mapping[str, bytes]) -> bytes | None:
    """Return the content of `dir` for the files of a directory, None if it would have no menu.

    Args:
        files: names without a path, and contents.

    Raises:
        FormatError: a compressed manual is damaged.
    """
    sections: dict[bytes, list[bytes]] = {}
    for name in sorted(files, key=lambda n: n.encode("utf-8", "surrogateescape")):
        if name.endswith((".info", ".info.gz")):
            _collect(_head(name, files[name]), sections)
    if not sections:
        return None
    menu = b"".join(
        b"\n%s\n%s" % (name, b"".join(entry + b"\n" for entry in entries))
        for name, entries in sections.items()
    )
    return _HEAD + menu
