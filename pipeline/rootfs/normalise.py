"""Anybody's archive of a root file system, or layer of an image, as the tree that it means.

docs/format/normalisation.md has the rules; N10 and so on are its numbers. Two archives of one tree
come out equal, whatever tool packed them, in whatever order and dialect. What the canonical form
cannot hold is refused, or dropped because somebody asked for that; nothing is lost in silence.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pipeline.errors import ArchiveError, TooLargeError
from pipeline.formats import tar
from pipeline.formats.foreign_tar import DEVICES
from pipeline.formats.mtree import Entry, Kind, number_links
from pipeline.rootfs.ownership import Owners, Ownership
from pipeline.rootfs.whiteouts import is_whiteout, whiteout_entries, whiteout_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.formats.foreign_tar import ForeignMember
    from pipeline.rootfs.accounts import Accounts

DATABASE: Final = "var/db/pkg/local.sqlite"
WAL: Final = f"{DATABASE}-wal"
JOURNAL: Final = f"{DATABASE}-journal"
SHARED_MEMORY: Final = f"{DATABASE}-shm"
_COMPANIONS: Final = (WAL, JOURNAL, SHARED_MEMORY)
_DATABASE_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755

_MAX_ENTRIES: Final = 2_000_000
_MAX_CONTENT: Final = 64 << 30
"""Bytes of all files, holes included."""
_MAX_WAL_WITHOUT_DATABASE: Final = 32
_SHOWN: Final = 3

_KINDS: Final = {
    tar.REGULAR: Kind.FILE,
    tar.DIRECTORY: Kind.DIRECTORY,
    tar.SYMLINK: Kind.LINK,
    tar.HARDLINK: Kind.FILE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How an archive is to be read and written."""

    source_date_epoch: int
    is_layer: bool
    """An image's layer: whiteouts mean something, and parents may be in the layers below."""
    owners: Owners
    keep_flags: bool
    drop_attributes: bool
    drop_devices: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalTree:
    """The tree of an archive in canonical order, and where the contents are."""

    entries: tuple[Entry, ...]
    """As a layer's spec has them, but for digests of contents."""
    contents: Mapping[str, ForeignMember]
    """By path, for every file; a link's is that of the file."""
    companions: Mapping[str, ForeignMember]
    """What lay beside the database, by path; no longer among the entries."""
    notes: tuple[str, ...]
    """What changed beyond order, times and names of owners, for people."""

    @property
    def has_database(self) -> bool:
        """Whether there is a package database."""
        return DATABASE in self.contents

    def with_database(self, size: int) -> NormalTree:
        """Return the tree with a database of that many bytes in place of the one it has."""
        return dataclasses.replace(
            self,
            entries=tuple(replace(e, size=size) if e.path == DATABASE else e for e in self.entries),
        )

    def renamed(self, names: Mapping[str, str]) -> NormalTree:
        """Return the tree with other paths for some of its files."""
        return dataclasses.replace(
            self,
            entries=tuple(
                number_links(
                    replace(e, path=names[e.path]) if e.path in names else e for e in self.entries
                )
            ),
            contents={names.get(path, path): member for path, member in self.contents.items()},
        )


def clean_path(name: str) -> str:
    """Return a member's name as a path below the root; empty for the root itself (N10).

    Raises:
        ArchiveError: it leaves the root.
    """
    components = [c for c in name.split("/") if c not in ("", ".")]
    if ".." in components or "\0" in name:
        raise ArchiveError("a path that leaves the root", context=repr(name[:300]))
    return "/".join(components)


def normalise(
    members: Sequence[ForeignMember], rules: Rules, *, accounts: Accounts | None
) -> NormalTree:
    """Return the tree that an archive describes.

    Args:
        members: in the order of the archive.
        rules: see there.
        accounts: the archive's own, None where it has none; names of owners are looked up here.

    Raises:
        ArchiveError: it cannot be represented, or contradicts itself.
        TooLargeError: it is a bomb.
    """
    _check_size(members)
    return _Normaliser(rules, Ownership(rules.owners, accounts)).tree(members)


def _check_size(members: Sequence[ForeignMember]) -> None:
    if len(members) > _MAX_ENTRIES:
        raise ArchiveError(f"{len(members)} members, want at most {_MAX_ENTRIES}")
    if sum(member.size for member in members) > _MAX_CONTENT:
        raise TooLargeError("files of the archive", _MAX_CONTENT)


class _Normaliser:
    """Collects entries, then works out what they mean together."""

    def __init__(self, rules: Rules, ownership: Ownership) -> None:
        self._rules = rules
        self._ownership = ownership
        self._entries: dict[str, Entry] = {}
        self._contents: dict[str, ForeignMember] = {}
        self._links: dict[str, str] = {}
        self._whiteouts: set[str] = set()
        self._dropped: set[str] = set()
        self._counts: Counter[str] = Counter()

    def tree(self, members: Sequence[ForeignMember]) -> NormalTree:
        """Return the tree; the steps are in the order of the rules."""
        self._refuse(members)
        for member in members:
            self._place(member)
        self._resolve_links()
        self._check_ancestors()
        companions = self._take_companions()
        self._date_database()
        missing = self._missing_directories()
        if self._rules.is_layer:
            self._whiteouts -= {whiteout_of(path) for path in _COMPANIONS}
            replaced = {p: m for p, m in missing.items() if whiteout_of(p) in self._whiteouts}
            self._make_directories(replaced)
            self._entries |= whiteout_entries(
                self._whiteouts, self._entries, mtime=self._rules.source_date_epoch
            )
        else:
            self._make_directories(missing)
        return NormalTree(
            entries=tuple(number_links(self._entries.values())),
            contents=self._contents,
            companions=companions,
            notes=tuple(f"{what}: {n}" for what, n in sorted(self._counts.items()) if n),
        )

    # ------------------------------------------------------------ what cannot be held (N16, N17)

    def _refuse(self, members: Iterable[ForeignMember]) -> None:
        """Refuse attributes and devices unless they are to be dropped, naming some of each."""
        attributes = [m for m in members if m.attributes]
        devices = [m for m in members if m.kind in DEVICES]
        if attributes and not self._rules.drop_attributes:
            names = sorted({name for m in attributes for name in m.attributes})
            raise ArchiveError(
                f"extended attributes or ACLs ({_some(names)}) on {_some_members(attributes)}",
                hint="--drop-xattrs leaves them out",
            )
        if devices and not self._rules.drop_devices:
            kinds = sorted({DEVICES[m.kind] for m in devices})
            raise ArchiveError(
                f"devices or FIFOs ({_some(kinds)}): {_some_members(devices)}",
                hint="--drop-devices leaves them out; a mounted /dev or /proc does not belong in"
                " the archive",
            )
        self._counts["extended attributes dropped"] = len(attributes)
        self._counts["devices dropped"] = len(devices)
        self._dropped = {clean_path(m.name) for m in devices}

    # ------------------------------------------------------------ single members (N10 to N15)

    def _place(self, member: ForeignMember) -> None:
        path = clean_path(member.name)
        if member.kind in DEVICES:
            return
        if not path:
            self._skip_root(member)
            return
        if is_whiteout(path):
            self._place_whiteout(path, member)
            return
        entry = self._entry(path, member)
        if path in self._entries or path in self._links:
            if entry.kind is Kind.DIRECTORY and self._entries.get(path) == entry:
                return
            raise ArchiveError(
                "path twice in the archive",
                context=repr(path),
                hint="unpack it, so that the last one stays, and pack again",
            )
        if member.kind == tar.HARDLINK:
            self._links[path] = clean_path(member.link)
            return
        self._entries[path] = entry
        if entry.kind is Kind.FILE:
            self._contents[path] = member
            self._counts["sparse files written as ordinary ones"] += member.is_sparse

    def _skip_root(self, member: ForeignMember) -> None:
        """Pass over the root itself, which has no entry; say so where it has odd attributes."""
        if member.kind != tar.DIRECTORY:
            raise ArchiveError("an entry without a name", context=repr(member.name))
        usual = (_DIRECTORY_MODE, 0, 0)
        self._counts["attributes of the root itself dropped"] += (
            member.mode,
            member.uid,
            member.gid,
        ) != usual

    def _place_whiteout(self, path: str, member: ForeignMember) -> None:
        if not self._rules.is_layer:
            raise ArchiveError(
                "a whiteout, which means something in an image's layer only",
                context=repr(path),
                hint="normalise the image, not the layer",
            )
        if member.kind not in (tar.REGULAR, tar.HARDLINK) or member.size:
            raise ArchiveError("a whiteout that is no empty file", context=repr(path))
        self._whiteouts.add(path)

    def _entry(self, path: str, member: ForeignMember) -> Entry:
        kind = _KINDS[member.kind]
        flags = ",".join(sorted(set(filter(None, member.flags.split(",")))))
        self._counts["file flags dropped"] += bool(flags) and not self._rules.keep_flags
        uid, gid = self._ownership.resolve(path, member)
        return Entry(
            path=path,
            kind=kind,
            mode=member.mode,
            user=uid,
            group=gid,
            mtime=min(member.mtime, self._rules.source_date_epoch),
            size=member.size if kind is Kind.FILE else 0,
            link=member.link if kind is Kind.LINK else "",
            flags=flags if self._rules.keep_flags else "",
        )

    # ------------------------------------------------------------ hard links (N14)

    def _resolve_links(self) -> None:
        """Give every name of a file the file's attributes, and a number that they share."""
        numbers: dict[str, int] = {}
        for path in self._links:
            target = self._target(path)
            file = self._entries.get(target)
            if file is None and target in self._dropped:
                self._counts["devices dropped"] += 1
                continue
            if file is None or file.kind is Kind.DIRECTORY:
                raise ArchiveError(
                    f"hard link to {target!r}, which is no file of this archive",
                    context=repr(path),
                    hint="pack both names together" if file is None else None,
                )
            if file.kind is Kind.FILE:
                number = numbers.setdefault(target, len(numbers) + 1)
                file = self._entries[target] = replace(file, inode=number)
                self._contents[path] = self._contents[target]
            self._entries[path] = replace(file, path=path)

    def _target(self, path: str) -> str:
        """Follow links to links; a circle ends at a name that is no file."""
        seen = {path}
        target = self._links[path]
        while target in self._links and target not in seen:
            seen.add(target)
            target = self._links[target]
        return target

    # ------------------------------------------------------------ directories above (N12, N13)

    def _check_ancestors(self) -> None:
        good: set[str] = set()
        for path in (*self._entries, *self._whiteouts):
            for parent in _ancestors(path):
                if parent in good:
                    break
                entry = self._entries.get(parent)
                if entry is not None and entry.kind is not Kind.DIRECTORY:
                    raise ArchiveError(
                        f"lies below {parent!r}, which is no directory", context=repr(path)
                    )
                good.add(parent)

    def _missing_directories(self) -> dict[str, int]:
        """Return the directories that entries lie in but nobody lists, and the newest time there.

        In a layer they are in the layers below, unless the layer itself removes them there.
        """
        newest: dict[str, int] = {}
        for path, entry in self._entries.items():
            for parent in _ancestors(path):
                if parent not in self._entries:
                    newest[parent] = max(newest.get(parent, entry.mtime), entry.mtime)
        return newest

    def _make_directories(self, times: Mapping[str, int]) -> None:
        for path, mtime in times.items():
            self._entries[path] = Entry(
                path=path, kind=Kind.DIRECTORY, mode=_DIRECTORY_MODE, user=0, group=0, mtime=mtime
            )
        self._counts["missing directories made"] = len(times)

    # ------------------------------------------------------------ the database (N20, N21)

    def _take_companions(self) -> dict[str, ForeignMember]:
        """Take what SQLite left beside the database out of the tree."""
        taken = {}
        for path in _COMPANIONS:
            if self._entries.pop(path, None) is not None:
                taken[path] = self._contents.pop(path)
        allowed = {WAL: _MAX_WAL_WITHOUT_DATABASE, JOURNAL: 0, SHARED_MEMORY: _MAX_CONTENT}
        for path, member in taken.items():
            if DATABASE not in self._entries and member.size > allowed[path]:
                raise ArchiveError(
                    f"{member.size} bytes of changes to a database that is not here",
                    context=repr(path),
                    hint="let pkg finish them before the image is made",
                )
        self._counts["files of SQLite beside the database taken in"] = len(taken)
        return taken

    def _date_database(self) -> None:
        database = self._entries.get(DATABASE)
        if database is None:
            return
        if database.kind is not Kind.FILE or database.inode:
            raise ArchiveError("is a link, want a plain file", context=repr(DATABASE))
        self._entries[DATABASE] = replace(
            database,
            mode=_DATABASE_MODE,
            user=0,
            group=0,
            mtime=self._rules.source_date_epoch,
            flags="",
        )


def _ancestors(path: str) -> Iterator[str]:
    """Yield the directories above a path, the nearest first."""
    while slash := path.rfind("/") + 1:
        path = path[: slash - 1]
        yield path


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _some_members(members: Sequence[ForeignMember]) -> str:
    return _some([repr(member.name) for member in members])
