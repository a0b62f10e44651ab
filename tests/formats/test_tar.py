"""Tar: the canonical writer's rules one by one, and a reader that refuses what it does not know.

Expected bytes come from POSIX.1-2017 (pax, "ustar Interchange Format") by way of
`archives.raw_header`, from Python's tarfile, and from GNU tar and bsdtar.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import ArchiveError
from pipeline.formats import tar
from pipeline.formats.tar import (
    DIRECTORY,
    END,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Member,
    TarReader,
    header,
    is_plain,
    padding,
)
from tests.archives import number, padded, pax_header, pax_record, raw_header
from tests.programs import require_program

if TYPE_CHECKING:
    from pathlib import Path

PLAIN: dict[str, Any] = {"mode": 0o644, "uid": 0, "gid": 0, "mtime": 0}


def members(data: bytes) -> list[Member]:
    return list(TarReader(io.BytesIO(data)))


def only(data: bytes) -> Member:
    (member,) = members(data + END)
    return member


def records(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Take apart the records of an extended header, independently of the reader."""
    assert raw[156:157] == b"x"
    body = raw[512 : 512 + int(raw[124:135], 8)]
    found = []
    while body:
        length = int(body.partition(b" ")[0])
        key, _, value = body[:length].partition(b" ")[2].rstrip(b"\n").partition(b"=")
        found.append((key, value))
        body = body[length:]
    return found


# ---------------------------------------------------------------- rule 1: ustar where it can


def test_a_plain_entry_is_one_ustar_block() -> None:
    """Rules 1 and 4: no names of owners, device numbers zero."""
    got = header(b"bin/cat", REGULAR, mode=0o4555, uid=12, gid=0o777, mtime=1_700_000_000, size=99)
    want = raw_header(
        b"bin/cat",
        b"0",
        99,
        mode=b"0004555\0",
        uid=b"0000014\0",
        gid=b"0000777\0",
        mtime=b"14524770400\0",
    )
    assert got[:329] == want[:329][:148] + got[148:156] + want[156:329]
    assert got[329:345] == b"0000000\0" * 2
    assert int(got[148:154], 8) == sum(got) - sum(got[148:156]) + 8 * 32
    assert got[154:156] == b"\0 "


@pytest.mark.parametrize(
    ("kind", "name", "link"),
    [(DIRECTORY, b"usr/", b""), (SYMLINK, b"l", b"../t"), (HARDLINK, b"h", b"bin/cat")],
)
def test_links_and_directories_have_no_content(kind: bytes, name: bytes, link: bytes) -> None:
    """The size is 0, the target is in linkname."""
    member = only(header(name, kind, link=link, **PLAIN))
    assert (member.kind, member.name, member.link, member.size) == (
        kind,
        name.decode(),
        link.decode(),
        0,
    )


P155 = b"p" * 155
N100 = b"n" * 100


@pytest.mark.parametrize(
    ("name", "prefix", "short"),
    [
        (N100, b"", N100),
        (b"d/" + N100[2:], b"", b"d/" + N100[2:]),
        (b"d/" + N100, b"d", N100),
        (P155 + b"/" + N100, P155, N100),
        (b"a/b/" + N100[:98], b"a", b"b/" + N100[:98]),
        (b"a/b/" + N100[:99], b"a/b", N100[:99]),
        (P155 + b"/" + N100[:99] + b"/", P155, N100[:99] + b"/"),
    ],
    ids=["100", "100-slash", "102", "256", "first-slash", "second-slash", "directory-256"],
)
def test_long_names_are_split_at_the_first_slash_that_works(
    name: bytes, prefix: bytes, short: bytes
) -> None:
    """Rule 1; as tarfile and GNU tar do."""
    raw = header(name, REGULAR, **PLAIN)
    assert len(raw) == 512
    assert raw[:100].rstrip(b"\0") == short
    assert raw[345:500].rstrip(b"\0") == prefix
    assert only(raw).name == name.decode()


@pytest.mark.parametrize(
    "name",
    [
        b"n" * 101,
        P155 + b"p/" + N100,
        P155 + b"/" + N100 + b"n",
        b"n" * 100 + b"/",
        b"/" + b"n" * 100,
        "usr/share/Ünïcödé".encode(),
        b"usr/\xff",
    ],
    ids=["101", "prefix-156", "name-101", "directory-101", "root", "utf-8", "bytes"],
)
def test_names_that_ustar_cannot_hold_are_pax_records(name: bytes) -> None:
    """Rule 1: neither ASCII nor short enough."""
    raw = header(name, REGULAR, **PLAIN)
    assert records(raw)[-1] == (b"path", name)
    assert only(raw).name == name.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("link", [b"l" * 101, "Ünï".encode(), b"\xff"])
def test_targets_that_ustar_cannot_hold_are_pax_records(link: bytes) -> None:
    """Rule 1, of link targets: there is no prefix for them."""
    raw = header(b"l", SYMLINK, link=link, **PLAIN)
    assert records(raw)[-1] == (b"linkpath", link)
    assert only(raw).link == link.decode("utf-8", "surrogateescape")
    assert len(header(b"l", SYMLINK, link=b"l" * 100, **PLAIN)) == 512


@pytest.mark.parametrize(
    ("field", "fits", "exceeds"),
    [
        ("uid", 0o7777777, 0o10000000),
        ("gid", 0o7777777, 2**32 - 2),
        ("mtime", 0o77777777777, 0o100000000000),
        ("mtime", 0, -1),
        ("size", 0o77777777777, 8 << 30),
    ],
)
def test_numbers_that_ustar_cannot_hold_are_pax_records(
    field: str, fits: int, exceeds: int
) -> None:
    """Rule 1: the header then has the nearest value it can hold, and 0 as size."""
    assert len(header(b"f", REGULAR, **(PLAIN | {field: fits}))) == 512
    raw = header(b"f", REGULAR, **(PLAIN | {field: exceeds}))
    assert records(raw) == [(field.encode(), b"%d" % exceeds)]
    reader = iter(TarReader(io.BytesIO(raw)))
    assert getattr(next(reader), field) == exceeds
    width = {"uid": (108, 115), "gid": (116, 123), "size": (124, 135), "mtime": (136, 147)}
    start, end = width[field]
    nearest = 0 if field == "size" or exceeds < 0 else fits
    assert int(raw[-512:][start:end], 8) == nearest


def test_file_flags_are_a_pax_record() -> None:
    """Rule 1: `SCHILY.fflags`, as star, bsdtar and podman on FreeBSD read it."""
    raw = header(b"f", REGULAR, fflags=b"schg,uarch", **PLAIN)
    assert records(raw) == [(b"SCHILY.fflags", b"schg,uarch")]
    assert only(raw).pax == (("SCHILY.fflags", "schg,uarch"),)


# ---------------------------------------------------------------- rules 2 to 4


def test_binary_names_are_announced() -> None:
    """Rule 2: `hdrcharset=BINARY` comes before what is not UTF-8, and only then."""
    raw = header(b"\xff", SYMLINK, link="é".encode(), **PLAIN)
    assert [key for key, _ in records(raw)] == [b"hdrcharset", b"path", b"linkpath"]
    assert records(raw)[0] == (b"hdrcharset", b"BINARY")
    raw = header("é".encode(), SYMLINK, link=b"\xff", **PLAIN)
    assert [key for key, _ in records(raw)] == [b"hdrcharset", b"path", b"linkpath"]
    assert b"hdrcharset" not in dict(records(header("é".encode(), REGULAR, **PLAIN)))


def test_records_have_one_order() -> None:
    """Rule 3."""
    raw = header(
        b"\xff",
        SYMLINK,
        mode=0,
        uid=1 << 30,
        gid=1 << 30,
        mtime=-1,
        size=1 << 40,
        link=b"x" * 101,
        fflags=b"schg",
    )
    assert [key.decode() for key, _ in records(raw)] == [
        "hdrcharset",
        "path",
        "linkpath",
        "size",
        "uid",
        "gid",
        "mtime",
        "SCHILY.fflags",
    ]


def test_the_extended_header_is_neutral() -> None:
    """Rule 3: nothing of the entry shows in it."""
    raw = header(b"\xc3\xa9", REGULAR, mode=0o4755, uid=5, gid=6, mtime=7)
    body = pax_record(b"path", b"\xc3\xa9")
    want = raw_header(b"././@PaxHeader", b"x", len(body))
    assert raw[:148] == want[:148]
    assert raw[157:329] == want[157:329]
    assert raw[512:1024] == padded(body)
    assert raw[1024:1124].rstrip(b"\0") == b"__"


def test_record_lengths_count_themselves() -> None:
    """The length of a record includes its own digits."""
    for size in range(1, 1200):
        value = b"v" * size
        raw = header(b"f", REGULAR, fflags=value, **PLAIN)
        want = pax_record(b"SCHILY.fflags", value)
        assert raw[512 : 512 + len(want)] == want, size


def test_padding_fills_the_last_block() -> None:
    """And is nothing where the block is full."""
    assert [len(padding(n)) for n in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
    assert bytes(1024) == END


@pytest.mark.parametrize(
    ("name", "link", "numbers", "fflags", "plain"),
    [
        (b"a", b"b", (0, 0, 0, 0), "", True),
        (N100, N100, (0o7777777, 0o7777777, 0o77777777777, 0o77777777777), "", True),
        (N100 + b"n", b"", (0, 0, 0, 0), "", False),
        (b"a", N100 + b"n", (0, 0, 0, 0), "", False),
        (b"\xc3\xa9", b"", (0, 0, 0, 0), "", False),
        (b"a", b"\xc3\xa9", (0, 0, 0, 0), "", False),
        (b"a", b"", (1 << 21, 0, 0, 0), "", False),
        (b"a", b"", (0, 1 << 21, 0, 0), "", False),
        (b"a", b"", (0, 0, 8 << 30, 0), "", False),
        (b"a", b"", (0, 0, 0, -1), "", False),
        (b"a", b"", (0, 0, 0, 1 << 33), "", False),
        (b"a", b"", (0, 0, 0, 0), "schg", False),
    ],
)
def test_is_plain_never_promises_too_much(
    name: bytes, link: bytes, numbers: Any, fflags: str, plain: bool
) -> None:
    """It may say no to what fits in one block, never yes to what does not."""
    uid, gid, size, mtime = numbers
    assert is_plain(name, link, numbers, fflags) is plain
    raw = header(
        name,
        SYMLINK,
        mode=0,
        uid=uid,
        gid=gid,
        mtime=mtime,
        size=size,
        link=link,
        fflags=fflags.encode(),
    )
    assert not plain or len(raw) == 512


# ---------------------------------------------------------------- other writers and readers


def _comparable(data: bytes) -> bytes:
    """Blank what tarfile does otherwise.

    Device numbers (newer versions leave them empty), the mode of extended headers, the names that
    readers of extended headers do not look at, and the checksums over these.
    """
    out = bytearray(data)
    start = 0
    extended = False
    while start < len(out) and out[start]:
        size = int(out[start + 124 : start + 135], 8)
        is_extension = out[start + 156 : start + 157] == b"x"
        out[start + 148 : start + 156] = bytes(8)
        out[start + 329 : start + 345] = bytes(16)
        if is_extension:
            out[start + 100 : start + 108] = bytes(8)
        if extended:
            out[start : start + 100] = b"n" * 100
            out[start + 157 : start + 257] = bytes(100)
        extended = is_extension
        start += 512 + size + -size % 512
    return bytes(out)


SIMPLE = [
    (b"bin/", DIRECTORY, b"", b""),
    (b"bin/cat", REGULAR, b"", b"meow\n"),
    (b"bin/dog", HARDLINK, b"bin/cat", b""),
    (b"bin/link", SYMLINK, b"../bin/cat", b""),
    (b"d" * 60 + b"/" + b"f" * 60, REGULAR, b"", bytes(512)),
]


def _ours(entries: list[tuple[bytes, bytes, bytes, bytes]]) -> bytes:
    out = b""
    for name, kind, link, content in entries:
        out += header(
            name, kind, mode=0o755, uid=3, gid=4, mtime=1_700_000_000, size=len(content), link=link
        )
        out += padded(content)
    return out + END


def _tarfiles(entries: list[tuple[bytes, bytes, bytes, bytes]], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as archive:
        for name, kind, link, content in entries:
            info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            info.type, info.mode, info.uid, info.gid = kind, 0o755, 3, 4
            info.mtime, info.size = 1_700_000_000, len(content)
            info.linkname = link.decode("utf-8", "surrogateescape")
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_simple_archives_are_those_of_tarfile_ustar() -> None:
    """Byte for byte but for device numbers; tarfile fills the last record with zeros."""
    ours, theirs = _ours(SIMPLE), _tarfiles(SIMPLE, tarfile.USTAR_FORMAT)
    assert _comparable(ours) == _comparable(theirs)[: len(ours)]
    assert not any(theirs[len(ours) :])


def test_pax_archives_are_those_of_tarfile_pax() -> None:
    """The same records in the same order; tarfile's extended header has mode 0."""
    entries = [
        *SIMPLE[:4],
        ("é".encode(), REGULAR, b"", b"x"),
        ("ü/".encode(), DIRECTORY, b"", b""),
        (b"n" * 120, SYMLINK, b"t" * 130, b""),
        (b"short", SYMLINK, "ö".encode(), b""),
    ]
    ours = _ours(entries)
    assert _comparable(ours) == _comparable(_tarfiles(entries, tarfile.PAX_FORMAT))[: len(ours)]


def _without_devices(archive: bytes) -> bytes:
    """Blank checksums and device numbers; GNU tar 1.35 leaves those of files empty."""
    blocks = [bytearray(archive[i : i + 512]) for i in range(0, len(archive), 512)]
    for block in blocks:
        if block[257:263] == b"ustar\0":
            block[148:156], block[329:345] = bytes(8), bytes(16)
    return b"".join(blocks)


def test_simple_archives_are_those_of_gnu_tar(tmp_path: Path) -> None:
    """GNU tar --format=ustar with numeric owners writes our bytes; tar 1.34 all of them."""
    program = require_program("tar")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/cat").write_bytes(b"meow\n")
    (tmp_path / "bin/dog").hardlink_to(tmp_path / "bin/cat")
    (tmp_path / "bin/link").symlink_to("../bin/cat")
    long = "d" * 60
    (tmp_path / long).mkdir()
    (tmp_path / long / ("f" * 60)).write_bytes(bytes(512))
    names = ["bin", "bin/cat", "bin/dog", "bin/link", f"{long}/{'f' * 60}"]
    for name in names:
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    made = subprocess.run(
        [
            *(program, "-c", "-b", "1", "--format=ustar", "--no-recursion", "--numeric-owner"),
            *("--owner=:3", "--group=:4", "--mode=0755", "--", *names),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert _without_devices(made.stdout) == _without_devices(_ours(SIMPLE))


def _same(member: Member, info: tarfile.TarInfo) -> bool:
    name = info.name + ("/" if info.isdir() else "")
    return (
        member.name.rstrip("/") == name.rstrip("/")
        and (member.kind, member.mode, member.uid, member.gid, member.mtime, member.size)
        == (info.type, info.mode, info.uid, info.gid, int(info.mtime), info.size)
        and (member.uname, member.gname, member.link) == (info.uname, info.gname, info.linkname)
    )


def _tree(root: Path) -> None:
    deep = root / ("long" * 20) / ("name" * 20) / ("file" * 20)
    deep.parent.mkdir(parents=True)
    deep.write_bytes(b"deep")
    (root / ("x" * 120)).write_bytes(b"long")
    (root / "Ünïcödé.txt").write_bytes(b"unicode")
    (root / "empty").write_bytes(b"")
    (root / "block").write_bytes(bytes(range(256)) * 2)
    (root / "hard").hardlink_to(root / "block")
    (root / "soft").symlink_to("y" * 150)
    (root / "setuid").write_bytes(b"s")
    (root / "setuid").chmod(0o6755)
    os.utime(root / "setuid", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))


@pytest.mark.parametrize(
    ("program", "form"),
    [
        ("tar", "gnu"),
        ("tar", "pax"),
        ("tar", "oldgnu"),
        ("bsdtar", "pax"),
        ("bsdtar", "gnutar"),
        ("bsdtar", "paxr"),
    ],
)
def test_archives_of_real_programs_are_read(program: str, form: str, tmp_path: Path) -> None:
    """GNU long names, pax records with sub-second times: all that libarchive and GNU tar write."""
    path = require_program(program)
    root = tmp_path / "root"
    root.mkdir()
    _tree(root)
    flag = ["--format", form] if program == "bsdtar" else [f"--format={form}"]
    raw = subprocess.run(
        [path, "-c", *flag, "-f", "-", "-C", str(root), "."], capture_output=True, check=True
    ).stdout
    reader = TarReader(io.BytesIO(raw))
    got = {}
    for member in reader:
        got[member.name.removeprefix("./").rstrip("/")] = (member, reader.read())
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        infos = list(archive)
    assert len(infos) == len(got) >= 10
    for info in infos:
        member, content = got[info.name.removeprefix("./").removeprefix(".")]
        assert _same(member, info), (member, info.get_info())
        path_ = root / info.name
        if member.kind == REGULAR:
            assert content == path_.read_bytes()
            assert member.mtime == int(path_.stat().st_mtime)


def test_archives_of_tarfile_are_read_in_every_format() -> None:
    """The inverse holds with a writer that is not ours."""
    entries = [*SIMPLE, (b"n" * 120, SYMLINK, b"t" * 130, b""), ("é".encode(), REGULAR, b"", b"x")]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        got = members(_tarfiles(entries, form))
        assert [m.name.encode() for m in got] == [name for name, *_ in entries]
        assert [m.link.encode() for m in got] == [link for _, _, link, _ in entries]


# ---------------------------------------------------------------- reading content


def test_content_is_read_once_or_skipped() -> None:
    """What is not read is skipped, also in the middle."""
    data = b""
    for name, content in ((b"a", b"A" * 700), (b"b", b"B" * 512), (b"c", b""), (b"d", b"D")):
        data += header(name, REGULAR, size=len(content), **PLAIN) + padded(content)
    reader = TarReader(io.BytesIO(data + END))
    got = {}
    for member in reader:
        if member.name == "a":
            got["a"] = next(reader.chunks())[:3]
        elif member.name != "b":
            got[member.name] = reader.read()
            assert reader.read() == b"", "a second time there is nothing"
    assert got == {"a": b"AAA", "c": b"", "d": b"D"}


def test_chunks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content of any size comes in pieces of CHUNK."""
    monkeypatch.setattr(tar, "CHUNK", 1000)
    data = header(b"a", REGULAR, size=2500, **PLAIN) + padded(b"x" * 2500) + END
    reader = TarReader(io.BytesIO(data))
    next(iter(reader))
    assert [len(chunk) for chunk in reader.chunks()] == [1000, 1000, 500]


class _Drip:
    """A source that gives less than was asked for, as pipes and decompressors may."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 100))


def test_a_source_may_give_less_than_asked() -> None:
    """Short reads are not the end."""
    data = _ours(SIMPLE)
    reader = TarReader(_Drip(data))
    contents = [reader.read() for _ in reader]
    assert contents == [content for *_, content in SIMPLE]


def test_trailing_zeros_are_the_last_record() -> None:
    """GNU tar fills a record of 20 blocks; up to 1 MiB of zeros is accepted."""
    plain = header(b"a", REGULAR, **PLAIN)
    assert len(members(plain + END + bytes(1 << 20))) == 1
    with pytest.raises(ArchiveError, match=r"^data after the end of the archive$"):
        members(plain + END + bytes((1 << 20) + 1))


# ---------------------------------------------------------------- reading what others write


def test_fields_of_a_member() -> None:
    """Names of owners are kept, without judgement; type NUL is a regular file (old ustar)."""
    raw = raw_header(
        b"a",
        b"\0",
        3,
        mode=number(0o100755, 8),
        uid=number(65534, 8),
        uname=b"root",
        gname=b"wheel",
        mtime=b" 1234567 \0  ",
    )
    member = only(raw + padded(b"abc"))
    assert member == Member(
        name="a",
        kind=REGULAR,
        mode=0o755,
        uid=65534,
        gid=0,
        uname="root",
        gname="wheel",
        mtime=0o1234567,
        size=3,
        link="",
        pax=(),
    )


def test_empty_numeric_fields_are_zero() -> None:
    """Some writers leave them blank."""
    assert only(raw_header(b"a", b"5", uid=b" " * 8, mtime=bytes(12))).mtime == 0


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\x80" + bytes(7) + b"\x01\x02\x03\x04", 0x01020304),
        (b"\xff" * 12, -1),
        (b"\xff" * 11 + b"\x85", -123),
        (b"\x80" + b"\xff" * 11, (1 << 88) - 1),
    ],
)
def test_base_256_numbers_are_read(raw: bytes, value: int) -> None:
    """GNU's extension for what octal cannot hold, two's complement."""
    assert only(raw_header(b"a", b"5", mtime=raw)).mtime == value


def test_pax_records_override_the_header() -> None:
    """Every field that a record may carry; fractions of seconds are cut off."""
    raw = pax_header(
        pax_record(b"path", b"new name"),
        pax_record(b"linkpath", b"target"),
        pax_record(b"uid", b"70000"),
        pax_record(b"gid", b"70001"),
        pax_record(b"uname", "rööt".encode()),
        pax_record(b"gname", b"whee"),
        pax_record(b"mtime", b"1700000000.987654321"),
        pax_record(b"atime", b"1"),
        pax_record(b"comment", b"ignored"),
        pax_record(b"VENDOR.key", b"kept"),
    ) + raw_header(b"old", b"2", link=b"old", uname=b"old")
    member = only(raw)
    assert (member.name, member.link, member.uid, member.gid) == (
        "new name",
        "target",
        70000,
        70001,
    )
    assert (member.uname, member.gname, member.mtime) == ("rööt", "whee", 1_700_000_000)
    assert member.pax == (("VENDOR.key", "kept"),)


def test_a_pax_size_overrides_the_header() -> None:
    """The content is as long as the record says."""
    raw = pax_header(pax_record(b"size", b"3")) + raw_header(b"a", b"0", 0) + padded(b"abc") + END
    reader = TarReader(io.BytesIO(raw))
    assert [reader.read() for _ in reader] == [b"abc"]


def test_gnu_long_names_are_read_and_pax_wins() -> None:
    """Type L and K as GNU tar writes them; a pax record is more exact."""
    name, link = b"n" * 300, b"l" * 200
    gnu: dict[str, Any] = {"magic": b"ustar  \0"}
    long = raw_header(b"././@LongLink", b"L", 301, **gnu) + padded(name + b"\0")
    target = raw_header(b"././@LongLink", b"K", 201, **gnu) + padded(link + b"\0")
    member = only(long + target + raw_header(b"n", b"2", link=b"l", **gnu))
    assert (member.name.encode(), member.link.encode()) == (name, link)
    pax = pax_header(pax_record(b"path", b"pax"))
    assert only(pax + long + raw_header(b"n", b"0", **gnu)).name == "pax"
    assert only(long + pax + raw_header(b"n", b"0", **gnu)).name == "pax"


def test_gnu_headers_have_no_prefix() -> None:
    """GNU keeps other things in the prefix field."""
    assert only(raw_header(b"a", prefix=b"junk", magic=b"ustar  \0")).name == "a"
    assert only(raw_header(b"a", prefix=b"dir")).name == "dir/a"


OK_ = raw_header(b"a")
REFUSED = {
    "empty": (b"", "archive ends within a header: got 0 bytes, want 512"),
    "short header": (OK_[:100], "archive ends within a header: got 100 bytes, want 512"),
    "no end": (OK_, "archive ends within a header: got 0 bytes, want 512"),
    "half an end": (OK_ + bytes(512), "archive ends within its end: got 0 bytes, want 512"),
    "one zero block": (OK_ + bytes(512) + OK_ + END, "a single zero block inside the archive"),
    "data behind": (OK_ + END + b"x", "data after the end of the archive"),
    "short content": (
        raw_header(b"a", b"0", 600) + bytes(512),
        "archive ends within content: got 512 bytes, want 600",
    ),
    "short padding": (
        raw_header(b"a", b"0", 10) + bytes(100),
        "archive ends within padding: got 90 bytes, want 502",
    ),
    "v7": (raw_header(b"a", magic=bytes(8)), "not a tar header: magic is missing"),
    "other magic": (raw_header(b"a", magic=b"ustar\0xx"), "got tar magic"),
    "checksum": (raw_header(b"a", checksum=b"000001\0 "), "tar header checksum: got "),
    "checksum text": (raw_header(b"a", checksum=b"checksum"), "got checksum b'checksum'"),
    "octal 8": (raw_header(b"a", uid=b"0000008\0"), "got uid b'0000008\\x00'"),
    "octal prefix": (raw_header(b"a", uid=b"0o00007\0"), "got uid "),
    "octal underscore": (raw_header(b"a", mode=b"00_0755\0"), "got mode "),
    "octal sign": (raw_header(b"a", mtime=b"-0000000001\0"), "got mtime "),
    "text behind NUL": (raw_header(b"a", gid=b"0\0garb\0\0"), "got gid "),
    "negative size": (
        raw_header(b"a", size_field=b"\xff" * 12),
        "got size -1 of a member, want 0 to 2^63-1",
    ),
    "huge size": (
        raw_header(b"a", size_field=b"\x80" + bytes(3) + b"\x80" + bytes(7)),
        f"got size {1 << 63} of a member, want 0 to 2^63-1",
    ),
    "huge pax size": (
        pax_header(pax_record(b"size", b"%d" % (1 << 63))) + OK_,
        f"got size {1 << 63} of a member, want 0 to 2^63-1",
    ),
    "global header": (
        pax_header(pax_record(b"path", b"x"), kind=b"g") + OK_,
        "a global extended header, which no package needs",
    ),
    "two extended headers": (
        pax_header(pax_record(b"uid", b"1")) * 2 + OK_,
        "two extensions of one kind for one member",
    ),
    "two long names": (
        (raw_header(b"././@LongLink", b"L", 2) + padded(b"x\0")) * 2 + OK_,
        "two extensions of one kind for one member",
    ),
    "extension alone": (
        pax_header(pax_record(b"uid", b"1")) + END,
        "not a tar header: magic is missing",
    ),
    "huge extension": (
        raw_header(b"x", b"x", (1 << 20) + 1),
        "tar extension of 1048577 bytes, want at most 1048576",
    ),
    "cut extension": (
        raw_header(b"x", b"x", 100) + bytes(50),
        "archive ends within a tar extension: got 50 bytes, want 100",
    ),
    "link with content": (
        raw_header(b"a", b"1", 5, link=b"b") + padded(b"hello"),
        "a link or directory with 5 bytes of content",
    ),
    "directory with content": (
        raw_header(b"a/", b"5", 512) + bytes(512),
        "a link or directory with 512 bytes of content",
    ),
    "symlink with pax size": (
        pax_header(pax_record(b"size", b"1")) + raw_header(b"a", b"2", link=b"b"),
        "a link or directory with 1 bytes of content",
    ),
    "old sparse": (raw_header(b"a", b"S"), "a sparse member"),
    "pax sparse": (
        pax_header(pax_record(b"GNU.sparse.major", b"1")) + OK_,
        "a sparse member, which cannot be represented in a layer",
    ),
    "pax NUL": (pax_header(pax_record(b"path", b"a\0b")) + OK_, "NUL in a pax record"),
    "pax size": (
        pax_header(pax_record(b"size", b"-1")) + OK_,
        "got size -1 of a member, want 0 to 2^63-1",
    ),
    "pax number": (pax_header(pax_record(b"uid", b"x")) + OK_, "got pax uid 'x', want a number"),
    "pax underscore": (pax_header(pax_record(b"size", b"1_0")) + OK_, "got pax size '1_0'"),
    "pax digits": (pax_header(pax_record(b"mtime", b"9" * 21)) + OK_, "got pax mtime "),
    "pax fraction": (pax_header(pax_record(b"mtime", b"1.x")) + OK_, "got pax mtime '1.x'"),
    "pax arabic": (
        pax_header(pax_record(b"mtime", "\u0661".encode())) + OK_,
        "got pax mtime '\u0661', want a number",
    ),
    "record too long": (pax_header(b"30 path=abc\n") + OK_, "malformed pax record"),
    "record too short": (pax_header(b"9 path=abc\n") + OK_, "malformed pax record"),
    "record of nothing": (pax_header(b"3 \n") + OK_, "malformed pax record"),
    "record without length": (pax_header(b"path=abc\n") + OK_, "malformed pax record"),
    "record without number": (pax_header(b"xx path=abc\n") + OK_, "malformed pax record"),
    "record without equals": (pax_header(b"11 path abc\n") + OK_, "malformed pax record"),
    "record without key": (pax_header(b"7 =abc\n") + OK_, "malformed pax record"),
    "record without newline": (pax_header(b"12 path=abcd") + OK_, "malformed pax record"),
    "record of zero": (pax_header(b"0 path=abc\n") + OK_, "malformed pax record"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_package_needs_is_refused(case: str) -> None:
    """Each with ArchiveError and what is wrong, never another exception."""
    data, message = REFUSED[case]
    with pytest.raises(ArchiveError) as caught:
        members(data + (END if case in _NEEDS_END else b""))
    assert str(caught.value).startswith(message)


_NEEDS_END = {case for case in REFUSED if case.startswith(("pax", "record", "two", "octal"))}


def test_unknown_types_are_left_to_the_caller() -> None:
    """Devices, FIFOs and contiguous files come out as what they are."""
    assert [only(raw_header(b"a", kind)).kind for kind in (b"3", b"4", b"6", b"7", b"Z")] == [
        b"3",
        b"4",
        b"6",
        b"7",
        b"Z",
    ]
