"""Installed packages -> the rows of the package database, numbered and in canonical order.

docs/format/local-sqlite.md, rules L30 to L57. Source of what goes where: freebsd/pkg 2.8.4,
libpkg/pkgdb.c (pkgdb_register_pkg), pkg_add.c (pkg_add_common), pkg.c and pkg_jobs_schedule.c.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.errors import DatabaseError
from pipeline.pkg.localdb_message import messages_text
from pipeline.pkg.manifest import LUA_SCRIPT_KINDS, SCRIPT_KINDS
from pipeline.pkg.names import byte_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.pkg.localdb import InstalledPackage
    from pipeline.pkg.manifest import DirectoryRecord, PackageManifest

Value: TypeAlias = "str | int | None"
Rows: TypeAlias = "Sequence[tuple[Value, ...]]"

REPOSITORY: Final = "repository"
REPO_TYPE: Final = "repo_type"
BINARY: Final = "binary"
"""Annotations of a package that came from a repository (pkg_add_common)."""

SCRIPT_TYPES: Final[Mapping[str, int]] = dict(zip(SCRIPT_KINDS, (0, 1, 2, 3, 6, 7), strict=True))
LUA_SCRIPT_TYPES: Final[Mapping[str, int]] = {kind: i for i, kind in enumerate(LUA_SCRIPT_KINDS)}
LICENSE_LOGIC: Final[Mapping[str | None, int]] = {
    None: 0,
    "single": 1,
    "or": ord("|"),
    "and": ord("&"),
}

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


def database_rows(
    packages: Iterable[InstalledPackage], *, tables: frozenset[str], source_date_epoch: int
) -> Mapping[str, Rows]:
    """Return the rows of these tables, in the order in which they are inserted.

    A row has the columns that its table has in the newest schema, in that order.

    Raises:
        DatabaseError: a package, a path or a package's lua script is there twice.
    """
    installed = sorted(packages, key=lambda p: byte_order(p.manifest.name))
    _refuse_twice(((p.manifest.name, p.manifest.version) for p in installed), "package")
    manifests = [p.manifest for p in installed]
    return {
        "packages": [_package_row(i, p) for i, p in enumerate(installed, 1)],
        "deps": [
            (d.origin, d.name, d.version, i)
            for i, m in enumerate(manifests, 1)
            for d in sorted(m.deps, key=lambda d: byte_order(d.name))
        ],
        "files": _file_rows(manifests, source_date_epoch),
        "config_files": _config_rows(installed),
        "pkg_conflicts": _conflict_rows(manifests),
        "pkg_lock": [(0, 0, 0)],
        **_directory_rows(manifests),
        **_script_rows(manifests),
        **_lua_script_rows(manifests),
        **_option_rows(manifests),
        **_annotation_rows(installed),
        **_list_rows(manifests, tables),
    }


def _refuse_twice(items: Iterable[tuple[str, str]], what: str) -> None:
    """Raise if two neighbours of a sorted list have the same key; show what each belongs to."""
    last: tuple[str, str] | None = None
    for item in items:
        if last is not None and item[0] == last[0]:
            raise DatabaseError(f"{what} {item[0][:200]!r} twice: {last[1]} and {item[1]}")
        last = item


def _numbered(values: Iterable[str]) -> dict[str, int]:
    """Number values from 1 in the order of their bytes (L34)."""
    return {v: i for i, v in enumerate(sorted(set(values), key=byte_order), 1)}


def _dictionary(ids: Mapping[str, int]) -> Rows:
    return [(i, value) for value, i in ids.items()]


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
            f.uname,
            f.gname,
            f.perm,
            f.fflags,
            min(max(f.mtime, 0), source_date_epoch),
            f.symlink_target,
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
    _refuse_twice(((path, packages[i - 1].manifest.name) for path, _, i in owned), "config file")
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
            (i, path, d.uname, d.gname, d.perm, d.fflags)
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
        _refuse_twice(sorted((text, f"package {m.name}") for _, text in ordered), "lua script")
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


def all_annotations(package: InstalledPackage) -> dict[str, str]:
    """Return all annotations; the manifest's own win, as in pkg_kv_add."""
    result = dict(package.manifest.annotations)
    if package.repository is not None:
        result.setdefault(REPOSITORY, package.repository)
        result.setdefault(REPO_TYPE, BINARY)
    return result


def _annotation_rows(packages: Sequence[InstalledPackage]) -> dict[str, Rows]:
    annotations = [all_annotations(p) for p in packages]
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


def _list_rows(manifests: Sequence[PackageManifest], tables: frozenset[str]) -> dict[str, Rows]:
    rows: dict[str, Rows] = {}
    for dictionary, _, links in LISTS:
        fields = [(table, field) for table, _, field in links if table in tables]
        ids = _numbered(v for m in manifests for _, field in fields for v in getattr(m, field))
        rows[dictionary] = _dictionary(ids)
        for table, field in fields:
            rows[table] = [
                (i, number)
                for i, m in enumerate(manifests, 1)
                for number in sorted({ids[v] for v in getattr(m, field)})
            ]
    return rows
