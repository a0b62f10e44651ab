"""The search path of the dynamic linker: ld-elf.so.hints, as ldconfig makes it.

Specification: FreeBSD `sbin/ldconfig/elfhints.c` and `include/elf-hints.h`, version 1: a header of
thirty-two words, then the directories joined by colons and a NUL.

Left out: reading configuration files, ignoring directories that are insecure or missing (the caller
knows which exist), file mode (0444).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.formats.db185_header import ByteOrder

_MAGIC: Final = 0x746E6845
_VERSION: Final = 1
_HEADER_SIZE: Final = 128
_SPARE: Final = 26
_MAX_DIRECTORIES: Final = 1024


def build_ld_elf_hints(directories: Iterable[str], *, byte_order: ByteOrder) -> bytes:
    """Return the hints file for directories in search order; repeated ones count once.

    Raises:
        FormatError: a directory cannot be represented.
    """
    unique = tuple(dict.fromkeys(directories))
    if len(unique) > _MAX_DIRECTORIES:
        raise FormatError(
            f"ld-elf.so.hints: got {len(unique)} directories, want at most {_MAX_DIRECTORIES}"
        )
    for directory in unique:
        if not directory.startswith("/") or ":" in directory or "\0" in directory:
            raise FormatError(
                f"ld-elf.so.hints: got directory {directory!r},"
                " want an absolute path without colon and NUL"
            )
    joined = ":".join(unique).encode("utf-8", "surrogateescape")
    header = struct.pack(
        f"{byte_order.prefix}6I{_SPARE}I",
        _MAGIC,
        _VERSION,
        _HEADER_SIZE,
        len(joined) + 1,
        0,
        len(joined),
        *[0] * _SPARE,
    )
    return header + joined + b"\0"
