"""An existing local.sqlite -> values: what pkg wrote, migrated or changed over years.

docs/format/local-sqlite.md, rules L70 to L79. Opening it is `localdb_file`'s work.
Not carried over, because no pkg sees it: orphans in dictionary tables, rows without a package,
duplicates of provides and requires, gaps between ids, statistics, texts of options.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from pipeline.errors import DatabaseError, FormatError
from pipeline.formats.fields import checked, get_optional, get_required, refuse_unknown
from pipeline.pkg.localdb import (
    BINARY,
    LICENSE_LOGIC,
    LISTS,
    LUA_SCRIPT_TYPES,
    REPO_TYPE,
    REPOSITORY,
    SCRIPT_TYPES,
    InstalledPackage,
    build_localdb,
)
from pipeline.pkg.localdb_file import open_localdb
from pipeline.pkg.localdb_schema import tables
from pipeline.pkg.manifest import (
    Dependency,
    DirectoryRecord,
    FileRecord,
    Message,
    PackageManifest,
    byte_order,
    check_name,
    check_path,
    check_version,
)
from pipeline.pkg.manifestdigest import legacy_arch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import apsw

    from pipeline.pkg.localdb_schema import Column

Cell: TypeAlias = "str | int | None"
Row: TypeAlias = "Mapping[str, Cell]"
T = TypeVar("T")

_LOGIC: Final = {number: name for name, number in LICENSE_LOGIC.items()}
_SCRIPT_KINDS: Final = {number: kind for kind, number in SCRIPT_TYPES.items()}
_LUA_SCRIPT_KINDS: Final = {number: kind for kind, number in LUA_SCRIPT_TYPES.items()}
_MESSAGE_KEYS: Final = frozenset({"message", "type", "minimum_version", "maximum_version"})
_MESSAGE_KINDS: Final = (None, "install", "upgrade", "remove")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDatabase:
    """What a database says, without the accidents of how it came to be."""

    schema: int
    packages: tuple[InstalledPackage, ...]
    """Sorted by name."""


def parse_localdb(raw: bytes, *, wal: bytes, journal: bytes) -> LocalDatabase:
    """Read a database; see `open_localdb` for the arguments.

    Raises:
        DatabaseError: it is damaged, hostile, unfinished, of another schema, or holds what no
            package can say.
    """
    with open_localdb(raw, wal=wal, journal=journal) as (connection, schema):
        return LocalDatabase(schema=schema, packages=_Reader(connection, schema).packages())


def canonicalise_localdb(
    raw: bytes, *, wal: bytes, journal: bytes, schema: int | None, source_date_epoch: int
) -> bytes:
    """Rewrite a database canonically: read it, date it, build it.

    Args:
        raw: see `open_localdb`; likewise the next two.
        wal: see there.
        journal: see there.
        schema: the schema to write; None keeps the one it has.
        source_date_epoch: becomes the install time of every package and clamps files' times.
    """
    database = parse_localdb(raw, wal=wal, journal=journal)
    return build_localdb(
        [replace(package, time=source_date_epoch) for package in database.packages],
        schema=database.schema if schema is None else schema,
        source_date_epoch=source_date_epoch,
    )


# ---------------------------------------------------------------- cells


def _decoded(cell: object, column: Column, table: str) -> Cell:
    """Return a cell as its column's type; text comes as bytes, since it need not be UTF-8."""
    if cell is None:
        return None
    if column.is_text and isinstance(cell, bytes):
        if b"\0" in cell:
            raise DatabaseError(f"NUL in {cell[:80]!r}", context=f"{table}.{column.name}")
        return cell.decode("utf-8", "surrogateescape")
    if not column.is_text and type(cell) is int:
        return cell
    want = "text" if column.is_text else "an integer"
    raise DatabaseError(f"got {str(cell)[:80]!r}, want {want}", context=f"{table}.{column.name}")


def _text(row: Row, column: str) -> str:
    value = row[column]
    return value if isinstance(value, str) else ""


def _optional(row: Row, column: str) -> str | None:
    """Return a text of a column in which pkg writes the empty string and NULL alike (L42)."""
    return _text(row, column) or None


def _number(row: Row, column: str) -> int:
    value = row[column]
    return value if isinstance(value, int) else 0


def _known(names: Mapping[int, str], number: int, what: str) -> str:
    if number not in names:
        raise DatabaseError(f"got {what} {number}, want one of {', '.join(map(str, names))}")
    return names[number]


def _ordered(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values), key=byte_order))


def _by_package(pairs: Iterable[tuple[int, T]]) -> Mapping[int, list[T]]:
    result: defaultdict[int, list[T]] = defaultdict(list)
    for package_id, value in pairs:
        result[package_id].append(value)
    return result


# ---------------------------------------------------------------- tables


class _Reader:
    """Reads the tables of one checked database."""

    def __init__(self, connection: apsw.Connection, schema: int) -> None:
        self._connection = connection
        self._tables = {table.name: table for table in tables(schema)}

    def packages(self) -> tuple[InstalledPackage, ...]:
        """Return every package, sorted by name."""
        rows = sorted(self._rows("packages"), key=lambda row: byte_order(_text(row, "name")))
        parts = self._parts()
        return tuple(_package(row, parts) for row in rows)

    def _parts(self) -> _Parts:
        names = {_number(row, "id"): _text(row, "name") for row in self._rows("packages")}
        return _Parts(
            deps=self._owned("deps", _dependency),
            files=self._owned("files", _file),
            directories=self._directories(),
            config=self._owned("config_files", lambda r: (_text(r, "path"), r["content"])),
            scripts=self._texts("pkg_script", "script", "script_id", "script"),
            lua_scripts=self._texts("pkg_lua_script", "lua_script", "lua_script_id", "lua_script"),
            options=self._options(),
            annotations=self._annotations(),
            conflicts=self._linked("pkg_conflicts", "conflict_id", names),
            lists=self._lists(),
        )

    def _rows(self, name: str) -> Iterator[Row]:
        """Yield the rows of a table in the order in which they were written."""
        table = self._tables[name]
        selected = ", ".join(
            f"CASE typeof({c.quoted}) WHEN 'null' THEN NULL WHEN 'text' "
            f"THEN CAST({c.quoted} AS BLOB) ELSE typeof({c.quoted}) END"
            if c.is_text
            else c.quoted
            for c in table.columns
        )
        query = f"SELECT {selected} FROM {name} ORDER BY rowid"  # noqa: S608 - our own names
        for row in self._connection.execute(query):
            yield {
                column.name: _decoded(cell, column, name)
                for column, cell in zip(table.columns, row, strict=True)
            }

    def _owned(self, table: str, make: Callable[[Row], T]) -> Mapping[int, list[T]]:
        return _by_package((_number(row, "package_id"), make(row)) for row in self._rows(table))

    def _dictionary(self, table: str, key: str, value: str) -> Mapping[int, str]:
        return {_number(row, key): _text(row, value) for row in self._rows(table)}

    def _linked(
        self, table: str, column: str, values: Mapping[int, str]
    ) -> Mapping[int, list[str]]:
        """Follow links; pkg_conflicts may name a package that has been removed since."""
        return _by_package(
            (_number(row, "package_id"), values[_number(row, column)])
            for row in self._rows(table)
            if row[column] in values
        )

    def _lists(self) -> Mapping[str, Mapping[int, list[str]]]:
        result = {}
        for dictionary, value, links in LISTS:
            values = self._dictionary(dictionary, "id", value)
            for table, column, field in links:
                known = table in self._tables
                result[field] = self._linked(table, column, values) if known else {}
        return result
'''
