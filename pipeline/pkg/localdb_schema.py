"""The schema of pkg's local.sqlite, versions 36 to 42, as data.

Source: freebsd/pkg, libpkg/pkgdb.c (pkgdb_init) and libpkg/private/db_upgrades.h, tags 1.18.0 to
2.8.4. Names, columns, constraints and indexes are pkg's interface; pkg never compares the text of
a schema, so the wording is ours. docs/format/local-sqlite.md, rules L10 to L13.

A version is what a *fresh* database of that version has. One that pkg migrated keeps objects of
its past; `LEFTOVER_TABLES` and `LEFTOVER_COLUMNS` name those that may still hold something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST: Final = 36
NEWEST: Final = 42

SCHEMAS: Final = tuple(range(OLDEST, NEWEST + 1))
"""Every schema that can be read and written."""

DEFAULT_SCHEMA: Final = 42
"""Every pkg reads and writes it, older ones with a warning; a pkg that is newer than a database
cannot even list packages before it has migrated it (rule L3)."""

WRITERS: Final[Mapping[int, str]] = {
    36: "1.18.0 to 2.3.1",
    37: "2.4.0 to 2.5.1",
    38: "2.6.0 to 2.6.2",
    39: "2.7.0 to 2.7.5",
    40: "no release (development of 2.8)",
    41: "no release (development of 2.8)",
    42: "2.8.0 to 2.8.4",
}
"""The pkg versions that make a database of each schema."""

COMPATIBLE_BELOW: Final = 1000
"""pkg opens a newer schema below this with a warning and refuses one from here on."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name and the rest of its definition."""

    name: str
    definition: str

    @property
    def is_text(self) -> bool:
        """Whether values are text; everything else is an integer."""
        return self.definition.startswith("TEXT")


@dataclass(frozen=True, slots=True)
class Table:
    """A table and the schema versions that have it."""

    name: str
    versions: range
    columns: tuple[Column, ...]
    constraint: str | None

    @property
    def sql(self) -> str:
        """The statement that creates it."""
        lines = [f"{c.name} {c.definition}" for c in self.columns]
        if self.constraint is not None:
            lines.append(self.constraint)
        return f"CREATE TABLE {self.name} (\n  " + ",\n  ".join(lines) + "\n)"


@dataclass(frozen=True, slots=True)
class Index:
    """An index and the schema versions that have it."""

    name: str
    versions: range
    target: str
    """`table (columns)`."""
    unique: bool

    @property
    def sql(self) -> str:
        """The statement that creates it."""
        return f"CREATE {'UNIQUE ' if self.unique else ''}INDEX {self.name} ON {self.target}"


# ---------------------------------------------------------------- how the data is written down


def _between(first: int, last: int) -> range:
    return range(first, last + 1)


_ALL: Final = _between(OLDEST, NEWEST)
_OPTION_TEXTS: Final = _between(OLDEST, 39)
_PLAIN_FILES: Final = _between(OLDEST, 36)
_FULL_FILES: Final = _between(37, NEWEST)
_IGNORED: Final = _between(38, NEWEST)
_REDUNDANT: Final = _between(OLDEST, 39)
_REDUNDANT_IGNORED: Final = _between(38, 39)
_SINCE_39: Final = _between(39, NEWEST)
_SINCE_41: Final = _between(41, NEWEST)
_SINCE_42: Final = _between(42, NEWEST)

_ID: Final = "INTEGER PRIMARY KEY"
_NAME: Final = "TEXT NOT NULL UNIQUE"
_OWNER: Final = "REFERENCES packages (id) ON DELETE CASCADE ON UPDATE CASCADE"
_PACKAGE: Final = f"INTEGER {_OWNER}"
_PACKAGE_REQUIRED: Final = f"INTEGER NOT NULL {_OWNER}"


def _kept(target: str, *, update: str) -> str:
    return f"REFERENCES {target} ON DELETE RESTRICT ON UPDATE {update}"


def _table(
    name: str, versions: range, *columns: tuple[str, str], constraint: str | None = None
) -> Table:
    return Table(name, versions, tuple(Column(*c) for c in columns), constraint)


def _dictionary(name: str, key: str, value: str, *, versions: range = _ALL) -> Table:
    return _table(name, versions, (key, _ID), (value, _NAME))


def _nullable_link(name: str, column: str, target: str, constraint: str) -> Table:
    return _table(
        name,
        _ALL,
        ("package_id", _PACKAGE),
        (column, f"INTEGER {_kept(target, update='RESTRICT')}"),
        constraint=f"{constraint} (package_id, {column})",
    )


def _link(name: str, column: str, target: str, *, versions: range = _ALL) -> Table:
    return _table(
        name,
        versions,
        ("package_id", _PACKAGE_REQUIRED),
        (column, f"INTEGER NOT NULL {_kept(target, update='RESTRICT')}"),
        constraint=f"UNIQUE (package_id, {column})",
    )


def _option_link(name: str, versions: range, *values: tuple[str, str]) -> Table:
    return _table(
        name,
        versions,
        ("package_id", _PACKAGE_REQUIRED),
        ("option_id", f"INTEGER NOT NULL {_kept('option (option_id)', update='CASCADE')}"),
        *values,
        constraint="PRIMARY KEY (package_id, option_id)",
    )


# ---------------------------------------------------------------- tables

_ATTRIBUTES: Final = (
    ("uname", "TEXT"),
    ("gname", "TEXT"),
    ("perm", "INTEGER"),
    ("fflags", "INTEGER"),
)
_ANNOTATION_REFERENCE: Final = (
    "INTEGER NOT NULL REFERENCES annotation (annotation_id) ON DELETE CASCADE ON UPDATE RESTRICT"
)

_TABLES: Final = (
    _table(
        "packages",
        _ALL,
        ("id", _ID),
        ("origin", "TEXT NOT NULL"),
        ("name", "TEXT NOT NULL"),
        ("version", "TEXT NOT NULL"),
        ("comment", "TEXT NOT NULL"),
        ("desc", "TEXT NOT NULL"),
        ("mtree_id", "INTEGER"),
        ("message", "TEXT"),
        ("arch", "TEXT NOT NULL"),
        ("maintainer", "TEXT NOT NULL"),
        ("www", "TEXT"),
        ("prefix", "TEXT NOT NULL"),
        ("flatsize", "INTEGER NOT NULL"),
        ("automatic", "INTEGER NOT NULL"),
        ("locked", "INTEGER NOT NULL DEFAULT 0"),
        ("licenselogic", "INTEGER NOT NULL"),
        ("time", "INTEGER"),
        ("manifestdigest", "TEXT"),
        ("pkg_format_version", "INTEGER"),
        ("dep_formula", "TEXT"),
        ("vital", "INTEGER NOT NULL DEFAULT 0"),
    ),
    _table(
        "pkg_script",
        _ALL,
        ("package_id", _PACKAGE),
        ("type", "INTEGER"),
        ("script_id", f"INTEGER {_kept('script (script_id)', update='CASCADE')}"),
        constraint="PRIMARY KEY (package_id, type)",
    ),
    _dictionary("script", "script_id", "script"),
    _dictionary("option", "option_id", "option"),
    _dictionary("option_desc", "option_desc_id", "option_desc", versions=_OPTION_TEXTS),
    _option_link("pkg_option", _ALL, ("value", "TEXT NOT NULL")),
    _option_link(
        "pkg_option_desc",
        _OPTION_TEXTS,
        (
            "option_desc_id",
            f"INTEGER NOT NULL {_kept('option_desc (option_desc_id)', update='CASCADE')}",
        ),
    ),
    _option_link("pkg_option_default", _OPTION_TEXTS, ("default_value", "TEXT NOT NULL")),
    _table(
        "deps",
        _ALL,
        ("origin", "TEXT NOT NULL"),
        ("name", "TEXT NOT NULL"),
        ("version", "TEXT NOT NULL"),
        ("package_id", _PACKAGE),
    ),
    _table(
        "files",
        _PLAIN_FILES,
        ("path", "TEXT PRIMARY KEY"),
        ("sha256", "TEXT"),
        ("package_id", _PACKAGE),
    ),
    _table(
        "files",
        _FULL_FILES,
        ("path", "TEXT PRIMARY KEY"),
        ("sha256", "TEXT"),
        *_ATTRIBUTES,
        ("mtime", "INTEGER"),
        ("symlink_target", "TEXT"),
        ("package_id", _PACKAGE),
    ),
    _dictionary("directories", "id", "path", versions=_PLAIN_FILES),
    _table("directories", _FULL_FILES, ("id", _ID), ("path", _NAME), *_ATTRIBUTES),
    _table(
        "pkg_directories",
        _ALL,
        ("package_id", _PACKAGE),
        ("directory_id", f"INTEGER {_kept('directories (id)', update='RESTRICT')}"),
        ("try", "INTEGER"),
        constraint="PRIMARY KEY (package_id, directory_id)",
    ),
    _dictionary("categories", "id", "name"),
    _nullable_link("pkg_categories", "category_id", "categories (id)", "PRIMARY KEY"),
    _dictionary("licenses", "id", "name"),
    _nullable_link("pkg_licenses", "license_id", "licenses (id)", "PRIMARY KEY"),
    _dictionary("users", "id", "name"),
    _nullable_link("pkg_users", "user_id", "users (id)", "UNIQUE"),
    _dictionary("groups", "id", "name"),
    _nullable_link("pkg_groups", "group_id", "groups (id)", "UNIQUE"),
    _dictionary("shlibs", "id", "name"),
    _link("pkg_shlibs_required", "shlib_id", "shlibs (id)"),
    _link("pkg_shlibs_required_ignore", "shlib_id", "shlibs (id)", versions=_IGNORED),
    _link("pkg_shlibs_provided", "shlib_id", "shlibs (id)"),
    _link("pkg_shlibs_provided_ignore", "shlib_id", "shlibs (id)", versions=_IGNORED),
    _dictionary("annotation", "annotation_id", "annotation"),
    _table(
        "pkg_annotation",
        _ALL,
        ("package_id", "INTEGER REFERENCES packages (id) ON DELETE CASCADE ON UPDATE RESTRICT"),
        ("tag_id", _ANNOTATION_REFERENCE),
        ("value_id", _ANNOTATION_REFERENCE),
        constraint="UNIQUE (package_id, tag_id)",
    ),
    _table(
        "pkg_conflicts",
        _ALL,
        ("package_id", _PACKAGE_REQUIRED),
        ("conflict_id", "INTEGER NOT NULL"),
        constraint="UNIQUE (package_id, conflict_id)",
    ),
    _table(
        "pkg_lock",
        _ALL,
        ("exclusive", "INTEGER(1)"),
        ("advisory", "INTEGER(1)"),
        ("read", "INTEGER(8)"),
    ),
    _table("pkg_lock_pid", _ALL, ("pid", _ID)),
    _table("provides", _ALL, ("id", _ID), ("provide", "TEXT NOT NULL")),
    _link("pkg_provides", "provide_id", "provides (id)"),
    _table(
        "config_files",
        _ALL,
        ("path", _NAME),
        ("content", "TEXT"),
        ("package_id", _PACKAGE),
    ),
    _table("requires", _ALL, ("id", _ID), ("require", "TEXT NOT NULL")),
    _link("pkg_requires", "require_id", "requires (id)"),
    _dictionary("lua_script", "lua_script_id", "lua_script"),
    _table(
        "pkg_lua_script",
        _ALL,
        ("package_id", _PACKAGE_REQUIRED),
        (
            "lua_script_id",
            f"INTEGER NOT NULL {_kept('lua_script (lua_script_id)', update='RESTRICT')}",
        ),
        ("type", "INTEGER"),
        constraint="UNIQUE (package_id, lua_script_id)",
    ),
)

# ---------------------------------------------------------------- indexes and the view


def _index(name: str, versions: range, target: str, *, unique: bool = False) -> Index:
    return Index(name, versions, target, unique)


def _by_package(table: str, versions: range) -> Index:
    return _index(f"{table}_package_id", versions, f"{table} (package_id)")


def _by_shlib(table: str) -> Index:
    return _index(f"{table}_shlib_id", _SINCE_42, f"{table} (shlib_id)")


_INDEXES: Final = (
    _index("packages_unique", _ALL, "packages (name)", unique=True),
    _index("packages_origin", _ALL, "packages (origin COLLATE NOCASE)"),
    _index("packages_name", _ALL, "packages (name COLLATE NOCASE)"),
    _index("pkg_digest_id", _ALL, "packages (origin, manifestdigest)"),
    _by_package("pkg_script", _REDUNDANT),
    _index("deps_unique", _ALL, "deps (name, version, package_id)", unique=True),
    _index("deporigini", _ALL, "deps (origin)"),
    _by_package("deps", _ALL),
    _by_package("files", _ALL),
    _by_package("pkg_directories", _REDUNDANT),
    _index("pkg_directories_directory_id", _ALL, "pkg_directories (directory_id)"),
    _by_package("pkg_categories", _REDUNDANT),
    _by_package("pkg_licenses", _REDUNDANT),
    _by_package("pkg_users", _REDUNDANT),
    _by_package("pkg_groups", _REDUNDANT),
    _by_package("pkg_shlibs_required", _REDUNDANT),
    _by_shlib("pkg_shlibs_required"),
    _by_package("pkg_shlibs_required_ignore", _REDUNDANT_IGNORED),
    _by_shlib("pkg_shlibs_required_ignore"),
    _by_package("pkg_shlibs_provided", _REDUNDANT),
    _by_shlib("pkg_shlibs_provided"),
    _by_package("pkg_shlibs_provided_ignore", _REDUNDANT_IGNORED),
    _by_shlib("pkg_shlibs_provided_ignore"),
    _by_package("pkg_annotation", _REDUNDANT),
    _index("pkg_conflicts_pid", _REDUNDANT, "pkg_conflicts (package_id)"),
    _index("pkg_conflicts_cid", _ALL, "pkg_conflicts (conflict_id)"),
    _index("provides_provide", _SINCE_39, "provides (provide)"),
    _index("pkg_provides_id", _REDUNDANT, "pkg_provides (package_id)"),
    _index("pkg_provides_provide_id", _SINCE_39, "pkg_provides (provide_id)"),
    _by_package("config_files", _SINCE_39),
    _index("requires_require", _SINCE_39, "requires (require)"),
    _index("pkg_requires_require_id", _SINCE_39, "pkg_requires (require_id)"),
    _by_package("pkg_requires", _SINCE_39),
    _by_package("pkg_lua_script", _SINCE_39),
)

_FLAVORS: Final = """CREATE VIEW flavors (package_id, flavor) AS
  SELECT link.package_id, flavor.annotation
  FROM pkg_annotation AS link
  JOIN annotation AS tag ON tag.annotation_id = link.tag_id
  JOIN annotation AS flavor ON flavor.annotation_id = link.value_id
  WHERE tag.annotation = 'flavor'"""
"""Since 41; pkg joins it to find a package's flavour."""

LEFTOVER_TABLES: Final = frozenset(
    {"mtree", "option_desc", "pkg_option_desc", "pkg_option_default"}
)
LEFTOVER_COLUMNS: Final[Mapping[str, frozenset[str]]] = {"packages": frozenset({"infos"})}
"""What a migrated database may still have, and no pkg in use fills."""


def check_schema(schema: int) -> int:
    """Return a schema version that this module describes, or raise DatabaseError."""
    if schema not in SCHEMAS:
        raise DatabaseError(
            f"got schema {schema}, want {OLDEST} to {NEWEST}",
            hint=f"{OLDEST} is what pkg {WRITERS[OLDEST]} writes, {NEWEST} what pkg "
            f"{WRITERS[NEWEST]} writes",
        )
    return schema


def tables(schema: int) -> tuple[Table, ...]:
    """Return the tables of a schema version, in the order in which they are created."""
    return tuple(t for t in _TABLES if schema in t.versions)


def indexes(schema: int) -> tuple[Index, ...]:
    """Return the indexes of a schema version, in the order in which they are created."""
    return tuple(i for i in _INDEXES if schema in i.versions)


def create_statements(schema: int) -> tuple[str, ...]:
    """Return the statements that make an empty database: tables, indexes, then the view."""
    view = (_FLAVORS,) if schema in _SINCE_41 else ()
    return (
        *(table.sql for table in tables(schema)),
        *(index.sql for index in indexes(schema)),
        *view,
    )
