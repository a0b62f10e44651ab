"""Archives and packages for tests, made without the writer under test: by hand, or by `tarfile`."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)


class Memory(bytearray):
    """A sink that keeps everything."""

    def write(self, data: bytes) -> int:
        """Take all of `data`."""
        self += data
        return len(data)


def number(value: int, width: int) -> bytes:
    """Return an octal field of a tar header."""
    return f"{value:0{width - 1}o}".encode() + b"\0"


def raw_header(name: bytes, kind: bytes = b"0", size: int = 0, **fields: bytes) -> bytes:
    """Return a ustar header block whose fields may be anything.

    Args:
        name: the name field.
        kind: the type flag.
        size: the size field.
        fields: `mode`, `uid`, `gid`, `mtime`, `link`, `magic`, `uname`, `gname`, `prefix`,
            `checksum`, `size_field` as raw bytes.
    """
    block = bytearray(BLOCK)

    def put(offset: int, width: int, value: bytes) -> None:
        assert len(value) <= width, value
        block[offset : offset + len(value)] = value

    put(0, 100, name)
    put(100, 8, fields.get("mode", number(0o644, 8)))
    put(108, 8, fields.get("uid", number(0, 8)))
    put(116, 8, fields.get("gid", number(0, 8)))
    put(124, 12, fields.get("size_field", number(size, 12)))
    put(136, 12, fields.get("mtime", number(0, 12)))
    put(148, 8, b" " * 8)
    put(156, 1, kind)
    put(157, 100, fields.get("link", b""))
    put(257, 8, fields.get("magic", b"ustar\x0000"))
    put(265, 32, fields.get("uname", b""))
    put(297, 32, fields.get("gname", b""))
    put(345, 155, fields.get("prefix", b""))
    put(148, 8, fields.get("checksum", b"%06o\0 " % sum(block)))
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Return content filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return one pax record, its length found by trying."""
    for length in range(1, 1 << 20):
        record = b"%d %s=%s\n" % (length, key, value)
        if len(record) == length:
            return record
    raise AssertionError("no length fits")


def pax_header(*records: bytes, kind: bytes = b"x") -> bytes:
    """Return an extended header with these records, which may be malformed."""
    body = b"".join(records)
    return raw_header(b"././@PaxHeader", kind, len(body)) + padded(body)


# ---------------------------------------------------------------- packages


@dataclass(kw_only=True)
class Item:
    """A file, link or directory of a package that a test makes."""

    path: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uname: str = "root"
    gname: str = "wheel"
    mtime: int = 1_700_000_000
    link: str = ""
    pax: dict[str, str] = field(default_factory=dict)
    record: Mapping[str, Any] | str | None = None
    """What the manifest says of it, instead of what follows from the fields above."""
    listed: bool = True
    present: bool = True


def sha256_sum(content: bytes) -> str:
    """Return the checksum of content as pkg up to 2.7 writes it."""
    return "1$" + hashlib.sha256(content).hexdigest()


def _record(item: Item, contents: Mapping[str, bytes]) -> object:
    if item.record is not None:
        return item.record
    attributes: dict[str, Any] = {
        "uname": item.uname,
        "gname": item.gname,
        "perm": f"{item.mode:04o}",
    }
    if item.kind == tarfile.DIRTYPE:
        return attributes
    attributes["mtime"] = item.mtime
    if item.kind == tarfile.SYMTYPE:
        attributes["symlink_target"] = item.link
        stripped = item.link.lstrip("/")
        attributes["sum"] = sha256_sum(stripped.encode() + bytes(len(item.link) - len(stripped)))
    else:
        attributes["sum"] = sha256_sum(contents[item.path])
    if "SCHILY.fflags" in item.pax:
        attributes["fflags"] = item.pax["SCHILY.fflags"]
    return attributes


def manifest_of(items: Iterable[Item] = (), **keys: object) -> dict[str, Any]:
    """Return the manifest that lists these items; `keys` are added, None removes."""
    items = tuple(items)
    contents = {item.path: item.content for item in items}
    contents |= {i.path: contents.get(i.link, b"") for i in items if i.kind == tarfile.LNKTYPE}
    manifest: dict[str, Any] = {
        "name": "p",
        "origin": "test/p",
        "version": "1",
        "comment": "a package",
        "maintainer": "nobody@example.org",
        "www": "https://example.org",
        "abi": "FreeBSD:15:amd64",
        "arch": "freebsd:15:x86:64",
        "prefix": "/",
        "flatsize": 0,
        "desc": "a package",
        "files": {},
        "directories": {},
    }
    for item in items:
        if item.listed:
            table = "directories" if item.kind == tarfile.DIRTYPE else "files"
            manifest[table][item.path] = _record(item, contents)
    manifest.update(keys)
    return {key: value for key, value in manifest.items() if value is not None}


def package(
    items: Iterable[Item] = (),
    *,
    manifest: bytes | None = None,
    compact: bytes | None = None,
    leading: Mapping[str, bytes] | None = None,
    **keys: object,
) -> bytes:
    """Return an uncompressed package.

    Args:
        items: in archive order.
        manifest: its +MANIFEST instead of the one that fits.
        compact: its +COMPACT_MANIFEST, if any.
        leading: more members before the payload.
        keys: changes to the manifest that fits.
    """
    items = tuple(items)
    if manifest is None:
        manifest = json.dumps(manifest_of(items, **keys)).encode()
    metadata = {"+COMPACT_MANIFEST": compact} if compact is not None else {}
    metadata |= {"+MANIFEST": manifest, **(leading or {})}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in metadata.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for item in items:
            if item.present:
                archive.addfile(_info(item), io.BytesIO(item.content))
    return out.getvalue()


def _info(item: Item) -> tarfile.TarInfo:
    info = tarfile.TarInfo(item.path + ("/" if item.kind == tarfile.DIRTYPE else ""))
    info.type = item.kind
    info.mode = item.mode
    info.uid = info.gid = 65534
    info.uname, info.gname = item.uname, item.gname
    info.mtime = item.mtime
    info.size = len(item.content) if item.kind == tarfile.REGTYPE else 0
    info.linkname = item.link
    info.pax_headers = dict(item.pax)
    return info


def text(size: int) -> bytes:
    """Return bytes that are always the same and compress to about a fifth."""
    lines = []
    length = 0
    while length < size:
        line = b" ".join(_WORDS[b & 31] for b in hashlib.sha256(b"%d" % length).digest()) + b"\n"
        lines.append(line)
        length += len(line)
    return b"".join(lines)[:size]


_WORDS: Final = (
    b"a acl bin boot daemon devfs etc filesystem group host inode jail kernel kld link loader"
    b" mount netgraph owner passwd pf pipe process root scheduler shell signal socket tty user"
    b" vnode zfs"
).split()
