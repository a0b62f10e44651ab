"""Compare two SQLite databases: rows first, then their order, then the file around them.

pkg's local.sqlite is compared by what it says (`pipeline.pkg.localdb_diff`), any other database by
the rows of its tables. Where the rows are equal, the file header tells the rest
(https://www.sqlite.org/fileformat2.html#the_database_header). Databases may be hostile: they are
opened in memory, with everything off that a database can make SQLite do, and their work is bounded.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Final

import apsw

from pipeline.errors import FormatError
from pipeline.oci.image import rfc3339
from pipeline.pkg.localdb_diff import diff_localdb
from pipeline.pkg.localdb_read import parse_localdb
from reproducibility.causes import Cause
from reproducibility.findings import Found, shown
from reproducibility.moments import format_distance
from reproducibility.orders import explain_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipeline.pkg.localdb_diff import RowDifference

MAGIC: Final = b"SQLite format 3\0"
MAX_ROWS: Final = 500
"""Rows that are listed one by one."""
_MAX_READ: Final = 200_000
_STEPS: Final = 200_000_000
_STEPS_PER_CALL: Final = 100_000
_NO_NAMES: Final[Callable[[str], bool]] = lambda _: False  # noqa: E731

_HEADER: Final = (
    (16, 2, "page size"),
    (18, 1, "write version (2 is WAL)"),
    (19, 1, "read version (2 is WAL)"),
    (24, 4, "change counter"),
    (28, 4, "pages"),
    (32, 4, "first free page"),
    (36, 4, "free pages"),
    (40, 4, "schema cookie"),
    (44, 4, "schema format"),
    (52, 4, "largest root page"),
    (56, 4, "text encoding"),
    (60, 4, "user_version"),
    (68, 4, "application id"),
    (92, 4, "version-valid-for"),
    (96, 4, "SQLite version"),
)


def compare_sqlite(a: bytes, b: bytes) -> tuple[Found, ...] | None:
    """Compare two databases; None if one cannot be read."""
    try:
        difference = diff_localdb(
            parse_localdb(a, wal=b"", journal=b""), parse_localdb(b, wal=b"", journal=b"")
        )
    except (FormatError, ValueError):
        return _compare_tables(a, b, is_pkg=False)
    if difference.is_empty:
        return _compare_tables(a, b, is_pkg=True)
    found = [_of_row(row) for row in difference.rows[:MAX_ROWS]]
    if difference.schema_a != difference.schema_b:
        found.append(
            _found(
                Cause.DATABASE_LAYOUT,
                "schema",
                str(difference.schema_a),
                str(difference.schema_b),
                "two versions of pkg's schema",
            )
        )
    if len(difference.rows) > MAX_ROWS:
        more = f"{len(difference.rows) - MAX_ROWS} more rows"
        found.append(_found(Cause.DATABASE_ROW, "", "", "", more))
    return tuple(found)


def _found(cause: Cause, inside: str, a: str, b: str, *evidence: str) -> Found:
    return Found(cause=cause, inside=inside, package="", a=shown(a), b=shown(b), evidence=evidence)


def _of_row(row: RowDifference) -> Found:
    inside = f"{row.table} {row.row!r}" if row.row else row.table
    columns = {cell.column for cell in row.cells}
    cause = Cause.DATABASE_ROW
    evidence = [f"{row.change} of package {row.package}" if not row.cells else ""]
    a = ", ".join(f"{c.column} {c.a!r}" for c in row.cells)
    b = ", ".join(f"{c.column} {c.b!r}" for c in row.cells)
    if columns and columns <= {"time", "mtime"}:
        cell = row.cells[0]
        cause = Cause.CLOCK if cell.column == "time" else Cause.MTIME
        if isinstance(cell.a, int) and isinstance(cell.b, int):
            a, b = (_time(value) for value in (cell.a, cell.b))
            evidence = [f"{cell.column}: {format_distance(cell.b - cell.a)} apart"]
    elif not row.cells:
        a, b = ("present", "absent") if "A" in row.change.value else ("absent", "present")
    return Found(
        cause=cause,
        inside=shown(inside),
        package=shown(row.package),
        a=shown(a),
        b=shown(b),
        evidence=tuple(filter(None, evidence)),
    )


def _time(value: int) -> str:
    try:
        return rfc3339(value)
    except ValueError:
        return str(value)


# ---------------------------------------------------------------- any database


def _compare_tables(a: bytes, b: bytes, *, is_pkg: bool) -> tuple[Found, ...] | None:
    """Compare table by table; pkg's rows are known to say the same, whatever their ids."""
    try:
        with closing(_open(a)) as x, closing(_open(b)) as y:
            tables_a, tables_b = _schema(x), _schema(y)
            found = []
            for name in sorted({*tables_a, *tables_b}):
                if name not in tables_a or name not in tables_b:
                    sides = ("present", "absent") if name in tables_a else ("absent", "present")
                    found.append(_found(Cause.DATABASE_ROW, f"table {name!r}", *sides))
                else:
                    found += _compare_rows(name, list(_rows(x, name)), list(_rows(y, name)), is_pkg)
    except (apsw.Error, UnicodeDecodeError, _TooManyError):
        return None
    return tuple(found) or (_layout(a, b),)


class _TooManyError(Exception):
    """More rows than are compared."""


def _open(raw: bytes) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", raw[:18] + b"\x01\x01" + raw[20:])
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    for setting in (
        apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER,
        apsw.SQLITE_DBCONFIG_ENABLE_VIEW,
    ):
        connection.config(setting, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    for pragma in ("trusted_schema = off", "cell_size_check = on", "query_only = on"):
        connection.execute(f"PRAGMA {pragma}")
    left = iter(range(_STEPS // _STEPS_PER_CALL))
    connection.set_progress_handler(lambda: next(left, None) is None, _STEPS_PER_CALL)
    return connection


def _schema(connection: apsw.Connection) -> dict[str, str]:
    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"
    return {
        str(name): str(sql)
        for name, sql in connection.execute(query)
        if not str(sql).upper().startswith("CREATE VIRTUAL")
    }


def _rows(connection: apsw.Connection, table: str) -> Iterator[tuple[str, ...]]:
    """Yield rows in the order in which they lie, every value as text."""
    name = table.replace('"', '""')
    for number, row in enumerate(connection.execute(f'SELECT * FROM "{name}"')):  # noqa: S608 - quoted
        if number > _MAX_READ:
            raise _TooManyError
        yield tuple(repr(value) for value in row)


def _compare_rows(
    table: str,
    a: Sequence[tuple[str, ...]],
    b: Sequence[tuple[str, ...]],
    is_pkg: bool,  # noqa: FBT001
) -> list[Found]:
    if is_pkg:  # ids follow from the order of insertion
        a, b = _texts(a), _texts(b)
    left, right = Counter(a), Counter(b)
    inside = f"table {table!r}"
    if left != right and not is_pkg:
        only_a, only_b = list((left - right).elements()), list((right - left).elements())
        return list(_pair_rows(inside, only_a, only_b))
    order = explain_order(
        [", ".join(row) for row in a], [", ".join(row) for row in b], is_name=_NO_NAMES
    )
    if order is None:
        return []
    cause = order.cause if order.cause is Cause.LOCALE else Cause.ORDER
    evidence = f"the same rows in another order: {order.evidence}"
    return [_found(cause, inside, order.a, order.b, evidence)]


def _texts(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(v for v in row if v[:1] in "'\"b") for row in rows]


def _pair_rows(
    inside: str, a: Sequence[tuple[str, ...]], b: Sequence[tuple[str, ...]]
) -> Iterator[Found]:
    """Pair rows by their first value."""
    others = {row[:1]: row for row in b}
    shown_rows = 0
    for row in a:
        other = others.pop(row[:1], None)
        yield _found(
            Cause.DATABASE_ROW,
            inside,
            ", ".join(row),
            "absent" if other is None else ", ".join(other),
        )
        shown_rows += 1
        if shown_rows >= MAX_ROWS:
            return
    for row in others.values():
        yield _found(Cause.DATABASE_ROW, inside, "absent", ", ".join(row))
        shown_rows += 1
        if shown_rows >= MAX_ROWS:
            return


def _layout(a: bytes, b: bytes) -> Found:
    evidence = []
    for offset, size, name in _HEADER:
        x = int.from_bytes(a[offset : offset + size], "big")
        y = int.from_bytes(b[offset : offset + size], "big")
        if x != y:
            evidence.append(f"{name}: {x} | {y}")
    return _found(
        Cause.DATABASE_LAYOUT,
        "",
        f"{len(a)} bytes",
        f"{len(b)} bytes",
        "equal rows in equal order",
        *(evidence or ["equal header: pages, indexes or free space are laid out differently"]),
    )
