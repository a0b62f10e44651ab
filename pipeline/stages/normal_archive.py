"""An archive without its accidents: read once for its entries, then written in canonical order.

Used for root file systems and for layers of images; docs/format/normalisation.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.declaration.tables import DEFAULT_LEVELS
from pipeline.errors import FormatError
from pipeline.formats import tar
from pipeline.formats.compression import open_compressor
from pipeline.formats.digest import Digest, HashingWriter
from pipeline.formats.foreign_tar import ForeignTarReader, expand
from pipeline.oci.layer import layer_size, write_layer
from pipeline.pkg.localdb_file import MAX_DATABASE
from pipeline.rootfs.accounts import ROOT_ONLY, Accounts, parse_accounts
from pipeline.rootfs.normalise import DATABASE, JOURNAL, WAL, clean_path, normalise
from pipeline.rootfs.ownership import Owners
from pipeline.rootfs.trigger_names import is_drawn_name, trigger_names, with_whiteouts
from pipeline.stages.canonicalize_database import DatabaseFiles, make_canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.formats.algorithm import Algorithm
    from pipeline.formats.digest import Sink
    from pipeline.formats.foreign_tar import ForeignMember
    from pipeline.formats.mtree import Entry
    from pipeline.host.output import Spool
    from pipeline.rootfs.normalise import NormalTree, Rules
    from pipeline.stages.canonicalize_database import CanonicalDatabase, DatabaseRules

_MAX_ACCOUNTS: Final = 4 << 20
_PASSWD: Final = ("etc/master.passwd", "etc/passwd")
_GROUP: Final = "etc/group"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an archive is to be compressed."""

    algorithm: Algorithm
    level: int | None
    """None for the algorithm's own default (docs/FORMAT.md, section Compression)."""

    @property
    def effective_level(self) -> int:
        """The level that is used."""
        return DEFAULT_LEVELS[self.algorithm] if self.level is None else self.level


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalArchive:
    """An archive that has been read and understood."""

    spool: Spool
    tree: NormalTree
    database: CanonicalDatabase | None
    names: Mapping[str, str]
    """Old to new paths of what has another name now."""

    @property
    def size(self) -> int:
        """The length of its canonical tar."""
        return layer_size(self.tree.entries)

    def write(self, sink: Sink) -> None:
        """Write its canonical tar."""
        write_layer(self.tree.entries, self._content, sink)

    def write_compressed(self, sink: Sink, encoding: Encoding) -> Digest:
        """Write its canonical tar, compressed; return the digest of the tar."""
        compressor = open_compressor(
            sink,
            encoding.algorithm,
            level=encoding.effective_level,
            workers=os.cpu_count() or 1,
            size=self.size,
        )
        writer = HashingWriter(compressor)
        self.write(writer)
        compressor.close()
        return writer.digest

    def _content(self, entry: Entry) -> Iterator[bytes]:
        if entry.path == DATABASE and self.database is not None:
            return iter((self.database.raw,))
        member = self.tree.contents.get(entry.path)
        return iter(()) if member is None else _content(self.spool, member)


def read_archive(
    spool: Spool,
    rules: Rules,
    *,
    database: DatabaseRules,
    names: Mapping[str, str],
    what: str,
) -> NormalArchive:
    """Read an archive and make its database canonical.

    Args:
        spool: the archive; has to stay open until it has been written.
        rules: see there.
        database: what is asked of its package database, if it has one.
        names: what lower layers have under other names now.
        what: its name in errors.

    Raises:
        FormatError: it has what the canonical form cannot hold.
    """
    try:
        members = tuple(ForeignTarReader(spool.file))
        tree = normalise(members, rules, accounts=_accounts(spool, members, rules))
        names = {**_trigger_names(spool, tree), **names}
        tree = tree.renamed(with_whiteouts(names))
        canonical = None
        if tree.has_database:
            canonical = make_canonical(_database(spool, tree), database, what=DATABASE)
            tree = tree.with_database(len(canonical.raw))
    except FormatError as e:
        raise e.in_document(what) from None
    return NormalArchive(spool=spool, tree=tree, database=canonical, names=names)


def _content(spool: Spool, member: ForeignMember) -> Iterator[bytes]:
    return expand(member, lambda extent: spool.stretch(extent.position, extent.size))


def _trigger_names(spool: Spool, tree: NormalTree) -> dict[str, str]:
    return trigger_names(
        {
            path: Digest.of_chunks(_content(spool, member))
            for path, member in tree.contents.items()
            if is_drawn_name(path)
        },
        tree.contents,
    )


def _small(spool: Spool, member: ForeignMember | None, limit: int) -> bytes:
    """Return a whole file, at most one byte more than the limit of it."""
    pieces = []
    left = limit + 1
    for data in () if member is None else _content(spool, member):
        pieces.append(data[:left])
        left -= len(pieces[-1])
        if not left:
            break
    return b"".join(pieces)


def _database(spool: Spool, tree: NormalTree) -> DatabaseFiles:
    return DatabaseFiles(
        raw=_small(spool, tree.contents[DATABASE], MAX_DATABASE),
        wal=_small(spool, tree.companions.get(WAL), MAX_DATABASE),
        journal=_small(spool, tree.companions.get(JOURNAL), MAX_DATABASE),
    )


def _accounts(spool: Spool, members: Sequence[ForeignMember], rules: Rules) -> Accounts | None:
    """Return the archive's own accounts, if owners' names are to be looked at."""
    if rules.owners is Owners.IDS:
        return None
    wanted = {*_PASSWD, _GROUP}
    found = {
        clean_path(member.name): member
        for member in members
        if member.kind == tar.REGULAR and member.size <= _MAX_ACCOUNTS
        if member.name.rpartition("/")[2] in ("master.passwd", "passwd", "group")
        if clean_path(member.name) in wanted
    }
    passwd = next((found[path] for path in _PASSWD if path in found), None)
    if passwd is None:
        return ROOT_ONLY
    try:
        return parse_accounts(
            _small(spool, passwd, _MAX_ACCOUNTS), _small(spool, found.get(_GROUP), _MAX_ACCOUNTS)
        )
    except FormatError as e:
        e.hint = "--owners ids does not look at accounts"
        raise
