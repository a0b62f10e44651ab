"""What two package databases say differently, by package and table.

Compared are the values that `localdb_read` gives: rows without ids, order, orphans and page layout.
Two databases without a difference here have the same canonical bytes, at the same schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.pkg.localdb_message import messages_text
from pipeline.pkg.localdb_rows import LISTS, all_annotations
from pipeline.pkg.names import byte_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.pkg.localdb import InstalledPackage
    from pipeline.pkg.localdb_read import LocalDatabase
    from pipeline.pkg.manifest import PackageManifest

Cells: TypeAlias = "Mapping[str, str | int | None]"
RowKey: TypeAlias = "tuple[str, str]"
"""A table, and what names a row in it: a path, a name, a kind; empty in `packages`."""

_PACKAGES: Final = "packages"
_SHOWN: Final = 60
"""Characters of a value in the text form."""


class Change(StrEnum):
    """What happened to a row."""

    ONLY_A = "only in A"
    ONLY_B = "only in B"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Cell:
    """A column whose value differs."""

    column: str
    a: str | int | None
    b: str | int | None

    def __str__(self) -> str:
        return f"{self.column} {_shown(self.a)} | {_shown(self.b)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """One row that is missing on a side or differs.

    A package that only one database has is one row of `packages`; its other rows go without saying.
    """

    change: Change
    package: str
    table: str
    row: str
    """What names the row within its package and table; empty in `packages`."""
    cells: tuple[Cell, ...]
    """The columns that differ; empty unless the row is changed."""

    def __str__(self) -> str:
        name = f"{self.table} {self.row!r}" if self.row else self.table
        what = ", ".join(map(str, self.cells)) if self.cells else str(self.change)
        return f"{name}: {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDatabaseDifference:
    """Every difference between two databases, A and B."""

    schema_a: int
    schema_b: int
    rows: tuple[RowDifference, ...]
    """By package, then table, then row."""

    @property
    def is_empty(self) -> bool:
        """Whether both say the same in the same schema."""
        return not self.rows and self.schema_a == self.schema_b

    def to_text(self, *, limit: int) -> str:
        """Return lines for people, at most `limit` of them about rows."""
        lines = []
        if self.schema_a != self.schema_b:
            lines.append(f"schema: {self.schema_a} | {self.schema_b}")
        package = None
        for difference in self.rows[:limit]:
            if difference.package != package:
                package = difference.package
                lines.append(package)
            lines.append(f"  {difference}")
        if len(self.rows) > limit:
            lines.append(f"and {len(self.rows) - limit} more")
        return "\n".join(lines or ["no difference"]) + "\n"


def diff_localdb(a: LocalDatabase, b: LocalDatabase) -> LocalDatabaseDifference:
    """Compare two databases."""
    packages_a = {p.manifest.name: p for p in a.packages}
    packages_b = {p.manifest.name: p for p in b.packages}
    rows: list[RowDifference] = []
    for name in sorted(packages_a.keys() | packages_b.keys(), key=byte_order):
        rows += _diff_package(name, packages_a.get(name), packages_b.get(name))
    return LocalDatabaseDifference(schema_a=a.schema, schema_b=b.schema, rows=tuple(rows))


def _diff_package(
    name: str, a: InstalledPackage | None, b: InstalledPackage | None
) -> Iterator[RowDifference]:
    if a is None or b is None:
        change = Change.ONLY_B if a is None else Change.ONLY_A
        yield RowDifference(change=change, package=name, table=_PACKAGES, row="", cells=())
        return
    rows_a, rows_b = dict(_rows(a)), dict(_rows(b))
    for key in sorted(rows_a.keys() | rows_b.keys(), key=lambda k: (k[0], byte_order(k[1]))):
        cells_a, cells_b = rows_a.get(key), rows_b.get(key)
        if cells_a == cells_b:
            continue
        change = Change.CHANGED
        cells: tuple[Cell, ...] = ()
        if cells_a is None:
            change = Change.ONLY_B
        elif cells_b is None:
            change = Change.ONLY_A
        else:
            cells = _diff_cells(cells_a, cells_b)
        yield RowDifference(change=change, package=name, table=key[0], row=key[1], cells=cells)


def _diff_cells(a: Cells, b: Cells) -> tuple[Cell, ...]:
    return tuple(Cell(name, a[name], b[name]) for name in a if a[name] != b[name])


# ---------------------------------------------------------------- a package as named rows


def _rows(package: InstalledPackage) -> Iterator[tuple[RowKey, Cells]]:
    manifest = package.manifest
    yield (_PACKAGES, ""), _package_cells(package)
    for dependency in manifest.deps:
        yield (
            ("deps", dependency.name),
            {"origin": dependency.origin, "version": dependency.version},
        )
    yield from _file_rows(manifest)
    contents = dict(package.config)
    for path in manifest.config:
        yield ("config_files", path), {"content": contents.get(path)}
    for kind, script in manifest.scripts:
        yield ("pkg_script", kind), {"script": script}
    for i, (kind, script) in enumerate(manifest.lua_scripts):
        yield ("pkg_lua_script", str(i)), {"type": kind, "lua_script": script}
    for option, value in manifest.options:
        yield ("pkg_option", option), {"value": value}
    for tag, value in all_annotations(package).items():
        yield ("pkg_annotation", tag), {"value": value}
    for name in manifest.conflicts:
        yield ("pkg_conflicts", name), {}
    for _, _, links in LISTS:
        for table, _, field in links:
            for name in getattr(manifest, field):
                yield (table, name), {}


def _package_cells(package: InstalledPackage) -> Cells:
    m = package.manifest
    return {
        "version": m.version,
        "origin": m.origin,
        "comment": m.comment,
        "desc": m.desc,
        "message": messages_text(m.messages),
        "arch": m.abi,
        "maintainer": m.maintainer,
        "www": m.www,
        "prefix": m.prefix,
        "flatsize": m.flatsize,
        "automatic": int(package.automatic),
        "locked": int(package.locked),
        "licenselogic": m.licenselogic,
        "time": package.time,
        "manifestdigest": package.manifestdigest,
        "dep_formula": m.dep_formula,
        "vital": int(m.vital),
    }


def _file_rows(manifest: PackageManifest) -> Iterator[tuple[RowKey, Cells]]:
    for file in manifest.files:
        yield (
            ("files", file.path),
            {
                "sha256": file.sum,
                "uname": file.uname,
                "gname": file.gname,
                "perm": file.perm,
                "fflags": file.fflags,
                "mtime": file.mtime,
                "symlink_target": file.symlink_target,
            },
        )
    for directory in manifest.directories:
        yield (
            ("pkg_directories", directory.path),
            {
                "uname": directory.uname,
                "gname": directory.gname,
                "perm": directory.perm,
                "fflags": directory.fflags,
            },
        )


def _shown(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
