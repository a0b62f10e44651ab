"""In which section of an ELF file is a byte: enough of the format to say it.

Specification: System V ABI, chapter 4, sections "ELF Header" and "Sections".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = b"\x7fELF"
_NOBITS: Final = 8
_MAX_SECTIONS: Final = 4096


@dataclass(frozen=True, slots=True)
class _Section:
    name: int
    kind: int
    offset: int
    size: int


def section_at(content: bytes, offset: int) -> str:
    """Return the name of the section that holds an offset; empty if there is none or no ELF."""
    if not content.startswith(MAGIC) or len(content) < 64:  # noqa: PLR2004 - an ELF64 header
        return ""
    try:
        sections, names = _sections(content)
    except struct.error:
        return ""
    for section in sections:
        inside = section.offset <= offset < section.offset + section.size
        if inside and section.kind != _NOBITS:
            start = names + section.name
            return content[start : start + 64].split(b"\0", 1)[0].decode("ascii", "replace")
    return ""


def _sections(content: bytes) -> tuple[list[_Section], int]:
    order = ">" if content[5] == 2 else "<"  # noqa: PLR2004 - ELFDATA2MSB
    wide = content[4] == 2  # noqa: PLR2004 - ELFCLASS64
    (start,) = struct.unpack_from(f"{order}Q" if wide else f"{order}I", content, 40 if wide else 32)
    size, count, names = struct.unpack_from(f"{order}3H", content, 58 if wide else 46)
    sections = list(_table(content, order, wide=wide, start=start, size=size, count=count))
    return sections, sections[names].offset if names < len(sections) else len(content)


def _table(
    content: bytes, order: str, *, wide: bool, start: int, size: int, count: int
) -> Iterator[_Section]:
    form = f"{order}IIQQQQ" if wide else f"{order}6I"
    for number in range(min(count, _MAX_SECTIONS)):
        name, kind, _, _, offset, length = struct.unpack_from(form, content, start + number * size)
        yield _Section(name, kind, offset, length)
