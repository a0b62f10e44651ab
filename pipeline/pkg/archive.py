"""The archive of a package: every member checked against the manifest, unpacked once.

Source: freebsd/pkg 2.8.4, libpkg/pkg.c (pkg_open2) and libpkg/pkg_add.c (do_extract). Where pkg
would install something that its own `check -s` then complains about, this reader refuses:

1. `+MANIFEST` and at most one `+COMPACT_MANIFEST` that agrees with it come first; other members
   whose names start with `+` before the payload are skipped.
2. A payload member is a regular file, hard link, symlink or directory with an absolute, normal
   path, appears once, and is listed in the manifest as what it is. Everything listed is there;
   a listed directory without a member of its own gets the manifest's attributes.
3. Content has the manifest's sum. A symlink's target has the manifest's `symlink_target` and sum.
4. Mode, owner and file flags come from the manifest where it has them and agree with the member's.
5. No member lies below a symlink or a file of the same package. A symlink's target does not climb
   above the root. A hard link's target is an earlier regular file of the same package.
6. mtime is the manifest's where it has one (not 0), else the member's; never negative.
7. Extended attributes and ACLs are refused, as are pax records that nobody here understands.

8. A configuration file is listed as a file. Its content is kept, for the package database; that of
   one which is a hard link or symlink is not, as pkg keeps none.

The payload of an unpacked package is one blob: the contents of its files one after the other, each
distinct content once (of repeated ones above a chunk only the first counts); the index says where.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from pipeline.errors import ArchiveError, FormatError, ManifestError
from pipeline.formats import tar
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.digest import CHUNK
from pipeline.formats.mtree import Entry, Kind, number_links
from pipeline.pkg.manifest import (
    MAX_MANIFEST,
    DirectoryRecord,
    FileRecord,
    PackageManifest,
    parse_fflags,
)
from pipeline.pkg.names import byte_order, check_path
from pipeline.pkg.sum import Sum, symlink_content

if TYPE_CHECKING:
    from typing import BinaryIO

    from pipeline.formats.digest import Sink
    from pipeline.pkg.sum import HashState

_MANIFEST: Final = "+MANIFEST"
_COMPACT: Final = "+COMPACT_MANIFEST"
_FFLAGS: Final = "SCHILY.fflags"
_MAX_CONFIG: Final = 8 << 20
"""Bytes of one configuration file; its text goes into the package database."""
_MAX_MTIME: Final = (1 << 33) - 1
"""What ustar can hold; later times are clamped before anything is written."""


class Extent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a content lies in the payload."""

    digest: str
    """sha256, 64 hex digits."""
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageContents:
    """A package that has been verified."""

    manifest: PackageManifest
    raw_manifest: bytes
    entries: tuple[Entry, ...]
    """Sorted by path; owners are names."""
    extents: tuple[Extent, ...]
    config: tuple[tuple[str, bytes], ...]
    """Path and content of each configuration file that is no link (rule 8), by path."""
    newest_mtime: int


def read_package(source: BinaryIO, payload: Sink, *, size: int, what: str) -> PackageContents:
    """Verify a package and write the contents of its files to `payload`.

    Args:
        source: the .pkg file, seekable.
        payload: takes each distinct content once.
        size: length of the .pkg file in bytes, for the limit on what it may expand to.
        what: name for error messages.

    Raises:
        ArchiveError, ManifestError, DigestMismatchError: the package breaks a rule above.
        TooLargeError: it expands to more than is plausible.
    """
    try:
        return _read(source, payload, size, what)
    except FormatError as e:
        raise e.in_document(what) from None


def read_manifest(source: BinaryIO, *, size: int, what: str) -> tuple[PackageManifest, bytes]:
    """Read only the manifest of a package; nothing behind it is looked at."""
    try:
        reader = tar.TarReader(
            open_decompressed(source, limit=expansion_limit(size), what=what),
        )
        raw, _, _ = _leading_members(reader)
        return PackageManifest.parse(raw), raw
    except FormatError as e:
        raise e.in_document(what) from None


def _read(source: BinaryIO, payload: Sink, size: int, what: str) -> PackageContents:
    reader = tar.TarReader(open_decompressed(source, limit=expansion_limit(size), what=what))
    raw, compact, member = _leading_members(reader)
    manifest = PackageManifest.parse(raw)
    if compact is not None:
        _check_compact(compact, manifest)
    unpacker = _Unpacker(manifest, reader, payload)
    if member is not None:
        unpacker.take(member)
        for member in reader:
            unpacker.take(member)
    return unpacker.finish(raw)


def _leading_members(reader: tar.TarReader) -> tuple[bytes, bytes | None, tar.Member | None]:
    """Read up to the first payload member: the manifest, the compact one, and that member."""
    found: dict[str, bytes] = {}
    first = None
    for member in reader:
        if not member.name.startswith("+"):
            first = member
            break
        if member.name in (_MANIFEST, _COMPACT):
            if member.name in found:
                raise ArchiveError(f"two members {member.name}")
            if member.kind != tar.REGULAR or member.size > MAX_MANIFEST:
                raise ArchiveError(f"{member.name} of {member.size} bytes, want up to 32 MiB")
            found[member.name] = reader.read()
    if _MANIFEST not in found:
        raise ArchiveError("no +MANIFEST before the payload")
    return found[_MANIFEST], found.get(_COMPACT), first


def _check_compact(raw: bytes, manifest: PackageManifest) -> None:
    try:
        compact = PackageManifest.parse(raw)
    except FormatError as e:
        raise e.within(_COMPACT) from None

    def bare(m: PackageManifest) -> PackageManifest:
        return dataclasses.replace(
            m, files=(), directories=(), config=(), scripts=(), lua_scripts=(), messages=()
        )

    if bare(compact) != bare(manifest):
        raise ArchiveError(
            f"+COMPACT_MANIFEST ({compact.name_version}) and +MANIFEST"
            f" ({manifest.name_version}) disagree"
        )


class _Unpacker:
    """State while walking the payload of one package."""

    def __init__(self, manifest: PackageManifest, reader: tar.TarReader, payload: Sink) -> None:
        self._manifest = manifest
        self._reader = reader
        self._payload = payload
        self._files = {f.path: f for f in manifest.files}
        self._directories = {d.path: d for d in manifest.directories}
        self._config_paths = frozenset(manifest.config)
        self._config: dict[str, bytes] = {}
        self._entries: dict[str, Entry] = {}
        self._extents: dict[str, Extent] = {}
        self._offset = 0
        self._inodes = 0

    # ------------------------------------------------------------ members

    def take(self, member: tar.Member) -> None:
        """Check and unpack one payload member."""
        name = member.name
        try:
            self._take(member)
        except FormatError as e:
            raise e if e.context else e.within(repr(name[:120])) from None

    def _take(self, member: tar.Member) -> None:
        if member.name.startswith("+") and "/" not in member.name:
            raise ArchiveError("metadata behind the payload")
        for key, _ in member.pax:
            if key != _FFLAGS:
                raise ArchiveError(f"pax record {key!r}, which layers do not carry")
        directory = member.kind == tar.DIRECTORY
        path = check_path(member.name.rstrip("/") if directory else member.name)
        if path in self._entries:
            raise ArchiveError("the same path twice")
        if member.mtime < 0:
            raise ArchiveError(f"got mtime {member.mtime}, want no negative")
        if directory:
            entry = self._directory(path, member)
        elif member.kind == tar.REGULAR:
            entry = self._regular(path, member)
        elif member.kind == tar.SYMLINK:
            entry = self._symlink(path, member)
        elif member.kind == tar.HARDLINK:
            entry = self._hardlink(path, member)
        else:
            raise ArchiveError(
                f"member of type {member.kind.decode('latin-1')!r}, want a file, link or directory"
            )
        self._entries[path] = entry

    def _record(self, path: str, what: str) -> FileRecord:
        record = self._files.get(path)
        if record is None:
            raise ArchiveError(f"{what} that the manifest does not list")
        return record

    def _directory(self, path: str, member: tar.Member) -> Entry:
        record = self._directories.get(path)
        if record is None:
            kind = "lists as a file" if path in self._files else "does not list"
            raise ArchiveError(f"directory that the manifest {kind}")
        return Entry(
            path=path[1:],
            kind=Kind.DIRECTORY,
            mode=_mode(record, member),
            user=_owner(record.uname, member.uname, "owner"),
            group=_owner(record.gname, member.gname, "group"),
            mtime=min(member.mtime, _MAX_MTIME),
            flags=_flags(record, member),
            package=self._manifest.name,
        )

    def _regular(self, path: str, member: tar.Member) -> Entry:
        record = self._record(path, "file")
        if record.symlink_target:
            raise ArchiveError("file that the manifest lists as a symlink")
        digest = self._content(path, member.size, _sum(record))
        return self._file_entry(path, record, member, size=member.size, digest=digest)

    def _file_entry(
        self, path: str, record: FileRecord, member: tar.Member, *, size: int, digest: str
    ) -> Entry:
        return Entry(
            path=path[1:],
            kind=Kind.FILE,
            mode=_mode(record, member),
            user=_owner(record.uname, member.uname, "owner"),
            group=_owner(record.gname, member.gname, "group"),
            mtime=_mtime(record, member),
            size=size,
            digest=digest,
            flags=_flags(record, member),
            package=self._manifest.name,
        )

    def _content(self, path: str, size: int, wanted: Sum) -> str:
        """Copy content to the payload unless it is there already; return its sha256."""
        is_config = path in self._config_paths
        if is_config and size > _MAX_CONFIG:
            raise ArchiveError(f"configuration file of {size} bytes, want up to {_MAX_CONFIG}")
        state = wanted.start()
        if size <= CHUNK or is_config:
            data = self._reader.read()
            state.update(data)
            digest = _sha256(data, state, wanted)
            if digest not in self._extents:
                self._payload.write(data)
                self._extent(digest, size)
            if is_config:
                self._config[path] = data
        else:
            digest = self._large_content(size, state)
        wanted.verify(state, what=f"{self._manifest.name_version}: {path}")
        return digest

    def _large_content(self, size: int, state: HashState) -> str:
        sha256 = hashlib.sha256()
        for data in self._reader.chunks():
            state.update(data)
            sha256.update(data)
            self._payload.write(data)
        digest = sha256.hexdigest()
        known = self._extents.get(digest)
        self._extent(digest, size)
        if known is not None:
            self._extents[digest] = known
        return digest

    def _extent(self, digest: str, size: int) -> None:
        self._extents[digest] = Extent(digest=digest, offset=self._offset, size=size)
        self._offset += size

    def _symlink(self, path: str, member: tar.Member) -> Entry:
        record = self._record(path, "symlink")
        target = member.link
        check_link(path, target)
        if record.symlink_target is not None and record.symlink_target != target:
            raise ArchiveError(f"symlink to {target!r}, want {record.symlink_target!r}")
        if record.symlink_target is None and record.uname is not None:
            raise ArchiveError("symlink that the manifest lists as a file")
        content = symlink_content(byte_order(target))
        if content is not None and record.sum is not None and record.sum != "-":
            what = f"{self._manifest.name_version}: {path}"
            _sum(record).verify_bytes(content, what=what)
        return Entry(
            path=path[1:],
            kind=Kind.LINK,
            mode=record.perm or member.mode,
            user=_owner(record.uname, member.uname, "owner"),
            group=_owner(record.gname, member.gname, "group"),
            mtime=_mtime(record, member),
            link=target,
            package=self._manifest.name,
        )

    def _hardlink(self, path: str, member: tar.Member) -> Entry:
        record = self._record(path, "hard link")
        target = check_path(member.link)
        first = self._entries.get(target)
        if first is None or first.kind is not Kind.FILE:
            raise ArchiveError(f"hard link to {target!r}, want an earlier file of the package")
        if _sum(record).encoded != _sum(self._files[target]).encoded:
            raise ArchiveError(f"hard link to {target!r}, whose sum is another")
        if not first.inode:
            self._inodes += 1
            first = replace(first, inode=self._inodes)
            self._entries[target] = first
        entry = self._file_entry(path, record, member, size=first.size, digest=first.digest)
        entry = replace(entry, inode=first.inode)
        if replace(entry, path=first.path, flags=first.flags) != first:
            raise ArchiveError(f"hard link to {target!r}, whose mode, owner or mtime is another")
        return entry

    # ------------------------------------------------------------ the end

    def finish(self, raw_manifest: bytes) -> PackageContents:
        """Check what can only be known at the end."""
        for path in self._files:
            if path not in self._entries:
                raise ArchiveError(f"{path!r} is listed in the manifest but not in the archive")
        for path, record in self._directories.items():
            if path in self._files:
                raise ArchiveError(f"{path!r} is listed as a file and as a directory")
            if path not in self._entries:
                self._entries[path] = self._absent_directory(record)
        unknown = sorted(self._config_paths - set(self._files))
        if unknown:
            raise ArchiveError(f"configuration file {unknown[0]!r} is no file of the package")
        self._check_ancestors()
        entries = tuple(number_links(self._entries.values()))
        return PackageContents(
            manifest=self._manifest,
            raw_manifest=raw_manifest,
            entries=entries,
            extents=tuple(self._extents.values()),
            config=tuple(sorted(self._config.items(), key=lambda item: byte_order(item[0]))),
            newest_mtime=max((e.mtime for e in entries), default=0),
        )

    def _absent_directory(self, record: DirectoryRecord) -> Entry:
        return Entry(
            path=record.path[1:],
            kind=Kind.DIRECTORY,
            mode=record.perm or 0o755,
            user=record.uname or "root",
            group=record.gname or "wheel",
            mtime=0,
            flags=_flag_names(record.fflags),
            package=self._manifest.name,
        )

    def _check_ancestors(self) -> None:
        checked: set[str] = set()
        for path in self._entries:
            parent = path.rpartition("/")[0]
            while parent and parent not in checked:
                entry = self._entries.get(parent)
                if entry is not None and entry.kind is not Kind.DIRECTORY:
                    raise ArchiveError(f"{path!r} lies below {parent!r}, which is no directory")
                checked.add(parent)
                parent = parent.rpartition("/")[0]


def check_link(path: str, target: str) -> None:
    """Refuse a symlink whose target is empty, not text, or climbs above the root (rule 5)."""
    if not target or "\0" in target:
        raise ArchiveError("symlink with an empty target")
    depth = 0 if target.startswith("/") else path.count("/") - 1
    for component in target.split("/"):
        if component == "..":
            depth -= 1
            if depth < 0:
                raise ArchiveError(f"symlink to {target[:120]!r}, which leaves the tree")
        elif component not in ("", "."):
            depth += 1


def _sum(record: FileRecord) -> Sum:
    if record.sum is None or record.sum == "-":
        raise ArchiveError("file without a sum in the manifest")
    try:
        return Sum.parse(record.sum)
    except FormatError as e:
        raise ManifestError(e.message) from None


def _sha256(data: bytes, state: HashState, wanted: Sum) -> str:
    if wanted.algorithm == "sha256":
        return state.digest().hex()
    return hashlib.sha256(data).hexdigest()


def _mode(record: FileRecord | DirectoryRecord, member: tar.Member) -> int:
    if record.perm and record.perm != member.mode:
        raise ArchiveError(f"mode {member.mode:04o}, want {record.perm:04o} as in the manifest")
    return member.mode


def _owner(wanted: str | None, got: str, what: str) -> str:
    if wanted and got and wanted != got:
        raise ArchiveError(f"{what} {got!r}, want {wanted!r} as in the manifest")
    name = wanted or got
    if not name:
        raise ArchiveError(f"no name of the {what}")
    return name


def _mtime(record: FileRecord, member: tar.Member) -> int:
    if record.mtime < 0:
        raise ArchiveError(f"got mtime {record.mtime}, want no negative")
    return min(record.mtime or member.mtime, _MAX_MTIME)


_FLAG_NAMES: Final = (
    (0x20000, "schg"),
    (0x40000, "sappnd"),
    (0x100000, "sunlnk"),
    (0x10000, "arch"),
    (0x2, "uchg"),
    (0x4, "uappnd"),
    (0x8, "opaque"),
    (0x10, "uunlnk"),
    (0x1, "nodump"),
    (0x80, "usystem"),
    (0x100, "usparse"),
    (0x200, "uoffline"),
    (0x400, "ureparse"),
    (0x800, "uarch"),
    (0x1000, "urdonly"),
    (0x8000, "uhidden"),
)
"""fflagstostr(3) order of FreeBSD (lib/libc/gen/strtofflags.c)."""


def _flags(record: FileRecord | DirectoryRecord, member: tar.Member) -> str:
    if not member.pax and not record.fflags:
        return ""
    got = parse_fflags(dict(member.pax).get(_FFLAGS, ""))
    if got and record.fflags and got != record.fflags:
        want = _flag_names(record.fflags)
        raise ArchiveError(f"file flags {_flag_names(got)}, want {want} as in the manifest")
    return _flag_names(record.fflags or got)


def _flag_names(bits: int) -> str:
    return ",".join(name for bit, name in _FLAG_NAMES if bits & bit)
