"""The tree of an image while it is composed: who may put what where.

Rules (docs/FORMAT.md, section Tree):

1. A path has one owner. A package may take over what its image's parent holds without a package,
   and any directory without one. Two packages on one path are a conflict, unless both have a
   directory there: then the first in install order owns it and its attributes stand, as in pkg's
   database.
2. A directory never replaces another kind, nor the other way round.
3. Every ancestor of an entry is a directory; one that nobody brings is made, root:wheel 0755.
4. What the declaration writes itself, or the build computes, may replace a package's file only if
   the package calls it a configuration file. Two of them on one path are a conflict, unless the
   build edits what is there. What an image computes just as its parent has it is left out.
5. Owners are ids. A name that the image's accounts do not have is an error.
6. mtime is min(mtime, source_date_epoch). Where a layer repeats a directory only because something
   lies below it, and for directories made by rule 3, it is the newest mtime below it in that layer,
   so that a layer does not depend on what lies beneath it.
7. A layer has an entry for each ancestor of its entries, with the attributes that the image gives
   it: overlay file systems take a directory's attributes from the uppermost layer that has it.
8. No name begins with `.wh.`: in a layer that is a whiteout, which hides a file and is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pipeline.errors import ConflictError, FormatError
from pipeline.formats.mtree import Entry, Kind, number_links, path_bytes
from pipeline.rootfs.whiteouts import is_whiteout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.rootfs.accounts import Accounts

_IMPLIED: Final = -1
"""mtime of a directory that waits for rule 6."""

_STATE: Final = ("file", "computed", "edited")

_KIND_NAMES: Final = {Kind.DIRECTORY: "a directory", Kind.FILE: "a file", Kind.LINK: "a symlink"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The entries of one layer, sorted, hard links numbered."""

    name: str
    entries: tuple[Entry, ...]


def resolve_owner(entry: Entry, accounts: Accounts, *, source: str) -> Entry:
    """Return the entry with ids for names (rule 5)."""
    uid = accounts.uid(entry.user)
    gid = accounts.gid(entry.group)
    if uid is None or gid is None:
        what, name, file = (
            ("user", entry.user, "master.passwd")
            if uid is None
            else ("group", entry.group, "group")
        )
        raise FormatError(
            f"/{entry.path} of {source}: {what} {name!r} is not in the image's /etc/{file}",
            hint=f"take /etc/{file} from a package that defines it, or declare it in `accounts`",
        )
    return replace(entry, user=uid, group=gid)


class Composer:
    """Build an image's layers on top of its parent's tree."""

    def __init__(
        self,
        parent: Iterable[Entry],
        *,
        parent_name: str,
        source_date_epoch: int,
        keep_flags: bool,
        config: Iterable[str] = (),
    ) -> None:
        """Begin with a parent's tree.

        Args:
            parent: its entries; none for an image without a parent.
            parent_name: for messages.
            source_date_epoch: bound of all times.
            keep_flags: whether file flags stay.
            config: absolute paths of configuration files of the parent's packages.
        """
        self._tree = {entry.path: entry for entry in parent}
        self._sources = dict.fromkeys(self._tree, f"image {parent_name}")
        self._own: dict[str, str] = {}
        """Path to the kind of thing of this image that put it there."""
        self._layer_of: dict[str, str] = {}
        """Path to the layer of this image that put it there last."""
        self._epoch = source_date_epoch
        self._keep_flags = keep_flags
        self._layers: dict[str, dict[str, Entry]] = {}
        self._config = {path.lstrip("/") for path in config}
        self._inodes = max((entry.inode for entry in self._tree.values()), default=0)

    # ------------------------------------------------------------ placing

    def package(
        self, layer: str, name: str, entries: Sequence[Entry], config: Iterable[str]
    ) -> None:
        """Install a package's entries, whose owners are ids, into a layer (rules 1 to 3)."""
        self._config.update(path.lstrip("/") for path in config)
        for entry in self._renumbered(entries):
            self._place(layer, entry, f"package {name}", "package")

    def unowned(self, layer: str, source: str, entries: Sequence[Entry], *, kind: str) -> None:
        """Place entries that belong to no package.

        Args:
            layer: where they go.
            source: what they are, for messages.
            entries: owners are ids.
            kind: `directory`; `keep`, a directory that is left alone where it exists; `pick`;
                `file`; `computed`; `edited`, computed from what is at that path.
        """
        for entry in self._renumbered(entries):
            self._place(layer, replace(entry, package=""), source, kind)

    def _renumbered(self, entries: Sequence[Entry]) -> list[Entry]:
        """Make inode numbers of one source distinct from those of others."""
        base = self._inodes
        self._inodes += max((e.inode for e in entries), default=0)
        return [replace(e, inode=e.inode + base) if e.inode else e for e in entries]

    def _place(self, layer: str, entry: Entry, source: str, kind: str) -> None:
        if is_whiteout(entry.path):
            raise FormatError(
                f"/{entry.path} of {source}: a name that begins with .wh. hides a file in an image",
                hint="no layer can hold a file of this name: leave out what brings it",
            )
        mtime = min(entry.mtime, self._epoch)
        if entry.kind is Kind.DIRECTORY and entry.mtime == 0:
            mtime = _IMPLIED
        flags = entry.flags if self._keep_flags else ""
        if mtime != entry.mtime or flags != entry.flags:
            entry = replace(entry, mtime=mtime, flags=flags)
        existing = self._tree.get(entry.path)
        if existing is not None:
            if (existing.kind is Kind.DIRECTORY) != (entry.kind is Kind.DIRECTORY):
                raise self._conflict(entry, source, existing)
            if entry.kind is Kind.DIRECTORY:
                if kind == "keep" or (existing.package and kind != "edited"):
                    return
                if kind == "edited":
                    entry = replace(entry, package=existing.package)
            elif not self._may_replace(existing, kind):
                raise self._conflict(entry, source, existing)
            elif kind in _STATE and self._is_inherited(existing, entry):
                return
        else:
            self._make_ancestors(entry, source)
        self._tree[entry.path] = entry
        self._sources[entry.path] = source
        self._own[entry.path] = kind
        self._layer_of[entry.path] = layer
        self._layers.setdefault(layer, {})[entry.path] = entry

    def _may_replace(self, existing: Entry, kind: str) -> bool:
        if existing.package:
            return kind in _STATE and existing.path in self._config
        return kind == "edited" or existing.path not in self._own

    def _is_inherited(self, existing: Entry, entry: Entry) -> bool:
        same = replace(entry, mtime=existing.mtime, inode=existing.inode)
        return existing.path not in self._own and same == existing

    def _conflict(self, entry: Entry, source: str, existing: Entry) -> ConflictError:
        other = self._sources[existing.path]
        return ConflictError(
            f"/{entry.path}: {_KIND_NAMES[entry.kind]} of {source},"
            f" but {_KIND_NAMES[existing.kind]} of {other}",
            causes=((source, None), (other, None)),
            hint="drop one of the two from the image",
        )

    def _make_ancestors(self, entry: Entry, source: str) -> None:
        parent = entry.path.rpartition("/")[0]
        missing = []
        while parent:
            existing = self._tree.get(parent)
            if existing is not None:
                if existing.kind is not Kind.DIRECTORY:
                    raise ConflictError(
                        f"/{entry.path} of {source} lies below /{parent},"
                        f" {_KIND_NAMES[existing.kind]} of {self._sources[parent]}",
                        causes=((source, None), (self._sources[parent], None)),
                        hint="drop one of the two from the image",
                    )
                break
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        for path in missing:
            self._tree[path] = Entry(
                path=path, kind=Kind.DIRECTORY, mode=0o755, user=0, group=0, mtime=_IMPLIED
            )
            self._sources[path] = source

    # ------------------------------------------------------------ reading

    def get(self, path: str) -> Entry | None:
        """Return the entry at a relative path, as the image has it so far."""
        return self._tree.get(path)

    def paths_below(self, prefix: str) -> list[str]:
        """Return the paths below a directory, sorted by their bytes."""
        start = f"{prefix}/"
        return sorted((p for p in self._tree if p.startswith(start)), key=path_bytes)

    # ------------------------------------------------------------ finishing

    def layer(self, name: str) -> Layer | None:
        """Finish a layer: ancestors and times (rules 6 and 7). None if it has no entries.

        Layers are finished in their order, when everything has been placed.
        """
        own = self._layers.get(name)
        if not own:
            return None
        entries = dict(own)
        newest: dict[str, int] = {}
        for path, entry in own.items():
            mtime = entry.mtime
            parent = path.rpartition("/")[0]
            while parent:
                if newest.get(parent, _IMPLIED - 1) >= mtime:
                    break
                newest[parent] = mtime
                parent = parent.rpartition("/")[0]
        for path, mtime in newest.items():
            if path not in entries:
                entries[path] = replace(self._tree[path], mtime=mtime)
        for path, entry in entries.items():
            if entry.mtime == _IMPLIED:
                mtime = newest.get(path, _IMPLIED)
                entries[path] = replace(entry, mtime=self._epoch if mtime == _IMPLIED else mtime)
        self._tree.update(
            (path, entry)
            for path, entry in entries.items()
            if path not in own or self._layer_of[path] == name
        )
        return Layer(name=name, entries=tuple(number_links(entries.values())))

    def tree(self) -> tuple[Entry, ...]:
        """Return the whole image after its last layer; every layer must have been finished."""
        return tuple(number_links(self._tree.values()))

    def sources(self) -> Mapping[str, str]:
        """Return, for each path, what put it there, for messages."""
        return self._sources
