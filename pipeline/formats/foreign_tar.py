"""Tar archives that anybody wrote: a tolerant reader that says where each content lies.

`formats.tar` reads what packages need and no more. This reader takes every dialect that root file
systems and image layers come in: v7, ustar, GNU and pax headers, global pax headers, and sparse
members in the four ways of GNU tar and libarchive (`formats.sparse`). Specifications: POSIX.1-2017
pax Interchange Format; tar(5) of libarchive; the GNU tar manual, "Extensions".

What it makes of them (docs/format/normalisation.md, section Archives) is refused where it has no
meaning for a file system: volumes of a series, directory dumps, records that nobody here knows,
an archive without an end, data behind it.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import ArchiveError
from pipeline.formats import sparse, tar
from pipeline.formats.digest import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pipeline.formats.digest import Source
    from pipeline.formats.sparse import Extent

BLOCK: Final = tar.BLOCK
CHARACTER: Final = b"3"
BLOCK_DEVICE: Final = b"4"
FIFO: Final = b"6"

DEVICES: Final = {CHARACTER: "character device", BLOCK_DEVICE: "block device", FIFO: "FIFO"}

_MAX_EXTENSION: Final = 1 << 20
_KINDS: Final = {
    b"0": tar.REGULAR,
    b"\0": tar.REGULAR,
    b"7": tar.REGULAR,
    b"S": tar.REGULAR,
    b"1": tar.HARDLINK,
    b"2": tar.SYMLINK,
    b"3": CHARACTER,
    b"4": BLOCK_DEVICE,
    b"5": tar.DIRECTORY,
    b"6": FIFO,
}
_LONG_NAMES: Final = {b"L": "path", b"K": "linkpath"}
_GNU_MAGIC: Final = b"ustar  \0"
_SPARSE_HINT: Final = "pack the tree again with bsdtar --no-read-sparse"

_FIELDS: Final = frozenset({"path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime"})
_FLAGS: Final = "SCHILY.fflags"
_ATTRIBUTES: Final = ("SCHILY.xattr.", "LIBARCHIVE.xattr.", "SCHILY.acl.", "RHT.security.")
_MEANINGLESS: Final = frozenset(
    {
        *("hdrcharset", "charset", "comment", "atime", "ctime", "LIBARCHIVE.creationtime"),
        "LIBARCHIVE.symlinktype",
        *("SCHILY.dev", "SCHILY.ino", "SCHILY.nlink", "SCHILY.devmajor", "SCHILY.devminor"),
    }
)
"""Records that no client applies to a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignMember:
    """One member of an archive, whatever dialect it is in."""

    name: str
    """As written, without judgement; undecodable bytes are surrogates."""
    kind: bytes
    """One of the constants of `formats.tar`, or of `DEVICES`."""
    mode: int
    uid: int
    gid: int
    uname: str
    gname: str
    mtime: int
    """Whole seconds, rounded down."""
    size: int
    """Of the file, holes included."""
    link: str
    flags: str
    """As SCHILY.fflags has them."""
    attributes: tuple[str, ...]
    """Names of extended attributes and access control lists, sorted."""
    extents: tuple[Extent, ...]
    """What of the file is stored, and where; the rest is holes."""

    @property
    def is_sparse(self) -> bool:
        """Whether the file has holes."""
        return sum(extent.size for extent in self.extents) != self.size


def expand(member: ForeignMember, stored: Callable[[Extent], Iterable[bytes]]) -> Iterator[bytes]:
    """Yield a file's content in pieces of bounded size, holes as zeros.

    Args:
        member: the file.
        stored: yields what the archive has of one extent; called in their order.
    """
    cursor = 0
    for extent in member.extents:
        yield from _zeros(extent.offset - cursor)
        yield from stored(extent)
        cursor = extent.offset + extent.size
    yield from _zeros(member.size - cursor)


def _zeros(size: int) -> Iterator[bytes]:
    for start in range(0, size, CHUNK):
        yield bytes(min(CHUNK, size - start))


class ForeignTarReader:
    """Iterate over the members of a tar stream.

    After each member its content may be read, once, by `chunks`; what is not read is skipped.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0
        self._end = 0
        self._global: dict[str, str] = {}
        self._member: ForeignMember | None = None

    def __iter__(self) -> Iterator[ForeignMember]:
        while True:
            self._advance(self._end)
            block = self._read(BLOCK, "a header")
            if block.count(0) == BLOCK:
                self._finish()
                return
            member = self._next(block)
            if member is not None:
                self._member = member
                yield member

    def chunks(self) -> Iterator[bytes]:
        """Yield the content of the current member in pieces of bounded size, holes as zeros."""
        assert self._member is not None
        return expand(self._member, self._stored)

    def _stored(self, extent: Extent) -> Iterator[bytes]:
        left = extent.size
        while left:
            data = self._read(min(left, CHUNK), "content")
            left -= len(data)
            yield data

    # ------------------------------------------------------------ the stream

    def _read(self, size: int, what: str) -> bytes:
        pieces = []
        got = 0
        while got < size:
            data = self._source.read(size - got)
            if not data:
                raise ArchiveError(
                    f"archive ends within {what}: got {got} bytes, want {size}",
                    hint="it is truncated; get it again",
                )
            pieces.append(data)
            got += len(data)
        self._position += got
        return b"".join(pieces)

    def _advance(self, position: int) -> None:
        while self._position < position:
            self._read(min(position - self._position, CHUNK), "content")

    def _finish(self) -> None:
        """Read to the end of the stream: zeros, as many as the writer's records wanted."""
        while data := self._source.read(CHUNK):
            if data.count(0) != len(data):
                raise ArchiveError(
                    "data after the end of the archive",
                    hint="archives that were appended to each other: unpack both, and pack again",
                )

    # ------------------------------------------------------------ headers

    def _next(self, block: bytes) -> ForeignMember | None:
        """Read the headers of one member; None for what is none (a label, global records)."""
        records: list[tuple[str, str]] = []
        while True:
            info = _parse(block)
            if info.type in (b"x", b"X"):
                records += _records(self._extension(info.size))
            elif info.type in _LONG_NAMES:
                text = self._extension(info.size).split(b"\0", 1)[0]
                records.append((_LONG_NAMES[info.type], text.decode("utf-8", "surrogateescape")))
            elif info.type in (b"g", b"V"):
                if records:
                    raise ArchiveError("an extended header that no member follows")
                self._global.update(_records(self._extension(info.size)))
                self._end = self._position
                return None
            else:
                return self._build(info, block, records)
            block = self._read(BLOCK, "a header")

    def _extension(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_EXTENSION:
            raise ArchiveError(f"tar extension of {size} bytes, want at most {_MAX_EXTENSION}")
        data = self._read(size, "a tar extension")
        self._read(-size % BLOCK, "padding")
        return data

    def _build(
        self, info: tarfile.TarInfo, block: bytes, records: list[tuple[str, str]]
    ) -> ForeignMember:
        merged = self._global | dict(records)
        pax = {key: value for key, value in merged.items() if value}
        name = pax.get(f"{sparse.PREFIX}name", pax.get("path", info.name))
        if info.type not in _KINDS:
            raise ArchiveError(f"{name!r}: member of type {info.type!r}, which is no file")
        kind = _KINDS[info.type]
        size = _number(pax, "size", info.size)
        if kind == tar.REGULAR and name.endswith("/"):  # the old way of writing a directory
            kind = tar.DIRECTORY
        if size < 0 or (size and kind != tar.REGULAR):
            raise ArchiveError(
                f"{name!r}: a link, directory or device with {size} bytes of content"
            )
        try:
            real_size, extents = self._content(info.type, block, records, size)
        except ArchiveError as e:
            raise e.within(f"{name!r}") from None
        _refuse_unknown(name, pax)
        return ForeignMember(
            name=name,
            kind=kind,
            mode=info.mode & 0o7777,
            uid=_number(pax, "uid", info.uid),
            gid=_number(pax, "gid", info.gid),
            uname=merged.get("uname", info.uname),
            gname=merged.get("gname", info.gname),
            mtime=_seconds(pax["mtime"]) if "mtime" in pax else int(info.mtime),
            size=real_size,
            link=pax.get("linkpath", info.linkname),
            flags=pax.get(_FLAGS, ""),
            attributes=tuple(sorted({_attribute(k) for k in pax if k.startswith(_ATTRIBUTES)})),
            extents=extents,
        )

    def _content(
        self, kind: bytes, block: bytes, records: list[tuple[str, str]], size: int
    ) -> tuple[int, tuple[Extent, ...]]:
        """Return a file's size and what of it is stored; set where the member ends."""
        is_pax = any(key.startswith(sparse.PREFIX) for key, _ in records)
        if kind == b"S":
            if block[257:265] != _GNU_MAGIC:
                raise ArchiveError("a sparse member in the format of star", hint=_SPARSE_HINT)
            layout = sparse.read_gnu_map(block, lambda: self._read(BLOCK, "a sparse map"))
            self._end = self._position + size + -size % BLOCK
        else:
            self._end = self._position + size + -size % BLOCK
            if not is_pax:
                whole = (sparse.Extent(0, self._position, size),) if size else ()
                return size, whole
            layout, blocks = sparse.read_pax_map(records, lambda: self._read(BLOCK, "a sparse map"))
            size -= blocks * BLOCK
        return layout.size, layout.extents(self._position, size)


def _parse(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as e:
        raise ArchiveError(f"damaged tar header: {e}") from None
    if block[257:265] == _GNU_MAGIC:  # where ustar has a prefix, GNU has times
        info.name = block[:100].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return info


def _records(raw: bytes) -> list[tuple[str, str]]:
    """Split pax records; a key may come twice (sparse format 0.0)."""
    result = []
    position = 0
    while position < len(raw):
        space = raw.find(b" ", position, position + 12)
        digits = raw[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        record = raw[space + 1 : position + length]
        key, equals, value = record.partition(b"=")
        if not (key and equals and record.endswith(b"\n")) or position + length > len(raw):
            raise ArchiveError("malformed pax record")
        result.append((_text(key), _text(value[:-1])))
        position += length
    return result


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _refuse_unknown(name: str, pax: Mapping[str, str]) -> None:
    for key in sorted(pax.keys() - _FIELDS - _MEANINGLESS - {_FLAGS}):
        if not key.startswith((*_ATTRIBUTES, sparse.PREFIX)):
            raise ArchiveError(
                f"{name!r}: pax record {key!r}, whose meaning would be lost",
                hint="pack the tree again without it",
            )


def _attribute(key: str) -> str:
    """Return the name of an attribute: what libarchive writes twice is one."""
    for prefix in ("SCHILY.xattr.", "LIBARCHIVE.xattr."):
        key = key.removeprefix(prefix)
    return key


_NUMBER: Final = re.compile("[0-9]{1,20}")
_SECONDS: Final = re.compile(r"(-?)([0-9]{1,20})(\.[0-9]*)?")


def _number(pax: Mapping[str, str], key: str, default: int) -> int:
    if key not in pax:
        return default
    if _NUMBER.fullmatch(pax[key]) is None:
        raise ArchiveError(f"got pax {key} {pax[key][:40]!r}, want a number")
    return int(pax[key])


def _seconds(text: str) -> int:
    """Return the whole seconds of a time, rounded down as time_t and ustar have them."""
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise ArchiveError(f"got pax mtime {text[:40]!r}, want a number")
    seconds = int(match[2])
    if not match[1]:
        return seconds
    return -seconds - bool((match[3] or "").strip(".0"))
