"""ld-elf.so.hints, against the table of elf-hints.h."""

from __future__ import annotations

import struct

import pytest

from pipeline.errors import FormatError
from pipeline.formats.db185_header import ByteOrder
from pipeline.rootfs.sysdb.hints import build_ld_elf_hints


def test_file_is_a_header_and_the_joined_directories() -> None:
    raw = build_ld_elf_hints(["/lib", "/usr/lib"], byte_order=ByteOrder.LITTLE)
    assert raw == (
        b"Ehnt\1\0\0\0\x80\0\0\0\x0e\0\0\0\0\0\0\0\x0d\0\0\0" + bytes(104) + b"/lib:/usr/lib\0"
    )


def test_no_directories_give_129_bytes() -> None:
    raw = build_ld_elf_hints([], byte_order=ByteOrder.LITTLE)
    assert len(raw) == 129
    assert struct.unpack_from("<6I", raw) == (0x746E6845, 1, 128, 1, 0, 0)


def test_words_follow_the_byte_order() -> None:
    raw = build_ld_elf_hints(["/lib"], byte_order=ByteOrder.BIG)
    assert struct.unpack_from(">6I", raw) == (0x746E6845, 1, 128, 5, 0, 4)
    assert raw[128:] == b"/lib\0"


def test_repeated_directory_counts_once_where_it_stands_first() -> None:
    raw = build_ld_elf_hints(iter(["/b", "/a", "/b"]), byte_order=ByteOrder.LITTLE)
    assert raw[128:] == b"/b:/a\0"


def test_name_beyond_ascii_keeps_its_bytes() -> None:
    name = b"/l\xc3\xb6ad/\xff".decode("utf-8", "surrogateescape")
    assert build_ld_elf_hints([name], byte_order=ByteOrder.LITTLE)[128:] == b"/l\xc3\xb6ad/\xff\0"


@pytest.mark.parametrize("directory", ["", "lib", "/a:b", "/a\0b"])
def test_directory_that_cannot_stand_in_the_list_is_refused(directory: str) -> None:
    with pytest.raises(FormatError, match=r"ld-elf.so.hints: got directory .*, want an absolute"):
        build_ld_elf_hints(["/lib", directory], byte_order=ByteOrder.LITTLE)


def test_more_than_1024_directories_are_refused() -> None:
    names = [f"/{i}" for i in range(1025)]
    assert build_ld_elf_hints(names[:-1], byte_order=ByteOrder.LITTLE)
    with pytest.raises(FormatError, match="got 1025 directories, want at most 1024"):
        build_ld_elf_hints(names, byte_order=ByteOrder.LITTLE)
