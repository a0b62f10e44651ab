"""The reader of anybody's tar: every dialect means the same; what means nothing is refused."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ArchiveError
from pipeline.formats import sparse, tar
from pipeline.formats.foreign_tar import ForeignMember, ForeignTarReader, expand
from tests.archives import END, number, padded, pax_header, pax_record, raw_header
from tests.foreign import Node, folder, pack, root, soft

if TYPE_CHECKING:
    from collections.abc import Iterable


def read(data: bytes) -> dict[str, tuple[ForeignMember, bytes]]:
    """Return every member with its content, read as it comes."""
    reader = ForeignTarReader(io.BytesIO(data))
    return {m.name.rstrip("/"): (m, b"".join(reader.chunks())) for m in reader}


def only(data: bytes) -> ForeignMember:
    """Return the only member; its content lies where its extents say."""
    reader = ForeignTarReader(io.BytesIO(data))
    (found,) = [(member, b"".join(reader.chunks())) for member in reader]
    member, content = found
    pieces = expand(member, lambda e: (data[e.position : e.position + e.size],))
    assert b"".join(pieces) == content
    assert len(content) == member.size
    return member


def refused(data: bytes, match: str) -> ArchiveError:
    """Read an archive that must be refused."""
    with pytest.raises(ArchiveError, match=match) as caught:
        read(data)
    return caught.value


# ---------------------------------------------------------------- dialects


@pytest.mark.parametrize("dialect", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_dialects_mean_the_same(dialect: int) -> None:
    """Long names, names that are not ASCII, every kind."""
    got = read(pack(root(), dialect=dialect))
    for node in root():
        member, data = got[node.path]
        assert data == node.content
        assert (member.mode, member.uid, member.gid) == (node.mode, node.uid, node.gid)
        assert (member.uname, member.gname) == (node.uname, node.gname)
        assert (member.kind, member.link) == (node.kind, node.link)
        assert member.mtime == int(node.mtime)
        assert not member.is_sparse


def test_the_oldest_dialect() -> None:
    """V7 has no magic and no owners' names; a directory is a name that ends in a slash."""
    data = raw_header(b"etc/", b"\0", magic=b"") + raw_header(b"etc/x", b"\0", 3, magic=b"")
    got = read(data + padded(b"abc") + END)
    assert [m.kind for m, _ in got.values()] == [tar.DIRECTORY, tar.REGULAR]
    assert got["etc/x"][1] == b"abc"


def test_a_name_with_a_slash_is_a_directory() -> None:
    """Also where a pax record says it, as libarchive reads it; one with content is none."""
    record = pax_header(pax_record(b"path", b"some/where/"))
    assert only(record + raw_header(b"x", b"0") + END).kind == tar.DIRECTORY
    refused(record + raw_header(b"x", b"0", 3) + padded(b"abc") + END, "directory or device with 3")


def test_the_prefix_of_ustar_and_the_times_of_gnu() -> None:
    """The same bytes of a header are part of a name in one dialect, times in the other."""
    assert only(raw_header(b"b", prefix=b"a") + END).name == "a/b"
    assert only(raw_header(b"b", prefix=b"1234567", magic=b"ustar  \0") + END).name == "b"


def test_global_records_hold_until_a_member_says_otherwise() -> None:
    """As git archive and some pax writers use them."""
    start = pax_header(pax_record(b"comment", b"0" * 40), pax_record(b"uid", b"77"), kind=b"g")
    own = pax_header(pax_record(b"uid", b"78"))
    unset = pax_header(pax_record(b"uid", b""))
    data = start + raw_header(b"a") + own + raw_header(b"b") + unset + raw_header(b"c") + END
    assert [m.uid for m, _ in read(data).values()] == [77, 78, 0]


def test_labels_are_no_files() -> None:
    """GNU tar -V writes one first."""
    data = raw_header(b"volume", b"V") + raw_header(b"a") + END
    assert list(read(data)) == ["a"]


def test_contiguous_files_are_files() -> None:
    """Type 7 means something on no system in use."""
    assert only(raw_header(b"a", b"7") + END).kind == tar.REGULAR


@pytest.mark.parametrize("zeros", [1, 2, 20, 5000])
def test_any_number_of_zeros_ends_an_archive(zeros: int) -> None:
    """One block is what some writers leave, records of 10 KiB are GNU's and libarchive's."""
    assert list(read(raw_header(b"a") + bytes(512 * zeros))) == ["a"]


# ---------------------------------------------------------------- times, records, attributes


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("12", 12),
        ("12.999999999", 12),
        ("-1", -1),
        ("-1.5", -2),
        ("-1.0", -1),
        ("-0.25", -1),
        ("0.", 0),
    ],
)
def test_times_are_rounded_down(text: str, want: int) -> None:
    """As the seconds of a timespec, which dialects without fractions keep."""
    data = pax_header(pax_record(b"mtime", text.encode())) + raw_header(b"a") + END
    assert only(data).mtime == want


def test_negative_times_of_gnu() -> None:
    """Base 256, in two's complement."""
    field = (-5).to_bytes(12, "big", signed=True)
    assert only(raw_header(b"a", mtime=field, magic=b"ustar  \0") + END).mtime == -5


def test_attributes_are_named_once() -> None:
    """Libarchive writes an attribute under two keys, and says more than any file system keeps."""
    records = {
        "SCHILY.xattr.user.test": "x",
        "LIBARCHIVE.xattr.user.test": "eA",
        "SCHILY.acl.access": "user::rw-",
        "SCHILY.fflags": "schg,uarch",
        "SCHILY.dev": "1",
        "SCHILY.ino": "2",
        "SCHILY.nlink": "1",
        "atime": "1.5",
        "ctime": "1.5",
        "LIBARCHIVE.creationtime": "1",
    }
    member = only(pack([Node(path="a", pax=records)]))
    assert member.attributes == ("SCHILY.acl.access", "user.test")
    assert member.flags == "schg,uarch"


def test_unknown_records_are_refused() -> None:
    """What they say would be lost."""
    error = refused(pack([Node(path="a", pax={"MSWINDOWS.rawsd": "x"})]), "MSWINDOWS.rawsd")
    assert error.hint


@pytest.mark.parametrize(
    ("key", "value"), [("uid", "x"), ("uid", "-1"), ("mtime", "now"), ("mtime", "1e9")]
)
def test_numbers_are_numbers(key: str, value: str) -> None:
    """A record that says none is damage."""
    data = pax_header(pax_record(key.encode(), value.encode())) + raw_header(b"a") + END
    refused(data, f"got pax {key}")


# ---------------------------------------------------------------- sparse files

CONTENT = bytes(4096) + b"a" * 1000 + bytes(5000) + b"z" * 512 + bytes(300)
PARTS = ((4096, 1000), (10096, 512))
STORED = b"a" * 1000 + b"z" * 512


def _sparse_0(*records: bytes) -> bytes:
    header = pax_header(pax_record(b"GNU.sparse.size", b"%d" % len(CONTENT)), *records)
    return header + raw_header(b"f", b"0", len(STORED)) + padded(STORED) + END


def sparse_00() -> bytes:
    """Format 0.0: records that come again and again."""
    parts = [
        pax_record(key, b"%d" % value)
        for pair in PARTS
        for key, value in zip((b"GNU.sparse.offset", b"GNU.sparse.numbytes"), pair, strict=True)
    ]
    return _sparse_0(pax_record(b"GNU.sparse.numblocks", b"2"), *parts)


def sparse_01() -> bytes:
    """Format 0.1: one record with all."""
    flat = b",".join(b"%d" % n for pair in PARTS for n in pair)
    return _sparse_0(
        pax_record(b"GNU.sparse.major", b"0"),
        pax_record(b"GNU.sparse.minor", b"1"),
        pax_record(b"GNU.sparse.name", b"f"),
        pax_record(b"GNU.sparse.map", flat),
    )


def sparse_10(parts: Iterable[tuple[int, int]] = PARTS, **changes: bytes) -> bytes:
    """Format 1.0: the map before the content."""
    pairs = list(parts)
    lines = b"%d\n" % len(pairs) + b"".join(b"%d\n%d\n" % pair for pair in pairs)
    lines = changes.get("lines", lines)
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": changes.get("minor", b"0"),
        b"GNU.sparse.name": b"f",
        b"GNU.sparse.realsize": changes.get("size", b"%d" % len(CONTENT)),
    }
    body = padded(lines) + changes.get("stored", STORED)
    header = pax_header(*(pax_record(k, v) for k, v in records.items() if v))
    return header + raw_header(b"GNUSparseFile.0/f", b"0", len(body)) + padded(body) + END


def gnu_sparse(
    parts: Iterable[tuple[int, int]] = PARTS,
    *,
    magic: bytes = b"ustar  \0",
    extended: int = 0,
    stored: bytes = STORED,
    size: int = len(CONTENT),
) -> bytes:
    """Return the old GNU format, with so many of the parts in extension blocks."""
    pairs = list(parts)
    in_header, rest = pairs[: len(pairs) - extended], pairs[len(pairs) - extended :]
    block = bytearray(raw_header(b"f", b"S", len(stored), magic=magic))

    def put(into: bytearray, offset: int, listed: list[tuple[int, int]]) -> None:
        for i, pair in enumerate(listed):
            fields = b"".join(number(n, 12) for n in pair)
            into[offset + 24 * i : offset + 24 * i + 24] = fields

    put(block, 386, in_header)
    block[482] = bool(rest)
    block[483:495] = number(size, 12)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    blocks = bytes(block)
    while rest:
        extension = bytearray(512)
        put(extension, 0, rest[:21])
        rest = rest[21:]
        extension[504] = bool(rest)
        blocks += extension
    return blocks + padded(stored) + END


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sparse_00(), id="0.0"),
        pytest.param(sparse_01(), id="0.1"),
        pytest.param(sparse_10(), id="1.0"),
        pytest.param(gnu_sparse(), id="gnu"),
        pytest.param(gnu_sparse(extended=1), id="gnu-extended"),
        pytest.param(gnu_sparse((*PARTS, (len(CONTENT), 0))), id="gnu-with-an-end"),
    ],
)
def test_sparse_files_are_what_they_mean(data: bytes) -> None:
    """Every format of GNU tar; tarfile, which reads them too, agrees."""
    member = only(data)
    assert (member.name, member.kind, member.is_sparse) == ("f", tar.REGULAR, True)
    assert read(data)["f"][1] == CONTENT
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        stream = archive.extractfile("f")
        assert stream is not None
        assert stream.read() == CONTENT


def test_a_map_of_many_parts() -> None:
    """Two extension blocks."""
    parts = [(i * 30, 1) for i in range(60)]
    size = 60 * 30
    stored = bytes(range(60))
    data = sparse_10(parts, size=b"%d" % size, stored=stored)
    want = b"".join(bytes([i]) + bytes(29) for i in range(60))
    assert read(data)["f"][1] == want
    parts = [(i * 50, 8) for i in range(len(STORED) // 8)]
    got = read(gnu_sparse(parts, extended=len(parts) - 4))["f"][1]
    assert got[:58] == b"a" * 8 + bytes(42) + b"a" * 8
    assert len(got) == len(CONTENT)


def test_a_file_that_is_one_hole() -> None:
    """Nothing is stored, not even an end."""
    data = sparse_10([], stored=b"")
    assert read(data)["f"][1] == bytes(len(CONTENT))


def test_numbers_of_gnu_in_base_256() -> None:
    """Offsets beyond eight gibibytes."""
    raw = bytes([0x80]) + (1 << 40).to_bytes(11, "big")
    assert sparse._octal(raw) == 1 << 40


@pytest.mark.parametrize(
    ("data", "match"),
    [
        pytest.param(sparse_10([(4096, 1000), (5000, 512)]), "a part at 5000", id="overlap"),
        pytest.param(sparse_10([(4096, 1000), (99999, 512)]), "a part at 99999", id="outside"),
        pytest.param(sparse_10([(4096, 1000)]), "got 1512 stored bytes", id="too-much-stored"),
        pytest.param(sparse_10(minor=b"7"), "version 1.7", id="version"),
        pytest.param(sparse_10(size=b""), "without GNU.sparse.realsize", id="no-size"),
        pytest.param(sparse_10(size=b"many"), "got 'many'", id="size"),
        pytest.param(sparse_10(lines=b"9999999999\n"), "9999999999 parts", id="parts"),
        pytest.param(sparse_10(lines=b"x" * 600), "malformed map", id="no-line"),
        pytest.param(sparse_10(lines=b"-1\n"), "got '-1'", id="negative"),
        pytest.param(
            _sparse_0(pax_record(b"GNU.sparse.map", b"1,2,3")), "without a size", id="odd"
        ),
        pytest.param(gnu_sparse(magic=b"ustar\x0000"), "format of star", id="star"),
    ],
)
def test_sparse_maps_that_cannot_be_are_refused(data: bytes, match: str) -> None:
    """Holes are not guessed."""
    refused(data, match)


def test_digits_of_a_map() -> None:
    """Octal in the old format."""
    data = bytearray(gnu_sparse(extended=1))
    data[512] = ord("9")
    refused(bytes(data), "want octal digits")


def test_bounds_of_a_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extension blocks could go on for ever."""
    monkeypatch.setattr(sparse, "_MAX_EXTENTS", 1)
    refused(gnu_sparse(extended=1), "2 parts")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("data", "match"),
    [
        pytest.param(b"", "ends within a header", id="empty"),
        pytest.param(b"hello", "ends within a header", id="text"),
        pytest.param(b"x" * 512, "damaged tar header", id="noise"),
        pytest.param(raw_header(b"a", checksum=b"0000000\0") + END, "damaged", id="checksum"),
        pytest.param(raw_header(b"a"), "ends within a header", id="no-end"),
        pytest.param(raw_header(b"a", b"0", 600) + bytes(512), "ends within content", id="cut"),
        pytest.param(raw_header(b"a") + END + b"x" * 512, "data after the end", id="appended"),
        pytest.param(raw_header(b"a", b"1", 5, link=b"b") + END, "with 5 bytes", id="link-content"),
        pytest.param(raw_header(b"a", b"5", 5) + END, "with 5 bytes", id="directory-content"),
        pytest.param(raw_header(b"a", b"D") + END, "type b'D'", id="directory-dump"),
        pytest.param(raw_header(b"a", b"M") + END, "type b'M'", id="part-of-a-volume"),
        pytest.param(
            raw_header(b"a", size_field=b"\xff" * 12) + END, "with -1 bytes", id="negative-size"
        ),
        pytest.param(
            pax_header() + pax_header(kind=b"g") + raw_header(b"a") + END, None, id="nothing-said"
        ),
        pytest.param(
            pax_header(pax_record(b"uid", b"1")) + pax_header(kind=b"g") + END,
            "no member follows",
            id="lost-records",
        ),
        pytest.param(pax_header(b"7 a=b\n") + END, "malformed", id="record-length"),
        pytest.param(pax_header(b"x a=b\n") + END, "malformed", id="record-number"),
        pytest.param(pax_header(b"6 a=b ") + END, "malformed", id="record-end"),
        pytest.param(pax_header(b"6 abc\n") + END, "malformed", id="record-without-value"),
        pytest.param(pax_header(b"99 a=b\n") + END, "malformed", id="record-too-long"),
        pytest.param(raw_header(b"x", b"x", 1 << 21) + END, "extension of 2097152", id="bomb"),
        pytest.param(raw_header(b"x", b"x") + END, "damaged", id="header-before-the-end"),
    ],
)
def test_what_is_no_archive_of_files(data: bytes, match: str | None) -> None:
    """Each with its reason."""
    if match is None:
        assert list(read(data)) == ["a"]
    else:
        refused(data, match)


def test_contents_may_be_passed_over() -> None:
    """Whether or not somebody reads them, the next member is found."""
    nodes = [Node(path="a", content=b"1" * 5000), folder("b"), soft("c", "a"), Node(path="d")]
    names = [m.name for m in ForeignTarReader(io.BytesIO(pack(nodes)))]
    assert names == ["a", "b", "c", "d"]


class Drip:
    """A source that gives one byte more than nothing."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        """Return less than was asked for."""
        return self._stream.read(min(size, 100))


def test_short_reads_are_no_end() -> None:
    """A pipe gives what it has."""
    data = pack(root())
    reader = ForeignTarReader(Drip(data))
    got = {m.name: b"".join(reader.chunks()) for m in reader}
    assert {m.rstrip("/"): c for m, c in got.items()} == {n: c for n, (_, c) in read(data).items()}
