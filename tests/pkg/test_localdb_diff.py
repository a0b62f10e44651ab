"""The difference of two databases: complete, by package and table, readable."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.localdb.corpus import cases
from fixtures.localdb.small import installed
from pipeline.pkg.localdb_diff import Cell, Change, diff_localdb
from pipeline.pkg.localdb_read import LocalDatabase, parse_localdb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.pkg.localdb import InstalledPackage

CASES = {case.name: case for case in cases()}


def _database(*packages: InstalledPackage, schema: int = 42) -> LocalDatabase:
    return LocalDatabase(schema=schema, packages=packages)


def _read(name: str) -> LocalDatabase:
    return parse_localdb(CASES[name].database, wal=b"", journal=b"")


def _lines(a: Iterable[InstalledPackage], b: Iterable[InstalledPackage]) -> list[str]:
    return diff_localdb(_database(*a), _database(*b)).to_text(limit=99).splitlines()


def test_history_is_no_difference() -> None:
    """Ids, order, orphans and layout differ between these files; what they say does not."""
    difference = diff_localdb(_read("2.8.4-all"), _read("2.8.4-order-reversed"))
    assert difference.is_empty
    assert difference.to_text(limit=10) == "no difference\n"


def test_wall_clock_shows_in_every_package() -> None:
    """The only thing that two runs of pkg differ in, if nobody pins it."""
    difference = diff_localdb(_read("2.8.4-all"), _read("2.8.4-wallclock"))
    assert not difference.is_empty
    assert len(difference.rows) == 19
    assert {d.change for d in difference.rows} == {Change.CHANGED}
    assert {(d.table, d.cells[0].column, len(d.cells)) for d in difference.rows} == {
        ("packages", "time", 1)
    }


def test_schemas_differ() -> None:
    """What an old schema cannot hold is a difference, and the numbers are shown first."""
    difference = diff_localdb(_read("2.4.2-all"), _read("2.8.4-all"))
    assert difference.to_text(limit=99) == (
        "schema: 37 | 42\n"
        "FreeBSD-clibs\n"
        "  files '/lib/libc.so.7': fflags 0 | 131072\n"
        "  files '/lib/libthr.so.3': fflags 0 | 131072\n"
        "  files '/libexec/ld-elf.so.1': fflags 0 | 131072\n"
        "greet-tools\n"
        "  pkg_shlibs_required_ignore 'libnowhere.so.9': only in B\n"
        "libgreet\n"
        "  pkg_shlibs_provided_ignore 'libignored.so.1': only in B\n"
    )
    assert not diff_localdb(_database(schema=41), _database(schema=42)).is_empty


def test_package_on_one_side() -> None:
    """One line a package: its rows go without saying."""
    files = {"/f": ""}
    assert _lines([installed("a", files=files)], [installed("b", files=files)]) == [
        "a",
        "  packages: only in A",
        "b",
        "  packages: only in B",
    ]


@pytest.mark.parametrize(
    ("a", "b", "line"),
    [
        ({"version": "1"}, {"version": "2"}, "packages: version '1' | '2'"),
        ({"vital": True}, {}, "packages: vital 1 | 0"),
        ({"message": "m"}, {}, 'packages: message \'[{"message":"m"}]\' | NULL'),
        ({"licenselogic": "or"}, {}, "packages: licenselogic 'or' | NULL"),
        ({"files": {"/f": "1$a"}}, {"files": {}}, "files '/f': only in A"),
        (
            {"files": {"/f": {"perm": "0644", "mtime": 1}}},
            {"files": {"/f": {"perm": "0755", "mtime": 2}}},
            "files '/f': perm 420 | 493, mtime 1 | 2",
        ),
        (
            {"directories": {"/d": "y"}},
            {"directories": {"/d": {"uname": "u"}}},
            "pkg_directories '/d': uname NULL | 'u'",
        ),
        (
            {"deps": {"x": {"origin": "o", "version": "1"}}},
            {"deps": {"x": {"origin": "o", "version": "2"}}},
            "deps 'x': version '1' | '2'",
        ),
        ({"config": ["/c"]}, {}, "config_files '/c': only in A"),
        ({}, {"scripts": {"install": "x"}}, "pkg_script 'install': only in B"),
        (
            {"lua_scripts": {"pre-install": ["x"]}},
            {"lua_scripts": {"post-install": ["y"]}},
            "pkg_lua_script '0': type 'pre-install' | 'post-install', lua_script 'x' | 'y'",
        ),
        ({"options": {"O": "on"}}, {"options": {"O": "off"}}, "pkg_option 'O': value 'on' | 'off'"),
        (
            {"annotations": {"k": "v"}},
            {"annotations": {"k": "w"}},
            "pkg_annotation 'k': value 'v' | 'w'",
        ),
        ({"conflicts": ["x"]}, {}, "pkg_conflicts 'x': only in A"),
        ({"licenses": ["x"]}, {}, "pkg_licenses 'x': only in A"),
        ({}, {"shlibs_required": ["x"]}, "pkg_shlibs_required 'x': only in B"),
        ({"comment": "x" * 100}, {}, "packages: comment '" + "x" * 58 + "… | 'comment'"),
    ],
)
def test_each_table(a: dict[str, Any], b: dict[str, Any], line: str) -> None:
    """One row differs, one line says how."""
    assert _lines([installed("p", **a)], [installed("p", **b)]) == ["p", f"  {line}"]


def test_facts_of_the_installation() -> None:
    """Repository, digest, lock, automatic, content of a config file."""
    package = installed("p", config=["/c"], contents=(("/c", "a"),))
    other = dataclasses.replace(
        package,
        automatic=True,
        locked=True,
        repository="r",
        manifestdigest="2$2$x",
        config=(("/c", "b"),),
    )
    assert _lines([package], [other]) == [
        "p",
        "  config_files '/c': content 'a' | 'b'",
        "  packages: automatic 0 | 1, locked 0 | 1, manifestdigest NULL | '2$2$x'",
        "  pkg_annotation 'repo_type': only in B",
        "  pkg_annotation 'repository': only in B",
    ]


def test_text_is_limited() -> None:
    """A report stays a report."""
    difference = diff_localdb(_read("2.8.4-all"), _read("2.8.4-wallclock"))
    assert difference.to_text(limit=1).splitlines() == [
        "FreeBSD-caroot",
        f"  {difference.rows[0]}",
        "and 18 more",
    ]


def test_values_are_values() -> None:
    """What a report takes apart: change, package, table, row, cells."""
    difference = diff_localdb(
        _database(installed("p", files={"/f": {"mtime": 1}})),
        _database(installed("p", files={"/f": {"mtime": 2}})),
    )
    (row,) = difference.rows
    assert (row.change, row.package, row.table, row.row) == (Change.CHANGED, "p", "files", "/f")
    assert row.cells == (Cell("mtime", 1, 2),)
