"""Databases on a disk: what pkg wrote in two runs becomes one file, safely, and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest

from fixtures.localdb.corpus import cases
from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.pkg.localdb_read import canonicalise_localdb
from pipeline.stages import canonicalize_database as module
from pipeline.stages.canonicalize_database import (
    DatabaseFiles,
    DatabaseRules,
    canonicalize_database,
    canonicalize_root,
    make_canonical,
)
from tests.foreign import DATABASES, EPOCH, SAME

if TYPE_CHECKING:
    from pipeline.stages.canonicalize_database import CanonicalDatabase

RULES = DatabaseRules(schema=None, source_date_epoch=EPOCH)
SECOND = 1_000_000_000


def canonical(name: str, schema: int | None = None) -> bytes:
    """Return the canonical bytes of a database of the corpus."""
    return canonicalise_localdb(
        DATABASES[name], wal=b"", journal=b"", schema=schema, source_date_epoch=EPOCH
    )


WANT = canonical("2.8.4-all")


def rewrite(path: Path, output: Path | None = None, *, dry_run: bool = False) -> CanonicalDatabase:
    """Canonicalize with the usual rules."""
    return canonicalize_database(path, output=output, rules=RULES, dry_run=dry_run)


def names(folder: Path) -> set[str]:
    """Return what is in a folder."""
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return a database that pkg wrote, in a folder of its own."""
    path = tmp_path / "db" / "local.sqlite"
    path.parent.mkdir()
    path.write_bytes(DATABASES["2.8.4-all"])
    path.chmod(0o600)
    return path


# ---------------------------------------------------------------- files


def test_there_are_databases_of_every_pkg() -> None:
    """The corpus is not empty."""
    assert {name.split("-")[0] for name in DATABASES} >= {"2.3.1", "2.4.2", "2.6.2", "2.7.5"}


@pytest.mark.parametrize("pkg", ["2.4.2", "2.7.5", "2.8.4"])
def test_runs_of_pkg_become_one_file(pkg: str) -> None:
    """Whatever the order of installation, the number of runs, the time of the clock."""
    kinds = ("all", "order-reversed", "second-run", "wallclock")
    made = {
        make_canonical(DatabaseFiles(raw=DATABASES[f"{pkg}-{kind}"]), RULES, what="x").raw
        for kind in kinds
    }
    assert len({DATABASES[f"{pkg}-{kind}"] for kind in kinds}) == len(kinds)
    assert len(made) == 1


@pytest.mark.parametrize("name", ["2.3.1-all", "2.8.4-odd", "2.7.5-history", "migrated-42"])
def test_once_more_changes_nothing(name: str) -> None:
    """Of an old pkg, with odd values, after a history, migrated through five versions."""
    for case in (case for case in cases() if case.name == name):
        once = make_canonical(DatabaseFiles(raw=case.database), RULES, what=case.name)
        assert once.is_changed
        assert (once.schema_before, once.schema) == (case.schema, case.schema)
        again = make_canonical(DatabaseFiles(raw=once.raw), RULES, what=case.name)
        assert not again.is_changed
        assert str(again).startswith("canonical already")


def test_the_schema_may_change() -> None:
    """And the result says so."""
    rules = DatabaseRules(schema=42, source_date_epoch=EPOCH)
    result = make_canonical(DatabaseFiles(raw=DATABASES["2.7.5-all"]), rules, what="x")
    assert str(result).startswith("schema 39 -> 42, sha256:")
    assert result.raw == canonical("2.7.5-all", 42)


def test_in_place(database: Path) -> None:
    """Mode and time as FORMAT.md has them; what lay beside it is gone."""
    for suffix in ("-wal", "-journal"):
        database.with_name(database.name + suffix).touch()
    database.with_name(database.name + "-shm").write_bytes(bytes(32768))
    result = rewrite(database)
    assert result.is_changed
    assert database.read_bytes() == WANT
    assert names(database.parent) == {"local.sqlite"}
    status = database.stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o644, EPOCH * SECOND)


def test_to_another_file(database: Path, tmp_path: Path) -> None:
    """The original stays as it is, with everything beside it."""
    wal = database.with_name("local.sqlite-wal")
    wal.touch()
    rewrite(database, tmp_path / "out.sqlite")
    assert (tmp_path / "out.sqlite").read_bytes() == WANT
    assert database.read_bytes() == DATABASES["2.8.4-all"]
    assert wal.exists()


def test_to_itself_is_in_place(database: Path) -> None:
    """Whoever says so explicitly means it."""
    rewrite(database, database)
    assert database.read_bytes() == WANT


def test_through_a_link(database: Path, tmp_path: Path) -> None:
    """The link stays one."""
    (tmp_path / "link").symlink_to(database)
    rewrite(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert database.read_bytes() == WANT


def test_a_dry_run_writes_nothing(database: Path) -> None:
    """It says the same as a real one."""
    before = database.stat()
    result = rewrite(database, dry_run=True)
    after = database.stat()
    assert database.read_bytes() == DATABASES["2.8.4-all"]
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert result == rewrite(database)


# ---------------------------------------------------------------- logs and journals


@pytest.fixture
def logged(database: Path) -> Path:
    """Return a database whose last change is in its write-ahead log."""
    live = database.with_name("live.sqlite")
    live.write_bytes(database.read_bytes())
    connection = apsw.Connection(str(live))
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("UPDATE packages SET locked = 1 WHERE name = 'FreeBSD-runtime'")
    database.write_bytes(live.read_bytes())
    database.with_name("local.sqlite-wal").write_bytes(
        live.with_name("live.sqlite-wal").read_bytes()
    )
    connection.close()
    for path in database.parent.glob("live*"):
        path.unlink()
    return database


def test_a_log_is_folded_in(logged: Path) -> None:
    """What pkg has committed counts, wherever it lies."""
    raw = logged.read_bytes()
    result = rewrite(logged)
    assert result.raw != WANT
    assert names(logged.parent) == {"local.sqlite"}
    without = canonicalise_localdb(raw, wal=b"", journal=b"", schema=None, source_date_epoch=EPOCH)
    assert without == WANT


def test_an_interruption_never_pairs_a_log_with_another_database(
    logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every instant SQLite sees the same packages: the log is folded in before it goes."""
    want = make_canonical(module.read_database(logged), RULES, what="x").raw
    states = []
    write = module._write

    def spy(path: Path, data: bytes, rules: DatabaseRules) -> None:
        states.append(make_canonical(module.read_database(path), RULES, what="x").raw)
        write(path, data, rules)
        states.append(make_canonical(module.read_database(path), RULES, what="x").raw)

    monkeypatch.setattr(module, "_write", spy)
    rewrite(logged)
    assert states == [want] * 4


def test_a_damaged_log_is_refused(logged: Path) -> None:
    """Nothing has been touched, and it says what to do."""
    wal = logged.with_name("local.sqlite-wal")
    wal.write_bytes(wal.read_bytes()[:-1])
    before = logged.read_bytes()
    with pytest.raises(DatabaseError, match=f"{logged}: the write-ahead log ends") as caught:
        rewrite(logged)
    assert caught.value.hint
    assert (logged.read_bytes(), wal.exists()) == (before, True)


def test_an_interrupted_change_is_refused(database: Path) -> None:
    """A rollback journal that is hot."""
    journal = bytes.fromhex("d9d505f920a163d7") + bytes(504)
    database.with_name("local.sqlite-journal").write_bytes(journal)
    with pytest.raises(DatabaseError, match="a change was interrupted"):
        rewrite(database)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        pytest.param({60: (43).to_bytes(4, "big")}, "got schema 43, want at most 42", id="newer"),
        pytest.param({60: (35).to_bytes(4, "big")}, "got schema 35", id="older"),
        pytest.param({0: b"not sqlite"}, "not an SQLite database", id="magic"),
        pytest.param({4096 + 3: b"\xff\xff"}, "integrity check failed|cannot read", id="damage"),
    ],
)
def test_databases_that_are_not_understood(
    database: Path, edit: dict[int, bytes], match: str
) -> None:
    """Each says why, and that it is this file."""
    raw = bytearray(database.read_bytes())
    for offset, data in edit.items():
        raw[offset : offset + len(data)] = data
    database.write_bytes(raw)
    with pytest.raises(DatabaseError, match=match) as caught:
        rewrite(database)
    assert str(caught.value).startswith(f"{database}: ")
    assert database.read_bytes() == raw


def test_no_database(tmp_path: Path) -> None:
    """A mistyped name is no bug."""
    with pytest.raises(ConfigurationError, match="no such file"):
        rewrite(tmp_path / "local.sqlite")


# ---------------------------------------------------------------- roots


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root directory whose entries are of different times."""
    root = tmp_path / "root"
    folder = root / "var" / "db" / "pkg"
    (folder / "triggers").mkdir(parents=True)
    (folder / "local.sqlite").write_bytes(DATABASES[SAME[1]])
    (folder / "local.sqlite-wal").touch()
    (folder / "triggers" / "J0fTrmHAxY").write_bytes(b"trigger\n")
    (folder / "triggers" / "README").write_bytes(b"no trigger\n")
    (root / "etc").mkdir()
    (root / "etc" / "motd").write_bytes(b"hello\n")
    (root / "etc" / "link").symlink_to("/nonexistent")
    os.utime(root / "etc" / "motd", ns=(5, 1_600_000_000 * SECOND + 7))
    os.utime(root / "etc", ns=(5, EPOCH * SECOND + 1))
    os.utime(folder, ns=(5, (EPOCH + 50) * SECOND + 3))
    return root


def times(root: Path) -> dict[str, int]:
    """Return the modification times of everything, in nanoseconds."""
    paths = [root, *root.rglob("*")]
    return {str(path.relative_to(root)): path.lstat().st_mtime_ns for path in paths}


DATABASE = "var/db/pkg/local.sqlite"


def test_only_the_database_of_a_root_is_touched(root: Path) -> None:
    """Not even the time of the directory that it is in."""
    before = times(root)
    result = canonicalize_root(root, rules=RULES, clamp=False, dry_run=False)
    after = times(root)
    assert (root / DATABASE).read_bytes() == WANT
    assert before.pop(f"{DATABASE}-wal")
    assert before.pop(DATABASE) != after.pop(DATABASE) == EPOCH * SECOND
    assert after == before
    assert result.clamped == 0


def test_all_clamps_times(root: Path) -> None:
    """Links and directories, too; what is earlier stays to the nanosecond."""
    result = canonicalize_root(root, rules=RULES, clamp=True, dry_run=False)
    after = times(root)
    assert result.clamped == len(after) - 2
    assert after.pop("etc/motd") == 1_600_000_000 * SECOND + 7
    assert set(after.values()) == {EPOCH * SECOND}
    again = canonicalize_root(root, rules=RULES, clamp=True, dry_run=False)
    assert (again.clamped, again.database.is_changed) == (0, False)


def test_all_names_triggers_by_content(root: Path) -> None:
    """What is no trigger keeps its name; a link is not followed."""
    canonicalize_root(root, rules=RULES, clamp=True, dry_run=False)
    triggers = root / "var/db/pkg/triggers"
    want = hashlib.sha256(b"trigger\n").hexdigest()[:10]
    assert names(triggers) == {"README", want}
    assert (triggers / want).read_bytes() == b"trigger\n"


def test_a_root_without_triggers(root: Path) -> None:
    """There need not be any, nor a directory; a link is left alone."""
    triggers = root / "var/db/pkg/triggers"
    for path in triggers.iterdir():
        path.unlink()
    triggers.rmdir()
    triggers.symlink_to("/")
    canonicalize_root(root, rules=RULES, clamp=True, dry_run=False)
    assert triggers.is_symlink()


def test_a_dry_run_leaves_a_root_alone(root: Path) -> None:
    """Times, names, contents."""
    before = times(root)
    result = canonicalize_root(root, rules=RULES, clamp=True, dry_run=True)
    assert result.clamped > 5
    assert times(root) == before
    assert (root / DATABASE).read_bytes() == DATABASES[SAME[1]]


@pytest.mark.parametrize("component", ["var", "var/db", "var/db/pkg", DATABASE])
def test_no_link_leads_out_of_a_root(root: Path, tmp_path: Path, component: str) -> None:
    """An absolute one would be the database of the machine that builds."""
    outside = tmp_path / "outside"
    (root / component).rename(outside)
    (root / component).symlink_to(outside)
    with pytest.raises(ConfigurationError, match="is a symlink"):
        canonicalize_root(root, rules=RULES, clamp=False, dry_run=False)


def test_a_root_has_a_database(tmp_path: Path) -> None:
    """Whoever names another directory is told what a root is."""
    with pytest.raises(ConfigurationError, match="no such file") as caught:
        canonicalize_root(tmp_path, rules=RULES, clamp=True, dry_run=False)
    assert caught.value.hint
    with pytest.raises(ConfigurationError, match="no such directory"):
        canonicalize_root(tmp_path / "none", rules=RULES, clamp=True, dry_run=False)


def test_other_file_systems_are_not_entered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mounted /dev or /proc is not the root's."""
    real = Path.lstat

    class Elsewhere:
        st_dev = -1

    def lstat(path: Path) -> object:
        return Elsewhere() if path.name == "etc" else real(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    found = {path.name for path in module._tree(root)}
    assert "local.sqlite" in found
    assert not found & {"etc", "motd"}
