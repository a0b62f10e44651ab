"""An existing local.sqlite -> values: what pkg wrote, migrated or changed over years.

docs/format/local-sqlite.md, rules L70, L76 and L77. Opening it is `localdb_file`'s work.
Not carried over, because no pkg sees it: orphans in dictionary tables, rows without a package,
duplicates of provides and requires, gaps between ids, statistics, texts of options.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from pipeline.errors import DatabaseError, FormatError
from pipeline.pkg.localdb import InstalledPackage, build_localdb
from pipeline.pkg.localdb_file import open_localdb
from pipeline.pkg.localdb_message import parse_messages
from pipeline.pkg.localdb_rows import (
    BINARY,
    LICENSE_LOGIC,
    LISTS,
    LUA_SCRIPT_TYPES,
    REPO_TYPE,
    REPOSITORY,
    SCRIPT_TYPES,
)
from pipeline.pkg.localdb_schema import tables
from pipeline.pkg.manifest import Dependency, DirectoryRecord, FileRecord, PackageManifest
from pipeline.pkg.manifestdigest import legacy_arch
from pipeline.pkg.names import byte_order, check_name, check_path, check_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import apsw

    from pipeline.pkg.localdb_schema import Column

Cell: TypeAlias = "str | int | None"
Row: TypeAlias = "Mapping[str, Cell]"
T = TypeVar("T")
V = TypeVar("V")
P = TypeVar("P", FileRecord, DirectoryRecord)

_SELECT_TEXT: Final = (
    'CASE typeof("{0}") WHEN \'text\' THEN CAST("{0}" AS BLOB) '
    "WHEN 'null' THEN NULL ELSE typeof(\"{0}\") END"
)
"""Text as its bytes; for a value of another type, the type's name, which is refused."""

_LOGIC: Final = {number: name for name, number in LICENSE_LOGIC.items()}
_SCRIPT_KINDS: Final = {number: kind for kind, number in SCRIPT_TYPES.items()}
_LUA_SCRIPT_KINDS: Final = {number: kind for kind, number in LUA_SCRIPT_TYPES.items()}


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
    value = row.get(column)
    return value if isinstance(value, str) else ""


def _optional(row: Row, column: str) -> str | None:
    return None if row.get(column) is None else _text(row, column)


def _number(row: Row, column: str) -> int:
    value = row.get(column)  # schema 36 has fewer columns
    return value if isinstance(value, int) else 0


def _known(names: Mapping[int, T], number: int, what: str) -> T:
    if number not in names:
        raise DatabaseError(f"got {what} {number}, want one of {', '.join(map(str, names))}")
    return names[number]


def _by_package(pairs: Iterable[tuple[int, T]]) -> Mapping[int, list[T]]:
    result: defaultdict[int, list[T]] = defaultdict(list)
    for package_id, value in pairs:
        result[package_id].append(value)
    return result


# ---------------------------------------------------------------- tables -> parts of packages


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the tables say of each package, by its id."""

    deps: Mapping[int, list[Dependency]]
    files: Mapping[int, list[FileRecord]]
    directories: Mapping[int, list[DirectoryRecord]]
    config: Mapping[int, list[tuple[str, str | None]]]
    scripts: Mapping[int, list[tuple[str, str]]]
    lua_scripts: Mapping[int, list[tuple[str, str]]]
    options: Mapping[int, list[tuple[str, str]]]
    annotations: Mapping[int, list[tuple[str, str]]]
    lists: Mapping[str, Mapping[int, list[str]]]


class _Reader:
    """Reads the tables of one checked database."""

    def __init__(self, connection: apsw.Connection, schema: int) -> None:
        self._connection = connection
        self._tables = {table.name: table for table in tables(schema)}

    def packages(self) -> tuple[InstalledPackage, ...]:
        """Return every package, sorted by name."""
        rows = sorted(self._rows("packages"), key=lambda row: byte_order(_text(row, "name")))
        parts = _Parts(
            deps=self._owned("deps", _dependency),
            files=self._owned("files", _file),
            directories=self._directories(),
            config=self._owned("config_files", _config),
            scripts=self._scripts("script", _SCRIPT_KINDS),
            lua_scripts=self._scripts("lua_script", _LUA_SCRIPT_KINDS),
            options=self._linked(
                "pkg_option",
                "option_id",
                self._dictionary("option", "option_id", "option"),
                lambda row, option: (option, _text(row, "value")),
            ),
            annotations=self._annotations(),
            lists=self._lists({_number(row, "id"): _text(row, "name") for row in rows}),
        )
        return tuple(_package(row, parts) for row in rows)

    def _rows(self, name: str) -> Iterator[Row]:
        """Yield the rows of a table in the order in which they were written."""
        columns = self._tables[name].columns
        selected = ", ".join(
            _SELECT_TEXT.format(c.name) if c.is_text else f'"{c.name}"' for c in columns
        )
        query = f"SELECT {selected} FROM {name} ORDER BY rowid"  # noqa: S608 - our own names
        for cells in self._connection.execute(query):
            yield {
                column.name: _decoded(cell, column, name)
                for column, cell in zip(columns, cells, strict=True)
            }

    def _owned(self, table: str, make: Callable[[Row], T]) -> Mapping[int, list[T]]:
        return _by_package((_number(row, "package_id"), make(row)) for row in self._rows(table))

    def _dictionary(self, table: str, key: str, value: str) -> Mapping[int, str]:
        return {_number(row, key): _text(row, value) for row in self._rows(table)}

    def _linked(
        self, table: str, column: str, values: Mapping[int, V], make: Callable[[Row, V], T]
    ) -> Mapping[int, list[T]]:
        """Follow links as a join does: one that leads nowhere is no row."""
        return _by_package(
            (_number(row, "package_id"), make(row, values[_number(row, column)]))
            for row in self._rows(table)
            if row[column] in values
        )

    def _lists(self, names: Mapping[int, str]) -> Mapping[str, Mapping[int, list[str]]]:
        result = {"conflicts": self._linked("pkg_conflicts", "conflict_id", names, _itself)}
        for dictionary, value, links in LISTS:
            values = self._dictionary(dictionary, "id", value)
            for table, column, field in links:
                known = table in self._tables
                result[field] = self._linked(table, column, values, _itself) if known else {}
        return result

    def _directories(self) -> Mapping[int, list[DirectoryRecord]]:
        records = {_number(row, "id"): _directory(row) for row in self._rows("directories")}
        return self._linked("pkg_directories", "directory_id", records, _itself)

    def _scripts(self, kind: str, kinds: Mapping[int, str]) -> Mapping[int, list[tuple[str, str]]]:
        return self._linked(
            f"pkg_{kind}",
            f"{kind}_id",
            self._dictionary(kind, f"{kind}_id", kind),
            lambda row, text: (_known(kinds, _number(row, "type"), f"type of {kind}"), text),
        )

    def _annotations(self) -> Mapping[int, list[tuple[str, str]]]:
        texts = self._dictionary("annotation", "annotation_id", "annotation")
        return _by_package(
            (_number(row, "package_id"), (texts[tag], texts[value]))
            for row in self._rows("pkg_annotation")
            for tag, value in ((_number(row, "tag_id"), _number(row, "value_id")),)
            if tag in texts and value in texts
        )


def _itself(_: Row, value: V) -> V:
    return value


def _dependency(row: Row) -> Dependency:
    return Dependency(
        name=_text(row, "name"), origin=_text(row, "origin"), version=_text(row, "version")
    )


def _file(row: Row) -> FileRecord:
    path = _path(row, "files")
    return FileRecord(
        path=path,
        sum=_optional(row, "sha256"),
        uname=_optional(row, "uname"),
        gname=_optional(row, "gname"),
        perm=_number(row, "perm"),
        fflags=_number(row, "fflags"),
        mtime=_number(row, "mtime"),
        symlink_target=_optional(row, "symlink_target"),
    )


def _directory(row: Row) -> DirectoryRecord:
    return DirectoryRecord(
        path=_path(row, "directories"),
        uname=_optional(row, "uname"),
        gname=_optional(row, "gname"),
        perm=_number(row, "perm"),
        fflags=_number(row, "fflags"),
    )


def _config(row: Row) -> tuple[str, str | None]:
    return _path(row, "config_files"), _optional(row, "content")


def _path(row: Row, table: str) -> str:
    try:
        return check_path(_text(row, "path"))
    except FormatError as e:
        raise DatabaseError(e.message, context=table) from None


# ---------------------------------------------------------------- parts -> packages


def _package(row: Row, parts: _Parts) -> InstalledPackage:
    number, name = _number(row, "id"), _text(row, "name")
    annotations = dict(parts.annotations.get(number, ()))
    repository = None
    if annotations.get(REPO_TYPE) == BINARY and REPOSITORY in annotations:
        repository = annotations.pop(REPOSITORY)
        del annotations[REPO_TYPE]
    config = parts.config.get(number, ())
    try:
        manifest = _manifest(row, parts, annotations)
        return InstalledPackage(
            manifest=manifest,
            automatic=bool(_number(row, "automatic")),
            locked=bool(_number(row, "locked")),
            time=_number(row, "time"),
            repository=repository,
            manifestdigest=_optional(row, "manifestdigest"),
            config=_sorted_pairs((path, text) for path, text in config if text is not None),
        )
    except FormatError as e:
        raise DatabaseError(str(e), context=f"package {name!r}"[:200]) from None


def _manifest(row: Row, parts: _Parts, annotations: Mapping[str, str]) -> PackageManifest:
    number = _number(row, "id")

    def ordered(field: str) -> tuple[str, ...]:
        return tuple(sorted(set(parts.lists[field].get(number, ())), key=byte_order))

    deps = {d.name: d for d in reversed(parts.deps.get(number, []))}
    return PackageManifest(
        name=check_name(_text(row, "name")),
        origin=_text(row, "origin"),
        version=check_version(_text(row, "version")),
        comment=_text(row, "comment"),
        desc=_text(row, "desc"),
        maintainer=_text(row, "maintainer"),
        www=_text(row, "www"),
        prefix=_text(row, "prefix"),
        abi=_text(row, "arch"),
        arch=legacy_arch(_text(row, "arch")),
        flatsize=_number(row, "flatsize"),
        licenselogic=_known(_LOGIC, _number(row, "licenselogic"), "licenselogic"),
        licenses=ordered("licenses"),
        vital=bool(_number(row, "vital")),
        dep_formula=_optional(row, "dep_formula"),
        deps=tuple(deps[name] for name in sorted(deps, key=byte_order)),
        categories=ordered("categories"),
        users=ordered("users"),
        groups=ordered("groups"),
        shlibs_required=ordered("shlibs_required"),
        shlibs_required_ignore=ordered("shlibs_required_ignore"),
        shlibs_provided=ordered("shlibs_provided"),
        shlibs_provided_ignore=ordered("shlibs_provided_ignore"),
        conflicts=ordered("conflicts"),
        provides=ordered("provides"),
        requires=ordered("requires"),
        options=_sorted_pairs(parts.options.get(number, ())),
        annotations=_sorted_pairs(annotations.items()),
        files=_by_path(parts.files.get(number, ())),
        directories=_by_path(parts.directories.get(number, ())),
        config=tuple(sorted((path for path, _ in parts.config.get(number, ())), key=byte_order)),
        scripts=_by_kind(parts.scripts.get(number, ()), SCRIPT_TYPES),
        lua_scripts=_by_kind(parts.lua_scripts.get(number, ()), LUA_SCRIPT_TYPES),
        messages=parse_messages(_optional(row, "message")),
    )


def _sorted_pairs(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs, key=lambda pair: byte_order(pair[0])))


def _by_path(records: Iterable[P]) -> tuple[P, ...]:
    return tuple(sorted(records, key=lambda record: byte_order(record.path)))


def _by_kind(
    scripts: Iterable[tuple[str, str]], types: Mapping[str, int]
) -> tuple[tuple[str, str], ...]:
    """Group scripts by kind; several of one kind stay in the order in which they run."""
    return tuple(sorted(scripts, key=lambda script: types[script[0]]))
