"""Stage `canonicalize database`: a local.sqlite that pkg wrote, alone or in a root directory.

The file itself is rewritten by `pkg.localdb_read` (docs/format/local-sqlite.md); here it is found,
read together with what SQLite left beside it, and replaced so that an interruption at any moment
leaves a database that says the same.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.formats.digest import Digest
from pipeline.formats.sqlite_wal import fold_wal
from pipeline.host.output import replacing
from pipeline.host.regular_file import open_regular
from pipeline.host.store import hash_file
from pipeline.pkg.localdb_file import MAX_DATABASE, check_header
from pipeline.pkg.localdb_read import canonicalise_localdb
from pipeline.rootfs.trigger_names import is_drawn_name, trigger_names

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRIGGERS: Final = "var/db/pkg/triggers"
IN_ROOT: Final = ("var", "db", "pkg", "local.sqlite")
_BESIDE: Final = ("-wal", "-shm", "-journal")
_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseRules:
    """What is asked of a database."""

    schema: int | None
    """The schema to write; None keeps the one it has."""
    source_date_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFiles:
    """A database as it lies on a disk or in an archive."""

    raw: bytes = field(repr=False)
    wal: bytes = field(repr=False, default=b"")
    journal: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalDatabase:
    """What became of a database."""

    raw: bytes = field(repr=False)
    before: Digest
    after: Digest
    schema_before: int
    schema: int

    @property
    def is_changed(self) -> bool:
        """Whether the file was not canonical already."""
        return self.before != self.after

    def __str__(self) -> str:
        if not self.is_changed:
            return f"canonical already, schema {self.schema}, {self.after}"
        schema = (
            f"schema {self.schema}"
            if self.schema == self.schema_before
            else f"schema {self.schema_before} -> {self.schema}"
        )
        return f"{schema}, {self.before} -> {self.after}"


def make_canonical(files: DatabaseFiles, rules: DatabaseRules, *, what: str) -> CanonicalDatabase:
    """Rewrite a database canonically, with what is committed in its write-ahead log.

    Raises:
        DatabaseError: it cannot be trusted or understood, and why.
    """
    try:
        folded = fold_wal(files.raw, files.wal)
        schema_before = check_header(folded)
        raw = canonicalise_localdb(
            folded,
            wal=b"",
            journal=files.journal,
            schema=rules.schema,
            source_date_epoch=rules.source_date_epoch,
        )
    except DatabaseError as e:
        raise e.in_document(what) from None
    return CanonicalDatabase(
        raw=raw,
        before=Digest.of(files.raw),
        after=Digest.of(raw),
        schema_before=schema_before,
        schema=check_header(raw),
    )


def read_database(path: Path) -> DatabaseFiles:
    """Read a database and what lies beside it.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        raw = _read(path)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file") from None
    beside = {}
    for suffix in ("-wal", "-journal"):
        beside[suffix] = b""
        with contextlib.suppress(FileNotFoundError):
            beside[suffix] = _read(path.with_name(path.name + suffix))
    return DatabaseFiles(raw=raw, wal=beside["-wal"], journal=beside["-journal"])


def _read(path: Path) -> bytes:
    with open_regular(path) as f:
        return f.read(MAX_DATABASE + 1)


def canonicalize_database(
    source: Path, *, output: Path | None, rules: DatabaseRules, dry_run: bool
) -> CanonicalDatabase:
    """Rewrite a database, in place or to another file: mode 0644, dated `source_date_epoch`.

    Args:
        source: the file.
        output: where to; None rewrites the file itself and removes what lies beside it.
        rules: see there.
        dry_run: change nothing.
    """
    files = read_database(source)
    result = make_canonical(files, rules, what=str(source))
    if dry_run:
        return result
    if output is not None and output.absolute() != source.absolute():
        _write(output, result.raw, rules)
        return result
    path = source.resolve()
    # (1) A log that an interruption leaves must never meet another database than its own
    if files.wal:
        _write(path, fold_wal(files.raw, files.wal), rules)
        _beside(path, "-wal").unlink(missing_ok=True)
    # (2) The database
    _write(path, result.raw, rules)
    # (3) What is left of the old one
    for suffix in _BESIDE:
        _beside(path, suffix).unlink(missing_ok=True)
    return result


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _write(path: Path, data: bytes, rules: DatabaseRules) -> None:
    with replacing(path, mtime=rules.source_date_epoch) as f:
        f.write(data)


# ---------------------------------------------------------------- root directories


@dataclass(frozen=True, slots=True, kw_only=True)
class RootResult:
    """What became of a root directory."""

    database: CanonicalDatabase
    clamped: int
    """Entries whose modification time was later than `source_date_epoch`."""


def database_in(root: Path) -> Path:
    """Return a root's database; no link on the way to it, which could lead out of the root.

    Raises:
        ConfigurationError: there is none, or a link.
    """
    if not root.is_dir():
        raise ConfigurationError(f"{root}: no such directory")
    path = root
    for component in IN_ROOT:
        path /= component
        if path.is_symlink():
            raise ConfigurationError(f"{path}: is a symlink, which may lead out of the root")
    if not path.is_file():
        raise ConfigurationError(
            f"{path}: no such file", hint="the root is the directory that holds var/db/pkg"
        )
    return path


def canonicalize_root(
    root: Path, *, rules: DatabaseRules, clamp: bool, dry_run: bool
) -> RootResult:
    """Rewrite the database of a root directory in place, and touch nothing else.

    Args:
        root: the directory.
        rules: see there.
        clamp: set every later modification time to `source_date_epoch`, too, and name deferred
            triggers by their contents.
        dry_run: change nothing.
    """
    path = database_in(root)
    with _kept_times(path.parent):
        database = canonicalize_database(path, output=None, rules=rules, dry_run=dry_run)
    clamped = 0
    if clamp:
        _rename_triggers(path.parent / "triggers", dry_run=dry_run)
        clamped = _clamp(root, rules.source_date_epoch, dry_run=dry_run)
    return RootResult(database=database, clamped=clamped)


def _rename_triggers(folder: Path, *, dry_run: bool) -> None:
    """Give deferred triggers the names that archives give them."""
    if folder.is_symlink() or not folder.is_dir():
        return
    found = {f"{_TRIGGERS}/{path.name}": path for path in sorted(folder.iterdir())}
    names = trigger_names(
        {
            name: hash_file(path)
            for name, path in found.items()
            if is_drawn_name(name) and path.is_file() and not path.is_symlink()
        },
        found,
    )
    for name, new in () if dry_run else names.items():
        found[name].rename(folder / new.rpartition("/")[2])


@contextlib.contextmanager
def _kept_times(folder: Path) -> Iterator[None]:
    """Set a directory's times back to what they were."""
    before = folder.stat()
    try:
        yield
    finally:
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


def _clamp(root: Path, source_date_epoch: int, *, dry_run: bool) -> int:
    latest = source_date_epoch * _NANOSECONDS
    late = [path for path in _tree(root) if path.lstat().st_mtime_ns > latest]
    for path in () if dry_run else late:
        times = (path.lstat().st_atime_ns, latest)
        os.utime(path, ns=times, follow_symlinks=False)
    return len(late)


def _tree(root: Path) -> Iterator[Path]:
    """Yield a directory and all that is in it, on its own file system."""
    device = root.stat().st_dev
    yield root
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [name for name in folders if (here / name).lstat().st_dev == device]
        yield from (here / name for name in (*folders, *files))
