"""Tar archives: a strict streaming reader, and the canonical writer of output format 1.

Specification: POSIX.1-2017 pax Interchange Format; the reader also takes GNU long names, as
libarchive and pkg(8) produce or accept them.

The writer (docs/FORMAT.md, section Tar):

1. ustar headers; a pax extended header only where ustar cannot hold a value: a name or link target
   that is not ASCII or does not fit (name 100, or prefix 155 + name 100, split at the first slash
   that works), a size of 8 GiB or more, an id above 0o7777777, a time outside 0..0o77777777777,
   and file flags (`SCHILY.fflags`).
2. A name that is not UTF-8 is preceded by the record `hdrcharset=BINARY`.
3. Pax records in the order hdrcharset, path, linkpath, size, uid, gid, mtime, SCHILY.fflags. The
   extended header itself is named `././@PaxHeader`, mode 0644, owner 0:0, time 0.
4. uname and gname empty, device numbers zero, two zero blocks at the end, no further padding.

The reader refuses what no package needs: global pax headers, two extensions of one kind for one
member, sparse members, links and directories with content, v7 headers, damaged checksums, an
archive that does not end with two zero blocks, anything but zeros behind them.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import ArchiveError
from pipeline.formats.digest import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.formats.digest import Source

BLOCK: Final = 512
_ZERO: Final = bytes(BLOCK)
END: Final = bytes(2 * BLOCK)
"""The end of an archive."""

REGULAR: Final = b"0"
HARDLINK: Final = b"1"
SYMLINK: Final = b"2"
DIRECTORY: Final = b"5"

_MAX_EXTENSION: Final = 1 << 20
"""Bytes of one pax header or GNU long name; paths and link targets are far below."""
_MAX_PADDING: Final = 1 << 20
"""Zeros that may follow the end of an archive: a tape record at the most."""

_STRUCT: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_MAGIC: Final = b"ustar\x0000"
_GNU_MAGIC: Final = b"ustar  \x00"
_ID_MAX: Final = 0o7777777
_TIME_MAX: Final = 0o77777777777
_SIZE_MAX: Final = 0o77777777777
_NAME: Final = 100
_PREFIX: Final = 155


# ---------------------------------------------------------------- writing


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of `size` bytes of content."""
    return bytes(-size % BLOCK)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Split a long name into ustar's prefix and name, or return None if it does not fit."""
    if len(name) <= _NAME:
        return b"", name
    slash = name.find(b"/", len(name) - _NAME - 1)
    if slash <= 0 or slash > _PREFIX or slash + 1 == len(name):
        return None
    return name[:slash], name[slash + 1 :]


def _block(
    name: bytes,
    prefix: bytes,
    kind: bytes,
    link: bytes,
    numbers: tuple[int, int, int, int, int],
) -> bytes:
    block = _STRUCT.pack(
        name,
        *_octal(*numbers),
        b"        ",
        kind,
        link,
        _MAGIC,
        b"",
        b"",
        b"0000000",
        b"0000000",
        prefix,
    )
    return b"%b%06o\0 %b" % (block[:148], _byte_sum(block), block[156:])


@functools.lru_cache(maxsize=1024)
def _octal(mode: int, uid: int, gid: int, size: int, mtime: int) -> tuple[bytes, ...]:
    return (
        b"%07o" % mode,
        b"%07o" % uid,
        b"%07o" % gid,
        b"%011o" % size,
        b"%011o" % mtime,
    )


def _byte_sum(block: bytes) -> int:
    """Add up the bytes of a block.

    Of ASCII, which nearly every header is, it is at most 512 * 127, and the low half of an Adler-32
    is one more than the sum modulo 65521 (RFC 1950, section 8.2): ten times as fast as `sum`.
    """
    return (zlib.adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    total = length + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def _ascii(text: bytes) -> bytes:
    return bytes(c if c < 0x80 else 0x5F for c in text[:_NAME])  # noqa: PLR2004


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_plain(name: bytes, link: bytes, numbers: tuple[int, int, int, int], fflags: str) -> bool:
    """Say whether an entry certainly needs one block only (it may although this says no).

    Args:
        name: as in `header`.
        link: as in `header`.
        numbers: uid, gid, size, mtime.
        fflags: as in `header`.
    """
    uid, gid, size, mtime = numbers
    return (
        not fflags
        and len(name) <= _NAME
        and len(link) <= _NAME
        and uid <= _ID_MAX
        and gid <= _ID_MAX
        and size <= _SIZE_MAX
        and 0 <= mtime <= _TIME_MAX
        and name.isascii()
        and link.isascii()
    )


def header(  # noqa: PLR0913  - the fields of a tar header are what they are
    name: bytes,
    kind: bytes,
    *,
    mode: int,
    uid: int,
    gid: int,
    mtime: int,
    size: int = 0,
    link: bytes = b"",
    fflags: bytes = b"",
) -> bytes:
    """Return the block or blocks that announce one entry.

    Args:
        name: relative path; a directory's ends in a slash.
        kind: REGULAR, HARDLINK, SYMLINK or DIRECTORY.
        mode: permission bits, 0 to 0o7777.
        uid: owner.
        gid: group.
        mtime: seconds since the epoch.
        size: bytes of content that follow.
        link: target of a hard link (a name in the archive) or of a symlink (verbatim).
        fflags: file flags as chflags(1) names them, comma-separated.
    """
    split = _split(name) if name.isascii() else None
    if (
        split is not None
        and link.isascii()
        and len(link) <= _NAME
        and 0 <= mtime <= _TIME_MAX
        and size <= _SIZE_MAX
        and uid <= _ID_MAX
        and gid <= _ID_MAX
        and not fflags
    ):
        return _block(split[1], split[0], kind, link, (mode, uid, gid, size, mtime))
    records = []
    if split is None:
        records.append((b"path", name))
    if not (link.isascii() and len(link) <= _NAME):
        records.append((b"linkpath", link))
    if size > _SIZE_MAX:
        records.append((b"size", b"%d" % size))
    if uid > _ID_MAX:
        records.append((b"uid", b"%d" % uid))
    if gid > _ID_MAX:
        records.append((b"gid", b"%d" % gid))
    if not 0 <= mtime <= _TIME_MAX:
        records.append((b"mtime", b"%d" % mtime))
    if fflags:
        records.append((b"SCHILY.fflags", fflags))
    if not all(_is_utf8(value) for _, value in records):
        records.insert(0, (b"hdrcharset", b"BINARY"))
    body = b"".join(_record(key, value) for key, value in records)
    prefix, short = split if split is not None else (b"", _ascii(name))
    return b"".join(
        (
            _block(b"././@PaxHeader", b"", b"x", b"", (0o644, 0, 0, len(body), 0)),
            body,
            padding(len(body)),
            _block(
                short,
                prefix,
                kind,
                _ascii(link),
                (
                    mode,
                    min(uid, _ID_MAX),
                    min(gid, _ID_MAX),
                    size if size <= _SIZE_MAX else 0,
                    min(max(mtime, 0), _TIME_MAX),
                ),
            ),
        )
    )


# ---------------------------------------------------------------- reading


class Member(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One member of an archive as its headers describe it."""

    name: str
    """As written, without judgement; undecodable bytes are surrogates."""
    kind: bytes
    """The type flag; REGULAR also for the old NUL flag."""
    mode: int
    uid: int
    gid: int
    uname: str
    gname: str
    mtime: int
    """Whole seconds."""
    size: int
    link: str
    pax: tuple[tuple[str, str], ...]
    """Records that are not one of the fields above, e.g. SCHILY.fflags."""


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


_owner = functools.lru_cache(maxsize=256)(_text)
"""The same few users and groups, member after member."""


@functools.lru_cache(maxsize=1024)
def _number(raw: bytes, what: str) -> int:
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big", signed=False) & ((1 << (8 * len(raw) - 1)) - 1)
        if raw[0] & 0x40:
            value -= 1 << (8 * len(raw) - 1)
        return value
    text = raw.strip(b" \0")
    if not text:
        return 0
    if text.strip(b"01234567"):
        raise ArchiveError(f"got {what} {raw!r} in a tar header, want octal digits")
    return int(text, 8)


_FIELDS: Final = frozenset({"path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime"})
_IGNORED: Final = frozenset({"hdrcharset", "atime", "ctime", "LIBARCHIVE.creationtime", "comment"})


class TarReader:
    """Iterate over the members of a tar stream; content is read in between.

    After each member call `read()` or `chunks()` at most once; what is not read is skipped.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._pad = 0

    def __iter__(self) -> Iterator[Member]:
        while True:
            block = self._header()
            if block == _ZERO:
                self._finish()
                return
            yield self._member(block)

    def read(self) -> bytes:
        """Return the whole content of the current member."""
        data = self._exactly(self._left, "content")
        self._left = 0
        return data

    def chunks(self) -> Iterator[bytes]:
        """Yield the content of the current member in pieces of bounded size."""
        while self._left:
            data = self._exactly(min(self._left, CHUNK), "content")
            self._left -= len(data)
            yield data

    def _up_to(self, size: int) -> bytes:
        data = self._source.read(size) if size else b""
        if len(data) == size:
            return data
        pieces = [data]
        got = len(data)
        while got < size and (data := self._source.read(size - got)):
            pieces.append(data)
            got += len(data)
        return b"".join(pieces)

    def _exactly(self, size: int, what: str) -> bytes:
        data = self._up_to(size)
        if len(data) != size:
            raise _cut(what, len(data), size)
        return data

    def _header(self) -> bytes:
        """Pass over what is left of a member; return the block behind it."""
        for _ in self.chunks():
            pass
        pad, self._pad = self._pad, 0
        data = self._up_to(pad + BLOCK)
        if len(data) < pad:
            raise _cut("padding", len(data), pad)
        if len(data) < pad + BLOCK:
            raise _cut("a header", len(data) - pad, BLOCK)
        return data[pad:]

    def _finish(self) -> None:
        if self._exactly(BLOCK, "its end") != _ZERO:
            raise ArchiveError("a single zero block inside the archive")
        extra = 0
        while data := self._source.read(1 << 16):
            extra += len(data)
            if data.count(0) != len(data) or extra > _MAX_PADDING:
                raise ArchiveError("data after the end of the archive")

    def _extension(self, size: int) -> bytes:
        if size > _MAX_EXTENSION:
            raise ArchiveError(f"tar extension of {size} bytes, want at most {_MAX_EXTENSION}")
        data = self._exactly(size, "a tar extension")
        self._exactly(-size % BLOCK, "padding")
        return data

    def _member(self, block: bytes) -> Member:
        pax: dict[str, str] = {}
        seen: set[bytes] = set()
        while True:
            fields = _verified(block)
            kind = fields[7]
            size = _checked_size(_number(fields[4], "size"))
            if kind in seen:
                raise ArchiveError("two extensions of one kind for one member")
            seen.add(kind)
            if kind == b"x":
                pax.update(_pax_records(self._extension(size)))
            elif kind in (b"L", b"K"):
                key = "path" if kind == b"L" else "linkpath"
                pax.setdefault(key, _text(self._extension(size)))
            elif kind == b"g":
                raise ArchiveError("a global extended header, which no package needs")
            else:
                break
            block = self._exactly(BLOCK, "a header")
        member = _build(fields, pax, kind, size)
        self._left = member.size
        self._pad = -member.size % BLOCK
        return member


def _cut(what: str, got: int, want: int) -> ArchiveError:
    return ArchiveError(f"archive ends within {what}: got {got} bytes, want {want}")


def _verified(block: bytes) -> tuple[bytes, ...]:
    fields = _STRUCT.unpack(block)
    if fields[9] not in (_MAGIC, _GNU_MAGIC):
        if block[257:262] != b"ustar":
            raise ArchiveError("not a tar header: magic is missing")
        raise ArchiveError(f"got tar magic {block[257:265]!r}, want ustar")
    want = _number(fields[6], "checksum")
    got = _byte_sum(block) - sum(fields[6]) + 8 * 0x20
    if got != want:
        raise ArchiveError(f"tar header checksum: got {got}, want {want}")
    return fields


def _pax_records(raw: bytes) -> dict[str, str]:
    records: dict[str, str] = {}
    position = 0
    while position < len(raw):
        space = raw.find(b" ", position, position + 12)
        digits = raw[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        record = raw[space + 1 : position + length]
        equals = record.find(b"=")
        whole = space + 1 - position < length <= len(raw) - position
        if not whole or equals < 1 or record[-1:] != b"\n":
            raise ArchiveError("malformed pax record")
        value = record[equals + 1 : -1]
        if b"\0" in value:
            raise ArchiveError("NUL in a pax record")
        key = record[:equals].decode("utf-8", "surrogateescape")
        if key.startswith("GNU.sparse."):
            raise ArchiveError("a sparse member, which cannot be represented in a layer")
        records[key] = value.decode("utf-8", "surrogateescape")
        position += length
    return records


_PAX_NUMBER_RE: Final = re.compile(r"(-?[0-9]{1,20})(?:\.[0-9]*)?")


def _pax_number(text: str, what: str) -> int:
    match = _PAX_NUMBER_RE.fullmatch(text)
    if match is None:
        raise ArchiveError(f"got pax {what} {text[:40]!r}, want a number")
    return int(match[1])


def _checked_size(size: int) -> int:
    if not 0 <= size < 1 << 63:
        raise ArchiveError(f"got size {size} of a member, want 0 to 2^63-1")
    return size


def _build(fields: tuple[bytes, ...], pax: dict[str, str], kind: bytes, size: int) -> Member:
    name = pax.get("path")
    if name is None:
        name = _text(fields[0])
        prefix = _text(fields[14])
        if prefix and fields[9] == _MAGIC:
            name = f"{prefix}/{name}"
    link = pax.get("linkpath")
    size = _checked_size(_pax_number(pax["size"], "size")) if "size" in pax else size
    kind = REGULAR if kind == b"\0" else kind
    if size and kind in (HARDLINK, SYMLINK, DIRECTORY):
        raise ArchiveError(f"a link or directory with {size} bytes of content")
    if kind == b"S":
        raise ArchiveError("a sparse member, which cannot be represented in a layer")
    return Member(
        name=name,
        kind=kind,
        mode=_number(fields[1], "mode") & 0o7777,
        uid=_pax_number(pax["uid"], "uid") if "uid" in pax else _number(fields[2], "uid"),
        gid=_pax_number(pax["gid"], "gid") if "gid" in pax else _number(fields[3], "gid"),
        uname=pax["uname"] if "uname" in pax else _owner(fields[10]),
        gname=pax["gname"] if "gname" in pax else _owner(fields[11]),
        mtime=_pax_number(pax["mtime"], "mtime") if "mtime" in pax else _number(fields[5], "mtime"),
        size=size,
        link=_text(fields[8]) if link is None else link,
        pax=tuple((k, v) for k, v in pax.items() if k not in _FIELDS and k not in _IGNORED)
        if pax
        else (),
    )
