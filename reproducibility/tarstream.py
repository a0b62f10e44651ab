"""A tolerant reader of tar streams, for archives that others wrote.

`pipeline.formats.tar` refuses what no package of ours may hold. To compare with anybody's image,
this one reads on: v7, ustar, pax and GNU headers, global pax headers, sparse members (whose stored
bytes are compared, holes and all), records after the end. It keeps what tells one writer from
another: the dialect, a digest of the header blocks, and what follows the last member.
"""

from __future__ import annotations

import hashlib
import struct
import tarfile
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.errors import ArchiveError
from pipeline.formats.digest import CHUNK
from reproducibility.entries import Entry, Kind, normalise_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.formats.digest import Source

BLOCK: Final = tarfile.BLOCKSIZE

_MAX_EXTENSION: Final = 16 << 20
_MAX_PADDING: Final = 16 << 20
_KINDS: Final = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.FIFOTYPE: Kind.FIFO,
}
_FLAGS: Final = "SCHILY.fflags"
_FIELDS: Final = frozenset(
    {"path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime", _FLAGS}
)
_WRITING: Final = frozenset({"hdrcharset", "atime", "ctime", "comment", "LIBARCHIVE.creationtime"})
"""Records that no client applies; they show as another way of writing."""
_RAW: Final = 12
_USTAR: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_GNU_MAGIC: Final = b"ustar  \0"


class TarStream:
    """Iterate over the members of a tar stream; content is read in between, or skipped."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._pad = 0
        self._global: dict[str, str] = {}
        self._headers = hashlib.sha256()
        self._size = 0
        self.trailer = ""
        """After the last member: what ends the archive."""

    def __iter__(self) -> Iterator[Entry]:
        ordinal = 0
        while True:
            self._skip()
            self._headers = hashlib.sha256()
            block = self._block()
            if block is None:
                self.trailer = "no end marker"
                return
            if block.count(0) == BLOCK:
                self._finish()
                return
            yield self._entry(block, ordinal)
            ordinal += 1

    def chunks(self) -> Iterator[bytes]:
        """Yield the content of the current member in pieces of bounded size."""
        while self._left:
            data = self._read(min(self._left, CHUNK))
            if not data:
                raise ArchiveError(f"archive ends within content, {self._left} bytes early")
            self._left -= len(data)
            yield data

    # ------------------------------------------------------------ blocks

    def _read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._size += len(data)
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        while len(data) < size:
            more = self._read(size - len(data))
            if not more:
                raise ArchiveError(f"archive ends {size - len(data)} bytes early")
            data += more
        return data

    def _block(self) -> bytes | None:
        """Read a header block; None at the end of the stream."""
        data = self._read(BLOCK)
        if not data:
            return None
        return data if len(data) == BLOCK else data + self._exactly(BLOCK - len(data))

    def _skip(self) -> None:
        for _ in self.chunks():
            pass
        if self._pad:
            self._exactly(self._pad)
            self._pad = 0

    def _finish(self) -> None:
        zeros = BLOCK
        while data := self._read(CHUNK):
            if data.count(0) != len(data):
                self.trailer = f"{zeros} zero bytes, then more data"
                return
            zeros += len(data)
            if zeros > _MAX_PADDING:
                raise ArchiveError(f"more than {_MAX_PADDING} zeros after the archive")
        is_padded = self._size % tarfile.RECORDSIZE == 0
        self.trailer = "zeros up to a whole record" if is_padded else f"{zeros} zero bytes"

    # ------------------------------------------------------------ headers

    def _entry(self, block: bytes, ordinal: int) -> Entry:
        pax: dict[str, str] = {}
        dialects = []
        while True:
            self._headers.update(block)
            info = _parse(block)
            dialects.append(_dialect(block))
            if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                pax |= _records(self._extension(info.size))
                dialects.append("pax")
            elif info.type == tarfile.XGLTYPE:
                self._global |= _records(self._extension(info.size))
                dialects.append("pax")
            elif info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                key = "path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
                text = self._extension(info.size).split(b"\0", 1)[0]
                pax[key] = text.decode("utf-8", "surrogateescape")
                dialects.append("gnu")
            else:
                break
            following = self._block()
            if following is None:
                raise ArchiveError("archive ends after an extended header")
            block = following
        if info.type == tarfile.GNUTYPE_SPARSE:
            self._sparse_extensions(block)
        dialect = next((d for d in ("pax", "gnu", "v7") if d in dialects), "ustar")
        return self._build(info, {**self._global, **pax}, dialect, ordinal)

    def _extension(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_EXTENSION:
            raise ArchiveError(f"extended header of {size} bytes")
        data = self._exactly(size + -size % BLOCK)
        self._headers.update(data)
        return data[:size]

    def _sparse_extensions(self, block: bytes) -> None:
        extended = block[482]
        while extended:
            block = self._exactly(BLOCK)
            self._headers.update(block)
            extended = block[504]

    def _build(self, info: _Header, pax: Mapping[str, str], dialect: str, ordinal: int) -> Entry:
        kind = _KINDS.get(info.type, Kind.OTHER)
        size = _number(pax, "size", info.size)
        has_content = kind in (Kind.FILE, Kind.OTHER)
        if size < 0:
            raise ArchiveError(f"a member of {size} bytes")
        self._left = size if has_content else 0
        self._pad = -self._left % BLOCK
        seconds, fraction = _time(pax.get("mtime"), info.mtime)
        link = pax.get("linkpath", info.linkname)
        return Entry(
            path=normalise_path(pax.get("GNU.sparse.name", pax.get("path", info.name))),
            kind=kind,
            mode=info.mode & 0o7777,
            uid=_number(pax, "uid", info.uid),
            gid=_number(pax, "gid", info.gid),
            uname=pax.get("uname", info.uname),
            gname=pax.get("gname", info.gname),
            mtime=seconds,
            fraction=fraction,
            size=self._left,
            link=normalise_path(link) if kind is Kind.HARDLINK else link,
            flags=pax.get(_FLAGS, ""),
            device=f"{info.devmajor},{info.devminor}"
            if kind in (Kind.CHARACTER, Kind.BLOCK)
            else "",
            attributes=tuple(
                sorted((k, v) for k, v in pax.items() if k not in _FIELDS and k not in _WRITING)
            ),
            dialect=dialect,
            form=_form(info, pax),
            raw=self._headers.digest()[:_RAW],
            ordinal=ordinal,
            digest="",
            content=ordinal,
        )


def _form(info: _Header, pax: Mapping[str, str]) -> str:
    words = [f"pax {name}" for name in sorted(pax)]
    if info.mode & ~0o7777:
        words.append("type bits in mode")
    return ", ".join(words) or "plain"


class _Header(NamedTuple):
    """The fields of a header block."""

    name: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    type: bytes
    linkname: str
    uname: str
    gname: str
    devmajor: int
    devminor: int


def _parse(block: bytes) -> _Header:
    """Read a header; `tarfile` knows every way in which its numbers have been written."""
    try:
        return _parse_ustar(block) if block[257:263] == b"ustar\0" else _parse_any(block)
    except ValueError:
        return _parse_any(block)


def _parse_ustar(block: bytes) -> _Header:
    """Read the common kind fast; ValueError for numbers of another form."""
    f = _USTAR.unpack(block)
    if sum(block) - sum(f[6]) + 8 * 0x20 != _octal(f[6]):
        raise ValueError("checksum")
    name, prefix = _text(f[0]), _text(f[14])
    return _Header(
        name=f"{prefix}/{name}" if prefix else name,
        mode=_octal(f[1]),
        uid=_octal(f[2]),
        gid=_octal(f[3]),
        size=_octal(f[4]),
        mtime=_octal(f[5]),
        type=f[7],
        linkname=_text(f[8]),
        uname=_text(f[10]),
        gname=_text(f[11]),
        devmajor=_octal(f[12]),
        devminor=_octal(f[13]),
    )


def _octal(field: bytes) -> int:
    digits = field.rstrip(b"\0 ")
    return int(digits, 8) if digits else 0


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _parse_any(block: bytes) -> _Header:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as e:
        raise ArchiveError(f"damaged tar header: {e}") from None
    name = info.name
    if block[257:265] == _GNU_MAGIC:  # where ustar has a prefix, GNU has times
        name = _text(block[:100])
    return _Header(
        name=name,
        mode=info.mode,
        uid=info.uid,
        gid=info.gid,
        size=info.size,
        mtime=int(info.mtime),
        type=info.type,
        linkname=info.linkname,
        uname=info.uname,
        gname=info.gname,
        devmajor=info.devmajor,
        devminor=info.devminor,
    )


def _dialect(block: bytes) -> str:
    magic = block[257:265]
    if magic == _GNU_MAGIC:
        return "gnu"
    return "ustar" if magic.startswith(b"ustar") else "v7"


def _records(raw: bytes) -> dict[str, str]:
    records: dict[str, str] = {}
    position = 0
    while position < len(raw):
        space = raw.find(b" ", position, position + 20)
        digits = raw[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        if length < len(digits) + 3 or position + length > len(raw):
            if raw[position:].strip(b"\0"):
                raise ArchiveError("malformed pax record")
            break
        key, _, value = raw[space + 1 : position + length - 1].partition(b"=")
        records[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        position += length
    return records


def _number(pax: Mapping[str, str], key: str, default: int) -> int:
    text = pax.get(key)
    if text is None:
        return default
    if not text.lstrip("-").isdigit() or len(text) > 20:  # noqa: PLR2004
        raise ArchiveError(f"got pax {key} {text[:40]!r}, want a number")
    return int(text)


def _time(text: str | None, default: int) -> tuple[int, str]:
    if text is None:
        return default, ""
    whole, _, fraction = text.partition(".")
    if not whole.lstrip("-").isdigit() or not (fraction or "0").isdigit() or len(text) > 40:  # noqa: PLR2004
        raise ArchiveError(f"got pax mtime {text[:40]!r}, want a number")
    return int(whole), fraction.rstrip("0")
