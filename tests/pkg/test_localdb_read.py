"""Reading databases: those of the real pkg give the canonical bytes, damaged ones give reasons."""

from __future__ import annotations

import dataclasses
import re

import apsw
import pytest

from fixtures.localdb.corpus import INSTALLED_AT, cases
from fixtures.localdb.small import installed, many
from pipeline.errors import DatabaseError
from pipeline.formats.digest import Digest
from pipeline.pkg import localdb_file
from pipeline.pkg.localdb import InstalledPackage, build_localdb
from pipeline.pkg.localdb_file import MAX_DATABASE, check_header
from pipeline.pkg.localdb_read import LocalDatabase, canonicalise_localdb, parse_localdb
from pipeline.pkg.localdb_schema import SCHEMAS

EPOCH = 1_700_000_000

CANONICAL = {
    "2.4.2-all": "4dc60abbe2079ab031a76a7854e70410b7d9fbe4ad51e9a0f8dcb8c5743f8f86",
    "2.4.2-order-reversed": "4dc60abbe2079ab031a76a7854e70410b7d9fbe4ad51e9a0f8dcb8c5743f8f86",
    "2.4.2-second-run": "4dc60abbe2079ab031a76a7854e70410b7d9fbe4ad51e9a0f8dcb8c5743f8f86",
    "2.4.2-wallclock": "4dc60abbe2079ab031a76a7854e70410b7d9fbe4ad51e9a0f8dcb8c5743f8f86",
    "2.4.2-runtime": "4055a3ff7de2d0d42d00397dc47c1b5f5a2fbd729830b66007fc6b8f9de9c931",
    "2.4.2-single": "bcaa6d90596b273242d358291b51eaa5aed1b01cc359d47edd218c62747aac54",
    "2.4.2-aarch64-14": "6f5cedd107013a8589f2ebf28509cc3d7859624f358be334bb65c516f5aca90d",
    "2.7.5-all": "85fd5a7e9f7238265a96fd2ea37e5ef051ec70f7fed49a26954abcef93606873",
    "2.7.5-order-reversed": "85fd5a7e9f7238265a96fd2ea37e5ef051ec70f7fed49a26954abcef93606873",
    "2.7.5-second-run": "85fd5a7e9f7238265a96fd2ea37e5ef051ec70f7fed49a26954abcef93606873",
    "2.7.5-wallclock": "85fd5a7e9f7238265a96fd2ea37e5ef051ec70f7fed49a26954abcef93606873",
    "2.7.5-runtime": "56fdf76ad3c2728607e9b877f0207e6cde764406613976083e17ffe8ced73ee2",
    "2.7.5-single": "c93d5f0a6f810adaf22794f1140a1577f9a84a2594c7f6272332cc2e39112e03",
    "2.7.5-aarch64-14": "530ebe602b9141cc2a9b238f9ad2eb295291fc28464fbab5f7a503c1c2437825",
    "2.8.4-all": "12fc8297d44f0ab949763e6ff42d0a99d2ccacbb60b7f36e7026ccd04d94b82d",
    "2.8.4-order-reversed": "12fc8297d44f0ab949763e6ff42d0a99d2ccacbb60b7f36e7026ccd04d94b82d",
    "2.8.4-second-run": "12fc8297d44f0ab949763e6ff42d0a99d2ccacbb60b7f36e7026ccd04d94b82d",
    "2.8.4-wallclock": "12fc8297d44f0ab949763e6ff42d0a99d2ccacbb60b7f36e7026ccd04d94b82d",
    "2.8.4-runtime": "063eb04fce87d54e84df8a928a7ae8031f1ab1a74d8a22083ac7bf0035edc602",
    "2.8.4-single": "c6db7a9c52f187d71028a8d077ff6a4e0cd3a75af9c34bffc95604a1c96b40cd",
    "2.8.4-aarch64-14": "4ffe25877a7cd8683bb3f29e358b26bfbecee758abdd2acecad4f0854befb11c",
    "2.3.1-all": "73feba0b165162f1111cbfe9666ee2e6255577636c7916b42ff611765f53a304",
    "2.6.2-all": "8462e1ee67887a894a21e1cd4e466c2de8017ecd81876153add89f2280560198",
    "2.8.4-odd": "8e0bb59188f0fb7cdaecce1a65d5e0d77159a0607ce954f4e1c261a18450828f",
    "2.7.5-odd": "237ee2f433874fe229e9739cba74610afd979da45c68ee4ce58df90fd1c3364c",
    "2.8.4-odd-added": "78a73b81debfdfbbaea5ae2690b553a2c58d5022a18ef1b479ff714e348e2bd6",
    "2.8.4-history": "615601214ef259fbdf4faa34e971dfbf586b41fd663f569bb257f1d9e4f23b2e",
    "2.7.5-history": "e5d4c1030b9e3921af07cc6911f10860b4f0f88d43f1c538c280fb247b506302",
    "migrated-37": "4d759e7ae8b1b509fce7aae7e0de9beb8d0dcc0b7af4de4a023409ed9fa3f308",
    "migrated-38": "69e02ca736d4423c517bfa1851de8aca18e86d72fd2014e98c08c1f43624a963",
    "migrated-39": "3df647bf8eb7dc36ec4b305d11618c632b900e20d2920094abf4bdb837564419",
    "migrated-42": "2a55d356b61b07d0789dcd1c9b0b475d473ab421c21996c9faa77e6795749b9c",
}
"""Of each database that pkg wrote. A change here is a new output format."""

CASES = {case.name: case for case in cases()}


def _canonical(raw: bytes, *, schema: int | None = None, epoch: int = INSTALLED_AT) -> bytes:
    return canonicalise_localdb(raw, wal=b"", journal=b"", schema=schema, source_date_epoch=epoch)


def _parse(raw: bytes) -> LocalDatabase:
    return parse_localdb(raw, wal=b"", journal=b"")


# ---------------------------------------------------------------- what pkg wrote


def test_corpus_is_there() -> None:
    """Every schema that a release writes, and nothing without an expectation."""
    assert {case.schema for case in CASES.values()} == {36, 37, 38, 39, 42}
    assert CASES.keys() == CANONICAL.keys()
    assert all(Digest.of(case.database).hex == case.sha256 for case in CASES.values())


@pytest.mark.golden
@pytest.mark.parametrize("name", CASES)
def test_canonical_bytes(name: str) -> None:
    """Whatever pkg wrote becomes these bytes, and canonical bytes stay as they are."""
    raw = _canonical(CASES[name].database)
    assert Digest.of(raw).hex == CANONICAL[name]
    assert _canonical(raw) == raw


@pytest.mark.golden
@pytest.mark.parametrize("version", ["2.4.2", "2.7.5", "2.8.4"])
def test_runs_of_pkg_become_one(version: str) -> None:
    """Order of the command line, number of commands and clock are gone."""
    runs = ("all", "order-reversed", "second-run", "wallclock")
    databases = [CASES[f"{version}-{run}"].database for run in runs]
    assert len(set(databases)) == len(runs)
    assert len({_canonical(raw) for raw in databases}) == 1


@pytest.mark.golden
@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.packages is not None])
def test_packages_alone_give_the_same(name: str) -> None:
    """What pkg wrote, canonicalised, is what the packages' manifests give."""
    case = CASES[name]
    packages = [dataclasses.replace(p, time=INSTALLED_AT) for p in case.installed_packages()]
    built = build_localdb(packages, schema=case.schema, source_date_epoch=INSTALLED_AT)
    assert built == _canonical(case.database)


@pytest.mark.golden
def test_values_of_pkg_are_values_of_the_packages() -> None:
    """Not only the bytes: the manifests come back, as far as the database holds them."""
    (case,) = (c for c in CASES.values() if c.name == "2.8.4-all")
    shared = "/var/cron/tabs"  # with other attributes in the second package
    for read, known in zip(
        _parse(case.database).packages,
        sorted(case.installed_packages(), key=lambda p: p.manifest.name),
        strict=True,
    ):
        if any(d.path == shared for d in known.manifest.directories):
            continue
        assert read == known


@pytest.mark.golden
def test_migrated_database_can_be_read_at_its_newest_schema() -> None:
    """It lacks an index, keeps tables of its past, and has columns in another order."""
    packages = {p.manifest.name: p for p in _parse(CASES["migrated-42"].database).packages}
    old, new = packages["FreeBSD-zoneinfo"].manifest, packages["FreeBSD-runtime"].manifest
    assert {f.uname for f in old.files} == {None}
    assert {f.perm for f in old.files} == {0}
    assert {f.uname for f in new.files} == {"root"}
    assert all(f.sum is not None for f in (*old.files, *new.files))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_another_schema_can_be_asked_for(schema: int) -> None:
    """The schema is an argument, not a property of the packages."""
    raw = _canonical(CASES["2.8.4-single"].database, schema=schema)
    assert _parse(raw).schema == schema


def test_times_become_the_epoch() -> None:
    """Install times are it; modification times are clamped to it."""
    raw = _canonical(CASES["2.8.4-wallclock"].database, epoch=EPOCH)
    packages = _parse(raw).packages
    assert {p.time for p in packages} == {EPOCH}
    assert max(f.mtime for p in packages for f in p.manifest.files) == EPOCH


def test_large_database_is_read_within_its_budget() -> None:
    """The work that is allowed grows with the file."""
    packages = many(300, files=50)
    raw = build_localdb(packages, schema=42, source_date_epoch=2**40)
    assert list(_parse(raw).packages) == packages


# ---------------------------------------------------------------- history


def _altered(
    *statements: str, packages: list[InstalledPackage] | None = None, schema: int = 42
) -> bytes:
    """Build a database and change it behind everybody's back."""
    built = build_localdb(
        [installed("p", files={"/f": ""}), installed("q")] if packages is None else packages,
        schema=schema,
        source_date_epoch=EPOCH,
    )
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", built)
    for statement in statements:
        connection.execute(statement)
    raw = connection.serialize("main")
    pages = (len(raw) // 4096).to_bytes(4, "big")
    return raw[:28] + pages + raw[32:]


def test_leftovers_of_history_are_dropped() -> None:
    """Orphans, duplicates, gaps, rows of nobody, statistics and texts of options."""
    packages = [
        installed("p", provides=["x"], requires=["y"], files={"/f": ""}, options={"O": "on"})
    ]
    clean = build_localdb(packages, schema=39, source_date_epoch=EPOCH)
    raw = _altered(
        "PRAGMA foreign_keys = on",
        "INSERT INTO provides (provide) VALUES ('x'), ('gone')",
        "INSERT INTO pkg_provides VALUES (1, 2)",
        "INSERT INTO requires (require) VALUES ('y')",
        "INSERT INTO shlibs (name) VALUES ('orphan')",
        "INSERT INTO annotation (annotation) VALUES ('orphan')",
        "INSERT INTO files (path, package_id) VALUES ('/nobody', NULL)",
        "INSERT INTO pkg_conflicts VALUES (1, 99)",
        "INSERT INTO option_desc VALUES (1, 'text')",
        "INSERT INTO pkg_option_desc VALUES (1, 1, 1)",
        "INSERT INTO pkg_lock_pid VALUES (4711)",
        "UPDATE packages SET id = 50",
        "CREATE TABLE mtree (id INTEGER PRIMARY KEY, content TEXT)",
        "ALTER TABLE packages ADD COLUMN infos TEXT",
        "CREATE INDEX extra ON files (sha256)",
        "CREATE VIEW extra_view AS SELECT 1",
        "ANALYZE",
        packages=packages,
        schema=39,
    )
    (package,) = _parse(raw).packages
    assert package == packages[0]
    assert build_localdb([package], schema=39, source_date_epoch=EPOCH) == clean


def test_lua_scripts_come_back_in_the_order_of_their_rows() -> None:
    """Ids may be in any order after an upgrade; the order of registration is that of the rows."""
    raw = _altered(
        "INSERT INTO lua_script VALUES (9, 'first'), (4, 'second')",
        "INSERT INTO pkg_lua_script VALUES (1, 9, 1), (1, 4, 1)",
    )
    assert _parse(raw).packages[0].manifest.lua_scripts == (
        ("post-install", "first"),
        ("post-install", "second"),
    )


def test_repository_needs_both_annotations() -> None:
    """One of them alone is an annotation like any other."""
    packages = [
        installed("a", annotations={"repository": "r", "repo_type": "binary", "k": "v"}),
        installed("b", annotations={"repository": "r"}),
        installed("c", annotations={"repository": "r", "repo_type": "other"}),
    ]
    raw = build_localdb(packages, schema=42, source_date_epoch=EPOCH)
    a, b, c = _parse(raw).packages
    assert (a.repository, a.manifest.annotations) == ("r", (("k", "v"),))
    assert (b, c) == (packages[1], packages[2])


def test_page_size_of_old_libraries_is_read() -> None:
    """SQLite before 3.12 made pages of 1024 bytes."""
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA page_size = 1024")
    built = build_localdb([installed("p")], schema=42, source_date_epoch=EPOCH)
    source = apsw.Connection(":memory:")
    source.deserialize("main", built)
    for (sql,) in source.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"):
        connection.execute(sql)
    (row,) = source.execute("SELECT * FROM packages")
    connection.execute(f"INSERT INTO packages VALUES ({','.join('?' * len(row))})", row)
    connection.execute("PRAGMA user_version = 42")
    raw = connection.serialize("main")
    assert raw[16:18] == (1024).to_bytes(2, "big")
    assert _parse(raw).packages == (installed("p"),)


# ---------------------------------------------------------------- refusals: the file


def _refused(raw: bytes, match: str, *, wal: bytes = b"", journal: bytes = b"") -> DatabaseError:
    with pytest.raises(DatabaseError, match=match) as caught:
        parse_localdb(raw, wal=wal, journal=journal)
    return caught.value


def _patched(offset: int, data: bytes, raw: bytes | None = None) -> bytes:
    raw = _altered() if raw is None else raw
    return raw[:offset] + data + raw[offset + len(data) :]


def test_write_ahead_log_with_content() -> None:
    """It may hold changes that the database does not have yet; empty ones stay behind pkg 2.7."""
    error = _refused(_altered(), "a write-ahead log of 4152 bytes beside it", wal=bytes(4152))
    assert error.hint is not None
    assert "wal_checkpoint" in error.hint
    assert parse_localdb(_altered(), wal=bytes(32), journal=b"").schema == 42


def test_hot_journal() -> None:
    """A journal that pkg left zeroed or empty is none."""
    hot = bytes.fromhex("d9d505f920a163d7") + bytes(504)
    assert "interrupted" in str(_refused(_altered(), "rollback journal", journal=hot))
    assert parse_localdb(_altered(), wal=b"", journal=bytes(512)).schema == 42


def test_write_ahead_mode_alone_is_no_reason() -> None:
    """All databases of pkg 2.8 say 2 and 2, and so do ours after it has opened them."""
    assert _parse(_patched(18, b"\x02\x02")) == _parse(_altered())


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (b"", "not an SQLite database"),
        (b"SQLite format 3\0", "not an SQLite database"),
        (b"x" * 5000, "not an SQLite database"),
        ((16, b"\x20\x00"), "got page size 8192, want 4096 or 1024"),
        ((16, b"\x00\x01"), "got page size 65536, want 4096 or 1024"),
        ((16, b"\x10\x01"), "got page size 4097, want 4096 or 1024"),
        ((18, b"\x03"), "got file format 3, 1, want 1 or 2"),
        ((19, b"\x00"), "got file format 1, 0, want 1 or 2"),
        ((56, b"\0\0\0\2"), "got text encoding 2, want 1"),
        ((60, bytes(4)), "none that pkg made: its user_version is 0"),
        ((60, b"\0\0\0\x2b"), r"got schema 43, want at most 42: .* still reads it"),
        ((60, b"\0\0\x03\xe8"), r"got schema 1000, want at most 42: .* refuses it"),
        ((60, b"\0\0\0\x23"), "got schema 35, want at least 36"),
        ((28, b"\0\0\0\1"), "want 1 pages of 4096: it is truncated"),
    ],
)
def test_header(raw: bytes | tuple[int, bytes], match: str) -> None:
    """Every reason by name, before SQLite sees a byte."""
    _refused(raw if isinstance(raw, bytes) else _patched(*raw), match)


def test_truncated() -> None:
    """Whole pages or parts of one are missing."""
    raw = _altered()
    _refused(raw[:-4096], "it is truncated")
    _refused(raw[:-1], "it is truncated")
    _refused(_patched(28, (len(raw) // 4096 - 1).to_bytes(4, "big"), raw[:-4096]), "SQLite|integr")


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is checked first."""
    assert MAX_DATABASE == 1 << 30
    monkeypatch.setattr(localdb_file, "MAX_DATABASE", 1000)
    with pytest.raises(DatabaseError, match="want at most 1000"):
        check_header(bytes(1001))


def test_older_schema_has_a_hint() -> None:
    """Any newer pkg migrates it."""
    error = _refused(_patched(60, b"\0\0\0\x23"), "got schema 35")
    assert error.hint == "any pkg since 1.18 migrates it when it next writes"


# ---------------------------------------------------------------- refusals: the content


@pytest.mark.parametrize(
    ("statements", "match"),
    [
        (["DROP TABLE pkg_users"], "no table pkg_users, want those of schema 42"),
        (
            ["DROP TABLE lua_script", "CREATE VIEW lua_script AS SELECT 1 AS lua_script_id"],
            "no table lua_script",
        ),
        (["ALTER TABLE files DROP COLUMN mtime"], "files: no column mtime"),
        (
            ["CREATE TABLE plugin (x)"],
            "unknown table 'plugin', whose content would be lost",
        ),
        (
            ["ALTER TABLE files ADD COLUMN acl TEXT"],
            "files: unknown column 'acl', whose content would be lost",
        ),
        (
            ["CREATE VIRTUAL TABLE pkg_search USING fts4(id, name)"],
            "'pkg_search' is virtual",
        ),
        (
            [
                "DROP TABLE deps",
                "CREATE TABLE deps (origin, name, version AS ('v'), package_id)",
            ],
            "deps: a column is generated",
        ),
        (
            ["INSERT INTO deps VALUES ('o', 'n', 'v', 77)"],
            "1 rows point nowhere: deps row 1",
        ),
        (
            [
                "PRAGMA writable_schema = on",
                "UPDATE sqlite_schema SET sql = replace(sql, 'comment TEXT NOT NULL', 'comment TEXT')",
                "PRAGMA writable_schema = reset",
                "UPDATE packages SET comment = NULL",
                "PRAGMA writable_schema = on",
                "UPDATE sqlite_schema SET sql = replace(sql, 'comment TEXT', 'comment TEXT NOT NULL')",
            ],
            "integrity check failed: NULL value in packages.comment",
        ),
        (["UPDATE packages SET comment = x'00'"], "got 'blob', want text"),
        (["UPDATE packages SET comment = CAST(x'6100' AS TEXT)"], "comment: NUL in b'a"),
        (["UPDATE packages SET time = 'noon'"], "packages.time: got 'noon', want an integer"),
        (["UPDATE packages SET time = 1.5"], "packages.time: got '1.5', want an integer"),
        (
            ["UPDATE packages SET name = '../p' WHERE id = 1"],
            r"package '\.\./p': got package name",
        ),
        (["UPDATE packages SET version = ''  WHERE id = 1"], "package 'p': got package version"),
        (["UPDATE files SET path = '/a/../b'"], r"files: got path '/a/\.\./b'"),
        (["UPDATE files SET path = 'a'"], "files: got path 'a', want an absolute path"),
        (["UPDATE packages SET licenselogic = 7"], "got licenselogic 7, want one of"),
        (
            ["INSERT INTO script VALUES (1, 'x')", "INSERT INTO pkg_script VALUES (1, 4, 1)"],
            "got type of script 4, want one of 0, 1, 2, 3, 6, 7",
        ),
        (["UPDATE packages SET message = '[' WHERE id = 2"], "package 'q': message: not JSON"),
    ],
)
def test_content(statements: list[str], match: str) -> None:
    """What no package can say, or what would be lost, is refused with its place."""
    _refused(_altered(*statements), match)


def test_rows_that_exclude_each_other() -> None:
    """A schema without its constraints can hold them; what is built from it cannot."""
    raw = _altered(
        "DROP TABLE pkg_script",
        "CREATE TABLE pkg_script (package_id INTEGER, type INTEGER, script_id INTEGER)",
        "INSERT INTO script VALUES (1, 'x'), (2, 'y')",
        "INSERT INTO pkg_script VALUES (1, 1, 1), (1, 1, 2)",
    )
    with pytest.raises(DatabaseError, match="pkg_script: two rows exclude each other"):
        _canonical(raw)


def test_links_that_lead_nowhere_are_no_rows() -> None:
    """As in pkg's own joins."""
    raw = _altered(
        "INSERT INTO pkg_script VALUES (1, 1, NULL)",
        "INSERT INTO pkg_users VALUES (1, NULL)",
        "INSERT INTO deps VALUES ('o', 'n', 'v', NULL)",
    )
    assert _parse(raw) == _parse(_altered())


def test_schema_that_is_not_utf_8() -> None:
    """SQLite hands out names as they are."""
    raw = _altered("CREATE TABLE mtree (abcdef)")
    assert _parse(raw).schema == 42
    _refused(raw.replace(b"abcdef", b"abc\xff\xfef"), "a name in its schema is not UTF-8")


def test_damaged_page() -> None:
    """SQLite's own check finds it."""
    raw = build_localdb(many(20, files=20), schema=42, source_date_epoch=EPOCH)
    for page in range(2, len(raw) // 4096, 7):
        damaged = bytearray(raw)
        damaged[page * 4096 + 100 : page * 4096 + 300] = bytes(200)
        damaged[page * 4096 : page * 4096 + 8] = b"\x0d\xff\xff\xff\xff\xff\xff\xff"
        error = _refused(bytes(damaged), "SQLite cannot read it|integrity check failed")
        assert error.hint is None or "backup" in error.hint


def test_work_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database cannot keep us busy: here, a check constraint that counts for ever."""
    monkeypatch.setattr(localdb_file, "STEPS_AT_LEAST", 200_000)
    monkeypatch.setattr(localdb_file, "STEPS_PER_BYTE", 0)
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    raw = _altered(f"CREATE VIEW endless AS {slow}")
    assert _parse(raw).schema == 42
    _refused(
        build_localdb(many(300, files=50), schema=42, source_date_epoch=EPOCH),
        "takes more work than its size explains",
    )


def test_triggers_and_views_do_nothing() -> None:
    """Whatever a hostile schema defines is not run by reading."""
    raw = _altered(
        "CREATE TRIGGER evil AFTER INSERT ON packages BEGIN DELETE FROM files; END",
        "CREATE VIEW evil_view AS SELECT load_extension('evil')",
    )
    assert re.fullmatch("p|q", _parse(raw).packages[0].manifest.name)
