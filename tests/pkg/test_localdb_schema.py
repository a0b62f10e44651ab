"""The schema, against what each pkg made: columns, constraints, indexes, and the view."""

from __future__ import annotations

import re

import apsw
import pytest

from fixtures.localdb.corpus import databases
from pipeline.errors import DatabaseError
from pipeline.pkg.localdb_schema import (
    DEFAULT_SCHEMA,
    LEFTOVER_TABLES,
    SCHEMAS,
    WRITERS,
    check_schema,
    create_statements,
    indexes,
    tables,
)
from tests.elsewhere import ROOT

MADE_BY_PKG = {
    36: "2.3.1-all",
    37: "2.4.2-all",
    38: "2.6.2-all",
    39: "2.7.5-all",
    42: "2.8.4-all",
}
"""A fresh database of each schema that a release writes."""


def _ours(schema: int) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for statement in create_statements(schema):
        connection.execute(statement)
    return connection


def _pkgs(name: str) -> apsw.Connection:
    raw = databases()[name]
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", raw[:18] + b"\x01\x01" + raw[20:])
    return connection


def _names(connection: apsw.Connection, kind: str) -> set[str]:
    query = "SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite_%'"
    return {name for (name,) in connection.execute(query, (kind,))}


def _pragma(connection: apsw.Connection, pragma: str, name: str) -> list[tuple[object, ...]]:
    return list(connection.execute(f'PRAGMA {pragma}("{name}")'))


def _foreign_keys(connection: apsw.Connection, table: str) -> list[tuple[object, ...]]:
    return sorted(row[2:] for row in _pragma(connection, "foreign_key_list", table))


def _indexed(connection: apsw.Connection, table: str) -> list[tuple[object, ...]]:
    """Every index of a table, automatic ones too: unique, origin, partial, columns in order."""
    return sorted(
        (
            name if origin == "c" else "",
            unique,
            origin,
            partial,
            tuple(column[2:] for column in _pragma(connection, "index_xinfo", str(name))),
        )
        for _, name, unique, origin, partial in _pragma(connection, "index_list", table)
    )


@pytest.mark.parametrize("schema", MADE_BY_PKG)
def test_fresh_schema_is_pkgs(schema: int) -> None:
    """Same tables, columns, types, defaults, keys, indexes and collations, by SQLite's own account."""
    ours, pkgs = _ours(schema), _pkgs(MADE_BY_PKG[schema])
    for kind in ("table", "index", "view", "trigger"):
        assert _names(ours, kind) == _names(pkgs, kind)
    for table in sorted(_names(ours, "table")):
        assert _pragma(ours, "table_xinfo", table) == _pragma(pkgs, "table_xinfo", table), table
        assert _foreign_keys(ours, table) == _foreign_keys(pkgs, table), table
        assert _indexed(ours, table) == _indexed(pkgs, table), table


def test_view_is_pkgs() -> None:
    """`flavors` has pkg's columns and rows."""
    pkgs = _pkgs("2.8.4-all")
    ours = _ours(42)
    names = [row[1] for row in _pragma(ours, "table_info", "flavors")]
    assert names == [row[1] for row in _pragma(pkgs, "table_info", "flavors")]
    rows = list(pkgs.execute("SELECT * FROM flavors ORDER BY 1"))
    assert rows
    (statement,) = (s for s in create_statements(42) if "VIEW" in s)
    pkgs.execute("DROP VIEW flavors")
    pkgs.execute(statement)
    assert list(pkgs.execute("SELECT * FROM flavors ORDER BY 1")) == rows


def test_development_schemas_lie_between() -> None:
    """40 drops what is redundant and the option texts, 41 adds the view, 42 indexes by library."""
    table_names = {s: {t.name for t in tables(s)} for s in SCHEMAS}
    index_names = {s: {i.name for i in indexes(s)} for s in SCHEMAS}
    assert table_names[39] - table_names[40] == LEFTOVER_TABLES - {"mtree"}
    assert table_names[40] == table_names[41] == table_names[42]
    assert len(index_names[39] - index_names[40]) == 13
    assert index_names[40] == index_names[41] < index_names[42]
    assert len(index_names[42]) - len(index_names[41]) == 4
    views = [sum("CREATE VIEW" in s for s in create_statements(schema)) for schema in SCHEMAS]
    assert views == [0, 0, 0, 0, 0, 1, 1]


def test_every_schema_has_its_writers() -> None:
    """The default is one that a release writes."""
    assert tuple(WRITERS) == SCHEMAS
    assert WRITERS[DEFAULT_SCHEMA].startswith("2.")


@pytest.mark.parametrize("schema", [35, 43, 1000, -1])
def test_unknown_schema(schema: int) -> None:
    """The hint says which pkg writes the ends of the range."""
    with pytest.raises(DatabaseError, match=f"got schema {schema}, want 36 to 42") as caught:
        check_schema(schema)
    assert caught.value.hint is not None
    assert "1.18.0" in caught.value.hint


@pytest.mark.parametrize("schema", SCHEMAS)
def test_recipe_has_the_statements(schema: int) -> None:
    """L11 of docs/format/local-sqlite.md is complete and exact, in order."""
    recipe = (ROOT / "docs/format/local-sqlite.md").read_text(encoding="utf-8")
    block = recipe.split("```sql\n")[1].split("```")[0]
    found = re.findall(r"^-- (\d+)(?: to (\d+))?\n(.*?);\n", block, re.DOTALL | re.MULTILINE)
    statements = tuple(
        sql for first, last, sql in found if int(first) <= schema <= int(last or first)
    )
    assert statements == create_statements(schema)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_text_is_stored_as_it_is(schema: int) -> None:
    """SQLite keeps the text of the statements, so that their wording is part of the bytes."""
    query = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
    stored = tuple(sql for (sql,) in _ours(schema).execute(query))
    assert stored == create_statements(schema)
