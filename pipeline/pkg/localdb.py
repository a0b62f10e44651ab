"""The package database as a pure function: installed packages -> canonical local.sqlite.

docs/format/local-sqlite.md is the recipe; (L1) and so on below are its numbers. Source of what goes
where: freebsd/pkg 2.8.4, libpkg/pkgdb.c (pkgdb_register_pkg), pkg_add.c and pkg.c.

SQLite only lays out the pages: nothing is read from or written to a file, and the result does not
depend on the library's version (from 3.42), platform, order of the input, or clock.
"""

from __future__ import annotations

import heapq
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import apsw

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.pkg.localdb_schema import NEWEST, check_schema, create_statements, tables
from pipeline.pkg.manifest import LUA_SCRIPT_KINDS, SCRIPT_KINDS, byte_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.pkg.localdb_schema import Table
    from pipeline.pkg.manifest import DirectoryRecord, Message, PackageManifest

Value: TypeAlias = "str | int | None"
Rows: TypeAlias = "Sequence[tuple[Value, ...]]"

MINIMUM_SQLITE: Final = (3, 42, 0)
"""Older libraries split pages elsewhere (3.40 does); from here on the bytes are the same (L20)."""

_LIBRARY_VERSION: Final = 3_042_000
"""What the header says of the library that wrote it; nobody compares it."""

PAGE_SIZE: Final = 4096
HEADER_SIZE: Final = 100

REPOSITORY: Final = "repository"
REPO_TYPE: Final = "repo_type"
BINARY: Final = "binary"
"""Annotations of a package that came from a repository (pkg_add_common)."""

SCRIPT_TYPES: Final[Mapping[str, int]] = dict(zip(SCRIPT_KINDS, (0, 1, 2, 3, 6, 7), strict=True))
LUA_SCRIPT_TYPES: Final[Mapping[str, int]] = {kind: i for i, kind in enumerate(LUA_SCRIPT_KINDS)}
LICENSE_LOGIC: Final[Mapping[str, int]] = {"single": 1, "or": ord("|"), "and": ord("&")}

LISTS: Final = (
    ("categories", "name", (("pkg_categories", "category_id", "categories"),)),
    ("licenses", "name", (("pkg_licenses", "license_id", "licenses"),)),
    ("users", "name", (("pkg_users", "user_id", "users"),)),
    ("groups", "name", (("pkg_groups", "group_id", "groups"),)),
    (
        "shlibs",
        "name",
        (
            ("pkg_shlibs_required", "shlib_id", "shlibs_required"),
            ("pkg_shlibs_required_ignore", "shlib_id", "shlibs_required_ignore"),
            ("pkg_shlibs_provided", "shlib_id", "shlibs_provided"),
            ("pkg_shlibs_provided_ignore", "shlib_id", "shlibs_provided_ignore"),
        ),
    ),
    ("provides", "provide", (("pkg_provides", "provide_id", "provides"),)),
    ("requires", "require", (("pkg_requires", "require_id", "requires"),)),
)
"""Dictionary table, its value's column, and its links: (table, column, field of the manifest)."""


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
    check_schema(schema)
    described = tables(schema)
    try:
        rows = _all_rows(
            _sorted_packages(packages), frozenset(t.name for t in described), source_date_epoch
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


# ---------------------------------------------------------------- packages -> rows (L30 to L60)


def _sorted_packages(packages: Iterable[InstalledPackage]) -> tuple[InstalledPackage, ...]:
    result = sorted(packages, key=lambda p: byte_order(p.manifest.name))
    _refuse_twice([(p.manifest.name, p.manifest.version) for p in result], "package")
    return tuple(result)


def _refuse_twice(items: Iterable[tuple[str, str]], what: str) -> None:
    """Raise if two neighbours of a sorted list have the same key."""
    last = ("", "")
    for item in items:
        if item[0] == last[0] and last != ("", ""):
            raise DatabaseError(f"{what} {item[0]!r} twice: {last[1]} and {item[1]}")
        last = item


def _numbered(values: Iterable[str]) -> dict[str, int]:
    return {v: i for i, v in enumerate(sorted(set(values), key=byte_order), 1)}


def _dictionary(ids: Mapping[str, int]) -> Rows:
    return [(i, value) for value, i in ids.items()]


def _all_rows(
    packages: Sequence[InstalledPackage], names: frozenset[str], source_date_epoch: int
) -> dict[str, Rows]:
    manifests = [p.manifest for p in packages]
    return {
        "packages": [_package_row(i, p) for i, p in enumerate(packages, 1)],
        "deps": [
            (d.origin, d.name, d.version, i)
            for i, m in enumerate(manifests, 1)
            for d in sorted(m.deps, key=lambda d: byte_order(d.name))
        ],
        "files": _file_rows(manifests, source_date_epoch),
        "config_files": _config_rows(packages),
        "pkg_conflicts": _conflict_rows(manifests),
        "pkg_lock": [(0, 0, 0)],
        **_directory_rows(manifests),
        **_script_rows(manifests),
        **_lua_script_rows(manifests),
        **_option_rows(manifests),
        **_annotation_rows(packages),
        **_list_rows(manifests, names),
    }


def _package_row(number: int, package: InstalledPackage) -> tuple[Value, ...]:
    m = package.manifest
    return (
        number,
        m.origin,
        m.name,
        m.version,
        m.comment,
        m.desc,
        None,
        messages_text(m.messages),
        m.abi,
        m.maintainer,
        m.www,
        m.prefix,
        m.flatsize,
        int(package.automatic),
        int(package.locked),
        LICENSE_LOGIC[m.licenselogic],
        package.time,
        package.manifestdigest,
        None,
        m.dep_formula,
        int(m.vital),
    )


def _file_rows(manifests: Sequence[PackageManifest], source_date_epoch: int) -> Rows:
    owned = [(byte_order(f.path), i, f) for i, m in enumerate(manifests, 1) for f in m.files]
    owned.sort(key=lambda item: item[:2])
    _refuse_twice(((f.path, manifests[i - 1].name) for _, i, f in owned), "path")
    return [
        (
            f.path,
            f.sum,
            f.uname or None,
            f.gname or None,
            f.perm,
            f.fflags,
            min(max(f.mtime, 0), source_date_epoch),
            f.symlink_target or None,
            i,
        )
        for _, i, f in owned
    ]


def _config_rows(packages: Sequence[InstalledPackage]) -> Rows:
    owned = []
    for i, package in enumerate(packages, 1):
        contents = dict(package.config)
        owned += [(path, contents.get(path), i) for path in package.manifest.config]
    owned.sort(key=lambda row: (byte_order(row[0]), row[2]))
    _refuse_twice(
        ((path, packages[i - 1].manifest.name) for path, _, i in owned), "config file"
    )
    return owned


def _directory_rows(manifests: Sequence[PackageManifest]) -> dict[str, Rows]:
    """Give a shared directory the attributes that its first installed owner has for it (L43)."""
    first: dict[str, DirectoryRecord] = {}
    for manifest in _install_order(manifests):
        for directory in manifest.directories:
            first.setdefault(directory.path, directory)
    ids = _numbered(first)
    return {
        "directories": [
            (i, path, d.uname or None, d.gname or None, d.perm, d.fflags)
            for path, i in ids.items()
            for d in (first[path],)
        ],
        "pkg_directories": [
            (i, number, 1)
            for i, m in enumerate(manifests, 1)
            for number in sorted({ids[d.path] for d in m.directories})
        ],
    }


def _install_order(manifests: Sequence[PackageManifest]) -> Iterator[PackageManifest]:
    """Yield dependencies first, by name where there is a choice, as pkg_jobs_schedule.c does."""
    by_name = {m.name: m for m in manifests}
    waiting = {
        m.name: {d.name for d in m.deps if d.name in by_name and d.name != m.name}
        for m in manifests
    }
    dependents: dict[str, list[str]] = {name: [] for name in by_name}
    for name, needed in waiting.items():
        for dependency in needed:
            dependents[dependency].append(name)
    ready = [(byte_order(name), name) for name, needed in waiting.items() if not needed]
    heapq.heapify(ready)
    while waiting:
        if ready:
            _, name = heapq.heappop(ready)
        else:  # a cycle, which pkg cannot install: break it at the first name
            name = min(waiting, key=byte_order)
        del waiting[name]
        yield by_name[name]
        for dependent in dependents[name]:
            if dependent in waiting:
                waiting[dependent].discard(name)
                if not waiting[dependent]:
                    heapq.heappush(ready, (byte_order(dependent), dependent))


def _script_rows(manifests: Sequence[PackageManifest]) -> dict[str, Rows]:
    ids = _numbered(text for m in manifests for _, text in m.scripts)
    return {
        "script": _dictionary(ids),
        "pkg_script": [
            (i, kind, ids[text])
            for i, m in enumerate(manifests, 1)
            for kind, text in sorted((SCRIPT_TYPES[kind], text) for kind, text in m.scripts)
        ],
    }


def _lua_script_rows(manifests: Sequence[PackageManifest]) -> dict[str, Rows]:
    """Number lua scripts by first use: pkg runs them by id or by row, never by text (L53)."""
    ids: dict[str, int] = {}
    links = []
    for i, m in enumerate(manifests, 1):
        ordered = sorted(m.lua_scripts, key=lambda script: LUA_SCRIPT_TYPES[script[0]])
        _refuse_twice(
            sorted((text, f"package {m.name}") for _, text in ordered), "lua script"
        )
        for kind, text in ordered:
            links.append((i, ids.setdefault(text, len(ids) + 1), LUA_SCRIPT_TYPES[kind]))
    return {"lua_script": _dictionary(ids), "pkg_lua_script": links}


def _option_rows(manifests: Sequence[PackageManifest]) -> dict[str, Rows]:
    ids = _numbered(key for m in manifests for key, _ in m.options)
    return {
        "option": _dictionary(ids),
        "pkg_option": [
            (i, number, value)
            for i, m in enumerate(manifests, 1)
            for number, value in sorted((ids[key], value) for key, value in m.options)
        ],
    }


def _annotations(package: InstalledPackage) -> dict[str, str]:
    """Return all annotations; the manifest's own win, as in pkg_kv_add."""
    result = dict(package.manifest.annotations)
    if package.repository is not None:
        result.setdefault(REPOSITORY, package.repository)
        result.setdefault(REPO_TYPE, BINARY)
    return result


def _annotation_rows(packages: Sequence[InstalledPackage]) -> dict[str, Rows]:
    annotations = [_annotations(p) for p in packages]
    ids = _numbered(text for a in annotations for pair in a.items() for text in pair)
    return {
        "annotation": _dictionary(ids),
        "pkg_annotation": [
            (i, tag, value)
            for i, a in enumerate(annotations, 1)
            for tag, value in sorted((ids[tag], ids[value]) for tag, value in a.items())
        ],
    }


def _conflict_rows(manifests: Sequence[PackageManifest]) -> Rows:
    """Name the installed ones: the column cannot hold a package that is not there (L56)."""
    ids = {m.name: i for i, m in enumerate(manifests, 1)}
    return [
        (i, number)
        for i, m in enumerate(manifests, 1)
        for number in sorted({ids[name] for name in m.conflicts if name in ids})
    ]


def _list_rows(manifests: Sequence[PackageManifest], names: frozenset[str]) -> dict[str, Rows]:
    rows: dict[str, Rows] = {}
    for dictionary, _, links in LISTS:
        fields = [(table, field) for table, _, field in links if table in names]
        ids = _numbered(v for m in manifests for _, field in fields for v in getattr(m, field))
        rows[dictionary] = _dictionary(ids)
        for table, field in fields:
            rows[table] = [
                (i, number)
                for i, m in enumerate(manifests, 1)
                for number in sorted({ids[v] for v in getattr(m, field)})
            ]
    return rows


# ---------------------------------------------------------------- messages (L47)

_ESCAPES: Final = {
    **dict.fromkeys((*range(0x20), 0x7F, 0xFFFD), "\\uFFFD"),
    **{ord("\n"): "\\n", ord("\r"): "\\r", ord("\b"): "\\b", ord("\t"): "\\t"},
    **{ord("\f"): "\\f", ord("\v"): "\\u000B", ord("\\"): "\\\\", ord('"'): '\\"'},
}
"""libucl's escapes; U+FFFD itself too, so that a text that was read back stays the same."""


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def messages_text(messages: Sequence[Message]) -> str | None:
    """Return the column `message`: compact JSON as libucl writes it, NULL for no message."""
    if not messages:
        return None
    return "[" + ",".join(_message_text(m) for m in messages) + "]"


def _message_text(message: Message) -> str:
    members = [("message", message.text.strip(" \t\n\v\f\r"))]
    if message.kind is not None:
        members.append(("type", message.kind))
    if message.kind == "upgrade":
        if message.maximum_version is not None:
            members.append(("maximum_version", message.maximum_version))
        if message.minimum_version is not None:
            members.append(("minimum_version", message.minimum_version))
    return "{" + ",".join(f"{_quoted(k)}:{_quoted(v)}" for k, v in members) + "}"


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
            ([_bound(row[i]) for i in picked] for row in rows),
        )
    except DatabaseError as e:
        raise e.within(table.name) from None
    except OverflowError:
        raise DatabaseError("number of more than 63 bits", context=table.name) from None


def _bound(value: Value) -> bytes | int | None:
    """Return what SQLite is given: text as its bytes, which need not be UTF-8 (L31)."""
    if not isinstance(value, str):
        return value
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
