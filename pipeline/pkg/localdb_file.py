"""Open an existing local.sqlite that nobody vouches for: bytes in, checked connection out.

docs/format/local-sqlite.md, rules L70 to L75. The bytes may be hostile. They are bounded; SQLite
reads them in memory, with everything off that a database can make it do, and its work is
counted; the tables are tables before anything is read from them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import apsw

from pipeline.errors import DatabaseError
from pipeline.pkg.localdb_schema import (
    COMPATIBLE_BELOW,
    LEFTOVER_COLUMNS,
    LEFTOVER_TABLES,
    NEWEST,
    OLDEST,
    WRITERS,
    tables,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.pkg.localdb_schema import Table

MAX_DATABASE: Final = 1 << 30
"""Bytes; a system of two thousand ports needs a tenth of it."""

MAX_VALUE: Final = 64 << 20
"""Bytes of one value: a script, a message, a config file."""

STEPS_PER_BYTE: Final = 16
STEPS_AT_LEAST: Final = 10_000_000
"""SQLite's virtual machine may do this much for a database; honest ones need a tenth."""

_STEPS_PER_CALL: Final = 10_000
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_SIZE: Final = 100
_PAGE_SIZES: Final = (1024, 4096)
"""SQLite's default before and since 3.12; pkg never sets another."""
_JOURNAL_VERSIONS: Final = (1, 2)
_UTF8: Final = 1
_WAL_HEADER_SIZE: Final = 32
_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
_SHOWN: Final = 3

_SETTINGS: Final = (
    "trusted_schema = off",
    "cell_size_check = on",
    "query_only = on",
    "temp_store = memory",
)


@contextmanager
def open_localdb(
    raw: bytes, *, wal: bytes, journal: bytes
) -> Iterator[tuple[apsw.Connection, int]]:
    """Open the bytes of a database in memory; give a connection to it and its schema version.

    Args:
        raw: the file `local.sqlite`.
        wal: the file `local.sqlite-wal` beside it; empty if there is none.
        journal: the file `local.sqlite-journal` beside it; empty if there is none.

    Raises:
        DatabaseError: it is no database of pkg's, damaged, unfinished or of an unknown schema;
            also for what SQLite finds wrong while the caller reads.
    """
    _refuse_unfinished(wal, journal)
    schema = check_header(raw)
    connection = apsw.Connection(":memory:")
    try:
        _load(connection, raw)
        _check_tables(connection, schema)
        _check_content(connection)
        yield connection, schema
    except apsw.InterruptError:
        raise DatabaseError("reading it takes more work than its size explains") from None
    except UnicodeDecodeError:
        raise DatabaseError("a name in its schema is not UTF-8") from None
    except apsw.Error as e:
        raise DatabaseError(f"SQLite cannot read it: {e}") from e
    finally:
        connection.close()


def _refuse_unfinished(wal: bytes, journal: bytes) -> None:
    hint = "let pkg finish it (pkg shell 'PRAGMA wal_checkpoint(TRUNCATE)') and try again"
    if len(wal) > _WAL_HEADER_SIZE:
        raise DatabaseError(
            f"a write-ahead log of {len(wal)} bytes beside it, which may hold changes that the "
            "database itself does not",
            hint=hint,
        )
    if journal.startswith(_JOURNAL_MAGIC):
        raise DatabaseError("a rollback journal beside it: a change was interrupted", hint=hint)


def check_header(raw: bytes) -> int:
    """Check a database's size and file header; return its schema version."""

    def number(offset: int) -> int:
        return int.from_bytes(raw[offset : offset + 4], "big")

    if len(raw) > MAX_DATABASE:
        raise DatabaseError(f"database of {len(raw)} bytes, want at most {MAX_DATABASE}")
    if len(raw) < _HEADER_SIZE or not raw.startswith(_MAGIC):
        raise DatabaseError("not an SQLite database")
    page_size = int.from_bytes(raw[16:18], "big")
    if page_size not in _PAGE_SIZES:
        raise DatabaseError(
            f"got page size {1 << 16 if page_size == 1 else page_size}, want 4096 or 1024: "
            "pkg makes no others",
            hint="VACUUM it with PRAGMA page_size = 4096",
        )
    if raw[18] not in _JOURNAL_VERSIONS or raw[19] not in _JOURNAL_VERSIONS:
        raise DatabaseError(f"got file format {raw[18]}, {raw[19]}, want 1 or 2")
    if number(56) != _UTF8:
        raise DatabaseError(f"got text encoding {number(56)}, want 1 (UTF-8), as pkg requires")
    pages, rest = divmod(len(raw), page_size)
    if rest or (number(24) == number(92) and number(28) != pages):
        raise DatabaseError(
            f"got {len(raw)} bytes, want {number(28)} pages of {page_size}: "
            "it is truncated, or the rest is in a write-ahead log",
        )
    return _check_version(number(60))


def _check_version(version: int) -> int:
    if version == 0:
        raise DatabaseError("an SQLite database, but none that pkg made: its user_version is 0")
    if version > NEWEST:
        fate = "still reads it" if version < COMPATIBLE_BELOW else "refuses it, too"
        raise DatabaseError(
            f"got schema {version}, want at most {NEWEST}: "
            f"it is newer than this program, pkg {WRITERS[NEWEST]} {fate}",
        )
    if version < OLDEST:
        raise DatabaseError(
            f"got schema {version}, want at least {OLDEST}",
            hint="any pkg since 1.18 migrates it when it next writes",
        )
    return version


def _load(connection: apsw.Connection, raw: bytes) -> None:
    """Give SQLite the bytes, in rollback mode: one in WAL mode cannot be opened in memory."""
    connection.deserialize("main", raw[:18] + b"\x01\x01" + raw[20:])
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}")
    allowed = STEPS_AT_LEAST + STEPS_PER_BYTE * len(raw)
    connection.set_progress_handler(_countdown(allowed // _STEPS_PER_CALL), _STEPS_PER_CALL)


def _countdown(calls: int) -> Callable[[], bool]:
    """Return a progress handler that stops SQLite after so many calls."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


# ---------------------------------------------------------------- is it what it says (L74, L75)


def _check_tables(connection: apsw.Connection, schema: int) -> None:
    found = {
        str(name): str(sql)
        for name, sql in connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"
        )
    }
    described = {table.name: table for table in tables(schema)}
    if missing := sorted(described.keys() - found.keys()):
        raise DatabaseError(f"no table {', '.join(missing)}, want those of schema {schema}")
    for name in sorted(found):
        if found[name].upper().startswith("CREATE VIRTUAL"):
            raise DatabaseError(f"table {name!r} is virtual, want none that is")
        if name in described:
            _check_columns(connection, described[name])
        elif name not in LEFTOVER_TABLES and not name.startswith("sqlite_"):
            raise DatabaseError(f"unknown table {name!r}, whose content would be lost")


def _check_columns(connection: apsw.Connection, table: Table) -> None:
    hidden = {
        str(column[1]): int(column[6])
        for column in connection.execute(f'PRAGMA table_xinfo("{table.name}")')
    }
    wanted = {column.name for column in table.columns}
    if missing := sorted(wanted - hidden.keys()):
        raise DatabaseError(f"no column {', '.join(missing)}", context=table.name)
    unknown = sorted(hidden.keys() - wanted - LEFTOVER_COLUMNS.get(table.name, frozenset()))
    if unknown:
        raise DatabaseError(
            f"unknown column {unknown[0]!r}, whose content would be lost", context=table.name
        )
    if any(hidden[name] for name in wanted):
        raise DatabaseError("a column is generated, want stored ones", context=table.name)


def _check_content(connection: apsw.Connection) -> None:
    faults = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    if faults != ["ok"]:
        shown = "; ".join(faults[:_SHOWN])
        raise DatabaseError(f"integrity check failed: {shown}", hint="restore it from a backup")
    broken = [f"{row[0]} row {row[1]}" for row in connection.execute("PRAGMA foreign_key_check")]
    if broken:
        shown = ", ".join(broken[:_SHOWN])
        raise DatabaseError(f"{len(broken)} rows point nowhere: {shown}")
