"""The tolerant reader of tars: what others write, and what is damaged."""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArchiveError
from reproducibility.entries import Entry, Kind
from reproducibility.tarstream import TarStream
from tests.archives import END, pax_header, pax_record, raw_header
from tests.reproducibility.layouts import file, folder, hardlink, make_tar, symlink


def read(raw: bytes) -> list[tuple[Entry, bytes]]:
    reader = TarStream(io.BytesIO(raw))
    return [(entry, b"".join(reader.chunks())) for entry in reader]


def only(raw: bytes) -> Entry:
    ((entry, _),) = read(raw)
    return entry


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_says_the_same(form: int) -> None:
    """Dialects differ, entries do not."""
    items = [
        folder("etc"),
        file("./etc/motd", b"x" * 700, mode=0o4755, uid=7, gid=8, uname="u", gname="g"),
        symlink("etc/link", "../motd"),
        hardlink("etc/hard", "./etc/motd"),
    ]
    found = read(make_tar(items, form=form))
    assert [(e.path, e.kind, e.link, c) for e, c in found] == [
        ("etc", Kind.DIRECTORY, "", b""),
        ("etc/motd", Kind.FILE, "", b"x" * 700),
        ("etc/link", Kind.SYMLINK, "../motd", b""),
        ("etc/hard", Kind.HARDLINK, "etc/motd", b""),
    ]
    motd = found[1][0]
    assert (motd.mode, motd.uid, motd.gid, motd.uname, motd.gname) == (0o4755, 7, 8, "u", "g")
    assert [e.ordinal for e, _ in found] == [0, 1, 2, 3]


def test_gnu_long_names_and_times() -> None:
    """GNU's own extensions."""
    long = "d/" + "n" * 300
    entry = only(make_tar([file(long, mtime=2**36)], form=tarfile.GNU_FORMAT))
    assert (entry.path, entry.mtime, entry.dialect) == (long, 2**36, "gnu")


def test_gnu_prefix_field_is_no_prefix() -> None:
    """An incremental GNU archive has times where ustar has the prefix."""
    block = raw_header(b"name", magic=b"ustar  \0", prefix=b"14567012345")
    assert only(block + END).path == "name"


def test_v7_directory() -> None:
    """Before ustar a directory was a file whose name ends in a slash."""
    block = raw_header(b"dir/", kind=b"\0", magic=bytes(8))
    entry = only(block + END)
    assert (entry.path, entry.kind, entry.dialect) == ("dir", Kind.DIRECTORY, "v7")


def test_global_pax_header_applies_to_all() -> None:
    """Git archive writes one."""
    raw = pax_header(pax_record(b"mtime", b"77.5"), kind=b"g") + raw_header(b"a") + END
    entry = only(raw)
    assert (entry.mtime, entry.fraction, entry.dialect) == (77, "5", "pax")


def test_pax_records() -> None:
    """Flags and attributes are metadata; access times are not."""
    raw = pax_header(
        pax_record(b"SCHILY.fflags", b"schg"),
        pax_record(b"SCHILY.xattr.user.x", b"1"),
        pax_record(b"atime", b"5"),
        pax_record(b"path", "ä/\udcff".encode("utf-8", "surrogateescape")),
        pax_record(b"uid", b"4294967294"),
    )
    entry = only(raw + raw_header(b"a") + END)
    assert entry.flags == "schg"
    assert entry.attributes == (("SCHILY.xattr.user.x", "1"),)
    assert (entry.path, entry.uid) == ("ä/\udcff", 4294967294)
    assert "pax atime" in entry.form


def test_sparse_member_keeps_its_name() -> None:
    """Its stored bytes are its content here."""
    raw = pax_header(pax_record(b"GNU.sparse.major", b"1"), pax_record(b"GNU.sparse.name", b"real"))
    assert only(raw + raw_header(b"GNUSparseFile.0/real") + END).path == "real"


def test_devices() -> None:
    """Numbers of devices are kept."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        info = tarfile.TarInfo("dev/null")
        info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
        out.addfile(info)
    entry = only(archive.getvalue())
    assert (entry.kind, entry.device) == (Kind.CHARACTER, "1,3")


@pytest.mark.parametrize(
    ("raw", "trailer"),
    [
        (raw_header(b"a") + END, "1024 zero bytes"),
        (raw_header(b"a"), "no end marker"),
        (raw_header(b"a") + END + b"x" * 512, "512 zero bytes, then more data"),
        (make_tar([file("a")]), "zeros up to a whole record"),
    ],
)
def test_end_of_archive(raw: bytes, trailer: str) -> None:
    """What follows the last member is told."""
    reader = TarStream(io.BytesIO(raw))
    assert len(list(reader)) == 1
    assert reader.trailer.endswith(trailer.partition(",")[2]) or reader.trailer == trailer


@pytest.mark.parametrize(
    "raw",
    [
        raw_header(b"a", checksum=b"000000\0 ") + END,
        raw_header(b"a", size_field=b"zzzzzzzzzzz\0") + END,
        raw_header(b"a", size=5000),
        raw_header(b"a")[:300],
        pax_header(b"99 path=short\n") + raw_header(b"a") + END,
        pax_header(pax_record(b"uid", b"many")) + raw_header(b"a") + END,
        pax_header(pax_record(b"mtime", b"soon")) + raw_header(b"a") + END,
        pax_header(pax_record(b"path", b"x")),
        pax_header(pax_record(b"size", b"-1")) + raw_header(b"a") + END,
        b"this is no tar at all" * 100,
    ],
)
def test_damage_is_one_error(raw: bytes) -> None:
    """Whatever is wrong."""
    with pytest.raises(ArchiveError):
        read(raw)


@given(st.binary(max_size=2048))
def test_random_bytes_raise_nothing_else(raw: bytes) -> None:
    """Only ArchiveError, or a few strange entries."""
    with contextlib.suppress(ArchiveError):
        read(raw)


@given(st.integers(0, 1535), st.binary(min_size=1, max_size=8))
def test_damaged_headers_raise_nothing_else(offset: int, patch: bytes) -> None:
    """Bytes changed anywhere in a good archive."""
    raw = bytearray(pax_header(pax_record(b"path", b"p")) + raw_header(b"a") + END)
    raw[offset : offset + len(patch)] = patch
    with contextlib.suppress(ArchiveError):
        read(bytes(raw))
