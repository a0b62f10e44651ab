"""Tar: whatever can be named is written and read back, and nothing else comes out of the reader."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArchiveError
from pipeline.formats import tar
from tests.archives import END, padded, raw_header

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.property

COMPONENTS = st.binary(min_size=1, max_size=120).filter(
    lambda b: b not in (b".", b"..") and not {0, 0x2F} & set(b)
)
NAMES = st.lists(COMPONENTS, min_size=1, max_size=4).map(b"/".join)
KINDS = st.sampled_from([tar.REGULAR, tar.DIRECTORY, tar.SYMLINK, tar.HARDLINK])


@st.composite
def described(draw: st.DrawFn) -> tuple[bytes, bytes, dict[str, Any], bytes, bytes]:
    """Return name, kind, numbers, link target and content of an entry."""
    kind = draw(KINDS)
    name = draw(NAMES) + (b"/" if kind == tar.DIRECTORY else b"")
    numbers = {
        "mode": draw(st.integers(0, 0o7777)),
        "uid": draw(st.integers(0, 2**32 - 2)),
        "gid": draw(st.integers(0, 2**32 - 2)),
        "mtime": draw(st.integers(-(2**40), 2**40)),
    }
    link = draw(NAMES) if kind in (tar.SYMLINK, tar.HARDLINK) else b""
    content = draw(st.binary(max_size=1100)) if kind == tar.REGULAR else b""
    return name, kind, numbers, link, content


def write(entries: Sequence[tuple[bytes, bytes, dict[str, Any], bytes, bytes]]) -> bytes:
    return END.join(
        [
            b"".join(
                tar.header(name, kind, size=len(content), link=link, **numbers) + padded(content)
                for name, kind, numbers, link, content in entries
            ),
            b"",
        ]
    )


@given(st.lists(described(), max_size=5))
def test_every_entry_comes_back(entries: list[Any]) -> None:
    """Names and targets of any bytes, numbers of any size, content of any length."""
    reader = tar.TarReader(io.BytesIO(write(entries)))
    got = [(m, reader.read()) for m in reader]
    assert len(got) == len(entries)
    for (member, data), (name, kind, numbers, link, content) in zip(got, entries, strict=True):
        assert member.name.encode("utf-8", "surrogateescape") == name
        assert member.link.encode("utf-8", "surrogateescape") == link
        assert (member.kind, data, member.size) == (kind, content, len(content))
        assert {key: getattr(member, key) for key in numbers} == numbers
        assert (member.uname, member.gname, member.pax) == ("", "", ())


@given(st.lists(described(), max_size=4))
def test_tarfile_agrees(entries: list[Any]) -> None:
    """An independent reader sees the same."""
    with tarfile.open(fileobj=io.BytesIO(write(entries)), errors="surrogateescape") as archive:
        infos = list(archive)
    assert len(infos) == len(entries)
    for info, (name, kind, numbers, link, content) in zip(infos, entries, strict=True):
        got = info.name.encode("utf-8", "surrogateescape")
        assert got == (name.rstrip(b"/") if kind == tar.DIRECTORY else name)
        assert info.linkname.encode("utf-8", "surrogateescape") == link
        assert (info.type, info.size) == (kind, len(content))
        assert (info.mode, info.uid, info.gid, info.mtime) == tuple(numbers.values())


@given(described())
def test_headers_are_whole_blocks_and_plain_ones_are_single(entry: tuple[Any, ...]) -> None:
    """`is_plain` never says yes to what needs more than one."""
    name, kind, numbers, link, content = entry
    raw = tar.header(name, kind, size=len(content), link=link, **numbers)
    assert len(raw) % tar.BLOCK == 0
    asked = (numbers["uid"], numbers["gid"], len(content), numbers["mtime"])
    assert not tar.is_plain(name, link, asked, "") or len(raw) == tar.BLOCK


@given(st.binary(max_size=1600), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, has_end: bool) -> None:
    """Only ArchiveError, whatever somebody else wrote."""
    reader = tar.TarReader(io.BytesIO(data + (END if has_end else b"")))
    try:
        for _ in reader:
            reader.read()
    except ArchiveError:
        pass


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"0", b"x", b"L", b"K", b"g", b"S", b"1", b"5", b"\0"]),
            st.binary(max_size=30),
            st.dictionaries(
                st.sampled_from(["mode", "uid", "mtime", "link", "prefix", "size_field"]),
                st.binary(max_size=8),
                max_size=2,
            ),
        ),
        max_size=4,
    )
)
def test_any_headers_are_read_or_refused(blocks: list[Any]) -> None:
    """With right checksums, so that the reader gets further."""
    data = b"".join(
        raw_header(b"name", kind, len(content), **fields) + padded(content)
        for kind, content, fields in blocks
    )
    reader = tar.TarReader(io.BytesIO(data + END))
    try:
        for _ in reader:
            reader.read()
    except ArchiveError:
        pass
