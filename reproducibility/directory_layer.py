"""A directory as a root file system: the layer that is no archive.

Nothing outside the directory is followed or read. Names of one file (hard links) are found by
device and inode.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.formats.digest import copy_stream
from reproducibility.entries import Entry, Kind
from reproducibility.layers import ENDLESS, LayerFacts, resolve_links

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reproducibility.entry_table import EntryTable


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryLayer:
    """A directory as a root file system; nothing outside it is followed or read."""

    name: str
    root: Path

    @property
    def is_tar(self) -> bool:
        """Never."""
        return False

    def read(self, table: EntryTable) -> LayerFacts:
        """Walk it in path order."""
        problems: list[str] = []
        links: list[Entry] = []
        total = 0
        for entry, path in self._walk(problems):
            digest = ""
            if entry.kind is Kind.FILE:
                try:
                    with path.open("rb") as f:
                        digest = hashlib.file_digest(f, "sha256").hexdigest()
                except OSError as e:
                    problems.append(f"{self.name}: {entry.path}: {e.strerror}")
            total += entry.size
            table.add(replace(entry, digest=digest))
            if entry.kind is Kind.HARDLINK:
                links.append(entry)
        resolve_links(links, table)
        return LayerFacts(
            digest="",
            size=total,
            diff_id="",
            tar_size=total,
            compression=None,
            entries=table.added,
            trailer="",
            problems=tuple(problems),
        )

    def extract(self, wanted: Mapping[int, Path]) -> None:
        """Copy the content of entries."""
        for entry, path in self._walk([]):
            target = wanted.get(entry.ordinal)
            if target is not None:
                with path.open("rb") as source, target.open("wb") as sink:
                    copy_stream(source, sink, limit=ENDLESS, what=entry.path)

    def _walk(self, problems: list[str]) -> Iterator[tuple[Entry, Path]]:
        names: dict[tuple[int, int], str] = {}
        for ordinal, relative in enumerate(_paths(os.fsencode(self.root), problems)):
            path = Path(os.fsdecode(os.path.join(os.fsencode(self.root), relative)))  # noqa: PTH118
            text = relative.decode("utf-8", "surrogateescape")
            try:
                status = path.lstat()
                link = os.fsdecode(os.readlink(path)) if stat.S_ISLNK(status.st_mode) else ""  # noqa: PTH115 - verbatim
            except OSError as e:
                problems.append(f"{self.name}: {text}: {e.strerror}")
                continue
            first = ""
            if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                first = names.setdefault((status.st_dev, status.st_ino), text)
            yield _entry(text, status, link, first if first != text else "", ordinal), path


_TYPES: Final = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}


def _entry(path: str, status: os.stat_result, link: str, first: str, ordinal: int) -> Entry:
    kind = Kind.HARDLINK if first else _TYPES.get(stat.S_IFMT(status.st_mode), Kind.OTHER)
    is_device = kind in (Kind.CHARACTER, Kind.BLOCK)
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        uname="",
        gname="",
        mtime=status.st_mtime_ns // 10**9,
        fraction=f"{status.st_mtime_ns % 10**9:09d}".rstrip("0"),
        size=status.st_size if kind is Kind.FILE else 0,
        link=first or link,
        flags="",
        device=f"{os.major(status.st_rdev)},{os.minor(status.st_rdev)}" if is_device else "",
        attributes=(),
        dialect="",
        form="",
        raw=b"",
        ordinal=ordinal,
        digest="",
        content=ordinal,
    )


def _paths(root: bytes, problems: list[str]) -> Iterator[bytes]:
    """Yield relative paths, a directory before what is in it, sorted by bytes."""
    waiting = [(b"", True)]
    while waiting:
        path, is_directory = waiting.pop()
        if path:
            yield path
        if is_directory:
            waiting.extend(reversed(_children(root, path, problems)))


def _children(root: bytes, below: bytes, problems: list[str]) -> list[tuple[bytes, bool]]:
    try:
        with os.scandir(os.path.join(root, below)) as found:  # noqa: PTH118
            children = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in found)
    except OSError as e:
        problems.append(f"{os.fsdecode(below) or '.'}: {e.strerror}")
        return []
    return [(below + b"/" + name if below else name, is_dir) for name, is_dir in children]
