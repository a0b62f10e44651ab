"""The package database as a pure function: installed packages -> canonical local.sqlite.

docs/format/local-sqlite.md is the recipe; L1 and so on are its numbers. `localdb_rows` says what
goes where, `localdb_schema` into which tables. Here SQLite lays out the pages, and only that:
nothing is read from or written to a file, and the bytes do not depend on the library's version
(from 3.42), the platform, the order of the input, or the clock.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import apsw

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.pkg.localdb_rows import database_rows
from pipeline.pkg.localdb_schema import NEWEST, check_schema, create_statements, tables
from pipeline.pkg.names import byte_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.pkg.localdb_rows import Rows
    from pipeline.pkg.localdb_schema import Table
    from pipeline.pkg.manifest import PackageManifest

MINIMUM_SQLITE: Final = (3, 42, 0)
"""Older libraries split pages elsewhere (3.40 does); from here on the bytes are the same (L20)."""

_LIBRARY_VERSION: Final = 3_042_000
"""What the header says of the library that wrote it; nobody compares it."""

PAGE_SIZE: Final = 4096
HEADER_SIZE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledPackage:
    """A package and what only its installation knows."""

    manifest: PackageManifest
    automatic: bool
    """Pulled in by another package rather than asked for."""
    locked: bool
    time: int
    """When it was installed, seconds."""
    repository: str | None
    """Name of the repository it came from; None if it was added as a file."""
    manifestdigest: str | None
    """Digest of the repository's record; None if it was added as a file."""
    config: tuple[tuple[str, str], ...]
    """Pairs of (path, content) of the manifest's config files, sorted by path."""

    def __post_init__(self) -> None:
        paths = [path for path, _ in self.config]
        if paths != sorted(set(paths), key=byte_order) or not set(paths) <= set(
            self.manifest.config
        ):
            raise DatabaseError(
                f"got contents of {', '.join(paths)[:200]}, want config files of the manifest, "
                "sorted, each once",
                context=self.manifest.name,
            )


def config_content(raw: bytes) -> str:
    """Return a config file's bytes as the database holds them: up to the first NUL (L45)."""
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def build_localdb(
    packages: Iterable[InstalledPackage], *, schema: int, source_date_epoch: int
) -> bytes:
    """Build the canonical database of these packages.

    Args:
        packages: in any order.
        schema: 36 to 42, see `localdb_schema`.
        source_date_epoch: files' modification times are clamped to it.

    Raises:
        DatabaseError: a package or a path twice, NUL in a text, a number that is too large.
        ConfigurationError: this SQLite would give other bytes.
    """
    described = tables(check_schema(schema))
    try:
        rows = database_rows(
            packages,
            tables=frozenset(table.name for table in described),
            source_date_epoch=source_date_epoch,
        )
        return _serialize(described, rows, schema)
    except UnicodeEncodeError as e:
        raise DatabaseError(f"text is not Unicode: {e.object[:80]!r}") from None


def check_library(version: str) -> None:
    """Raise ConfigurationError if an SQLite of this version would lay out pages differently."""
    if tuple(int(part) for part in version.split(".")) < MINIMUM_SQLITE:
        raise ConfigurationError(
            f"got SQLite {version}, want at least 3.42: older versions write other bytes",
            hint="install apsw from its wheel, which brings its own SQLite",
        )


# ---------------------------------------------------------------- rows -> bytes (L14 to L22)

_PRAGMAS: Final = (
    f"page_size = {PAGE_SIZE}",
    "encoding = 'UTF-8'",
    "auto_vacuum = none",
    "secure_delete = on",
    "temp_store = memory",
    "foreign_keys = off",
)


_HEADER: Final = struct.Struct(">16sH6sII8sII8sII28sII")
_SQLITES_OWN: Final = ((0, 18), (20, 24), (32, 40), (44, 60), (64, 92))
"""The bytes of the header that are not replaced by constants but must be as expected."""

_WIDEST: Final = {table.name: table for table in tables(NEWEST)}


def _serialize(described: Sequence[Table], rows: Mapping[str, Rows], schema: int) -> bytes:
    connection = apsw.Connection(":memory:")
    try:
        for (version,) in connection.execute("SELECT sqlite_version()"):
            check_library(version)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        for statement in create_statements(schema):
            connection.execute(statement)
        for table in described:
            _insert(connection, table, rows.get(table.name, ()))
        connection.execute("COMMIT")
        connection.execute("VACUUM")
        return _with_header(connection.serialize("main"), schema)
    finally:
        connection.close()


def _insert(connection: apsw.Connection, table: Table, rows: Rows) -> None:
    """Insert rows; they have the columns of the newest schema, of which an older one takes some."""
    widest = _WIDEST.get(table.name, table)
    picked = [widest.columns.index(column) for column in table.columns]
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    values = ", ".join("CAST(? AS TEXT)" if c.is_text else "?" for c in table.columns)
    try:
        connection.executemany(
            f"INSERT INTO {table.name} ({names}) VALUES ({values})",  # noqa: S608 - our own names
            (
                [_bound(v) if isinstance(v, str) else v for v in [row[i] for i in picked]]
                for row in rows
            ),
        )
    except DatabaseError as e:
        raise e.within(table.name) from None
    except apsw.ConstraintError as e:
        raise DatabaseError(f"two rows exclude each other: {e}", context=table.name) from None
    except OverflowError:
        raise DatabaseError("number of more than 63 bits", context=table.name) from None


def _bound(value: str) -> bytes:
    """Return what SQLite is given for text: its bytes, which need not be UTF-8 (L31)."""
    raw = byte_order(value)
    if b"\0" in raw:
        raise DatabaseError(f"NUL in {value[:80]!r}")
    return raw


def _with_header(image: bytes, schema: int) -> bytes:
    """Replace the file header: SQLite's has counters and its own version (L15)."""
    header = _HEADER.pack(
        b"SQLite format 3\0",
        PAGE_SIZE,
        bytes((1, 1, 0, 64, 32, 32)),  # rollback journal, nothing reserved, fixed fractions
        1,  # change counter
        len(image) // PAGE_SIZE,
        bytes(8),  # no free pages
        1,  # schema cookie
        4,  # schema format
        bytes(8),
        1,  # UTF-8
        schema,
        bytes(28),
        1,  # the change counter for which the page count holds
        _LIBRARY_VERSION,
    )
    for start, end in _SQLITES_OWN:
        if image[start:end] != header[start:end]:
            raise ConfigurationError(
                f"SQLite wrote {image[start:end].hex()} at byte {start} of the header, "
                f"want {header[start:end].hex()}",
                hint="install apsw from its wheel, which brings its own SQLite",
            )
    return header + image[HEADER_SIZE:]
