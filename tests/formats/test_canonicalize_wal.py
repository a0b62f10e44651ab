"""Write-ahead logs: what SQLite would see is what comes out; what it would pass over is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest

from pipeline.errors import DatabaseError
from pipeline.formats import sqlite_wal
from pipeline.formats.sqlite_wal import fold_wal, is_empty_wal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME = 24 + 4096


class Database:
    """A database that SQLite itself writes."""

    def __init__(self, path: Path, page_size: int = 4096) -> None:
        self.path = path
        self.connection = apsw.Connection(str(path))
        self.run(f"PRAGMA page_size = {page_size}")
        self.run("PRAGMA journal_mode = wal")
        self.run("PRAGMA wal_autocheckpoint = 0")
        self.run("PRAGMA synchronous = off")
        self.run("CREATE TABLE t (a, b)")

    def run(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement."""
        return list(self.connection.execute(statement, values or None))

    def fill(self, rows: int, start: int = 0) -> None:
        """Insert rows, each in a change of its own."""
        for i in range(start, start + rows):
            self.run("INSERT INTO t VALUES (?, ?)", i, bytes([i % 251]) * 1000)

    @property
    def raw(self) -> bytes:
        """The database file."""
        return self.path.read_bytes()

    @property
    def wal(self) -> bytes:
        """The log beside it."""
        return self.path.with_name(self.path.name + "-wal").read_bytes()

    def checkpointed(self) -> bytes:
        """Return the file after SQLite itself has folded its log in."""
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.raw


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Return a database with a log."""
    made = Database(tmp_path / "x.sqlite")
    made.fill(30)
    yield made
    made.connection.close()


def test_a_log_is_folded_in_as_sqlite_does(database: Database) -> None:
    """Byte for byte what a checkpoint leaves."""
    raw, wal = database.raw, database.wal
    assert len(raw) == 4096
    assert fold_wal(raw, wal) == database.checkpointed()


@pytest.mark.parametrize("page_size", [512, 1024, 65536])
def test_pages_of_any_size(tmp_path: Path, page_size: int) -> None:
    """65536 is written as 1 in the database's header."""
    made = Database(tmp_path / "y.sqlite", page_size)
    made.fill(5)
    raw, wal = made.raw, made.wal
    assert fold_wal(raw, wal) == made.checkpointed()
    made.connection.close()


def test_a_database_that_has_become_smaller(database: Database) -> None:
    """Pages behind its new end are gone, also those that the log has."""
    database.run("PRAGMA auto_vacuum = 0")
    database.checkpointed()
    database.fill(20, 100)
    database.run("DELETE FROM t WHERE a > 5")
    database.run("VACUUM")
    raw, wal = database.raw, database.wal
    folded = fold_wal(raw, wal)
    assert len(folded) < len(raw)
    assert folded == database.checkpointed()


def test_frames_of_an_earlier_generation_are_in_the_database_already(database: Database) -> None:
    """A log is written over from its beginning; the salts tell the old frames from the new."""
    database.run("PRAGMA wal_checkpoint(RESTART)")
    database.fill(1, 500)
    raw, wal = database.raw, database.wal
    assert len(wal) > 20 * FRAME
    folded = fold_wal(raw, wal)
    assert folded != raw
    assert folded == database.checkpointed()


def test_only_old_frames_change_nothing(database: Database) -> None:
    """A new header, and nothing behind it that belongs to it."""
    raw, wal = database.checkpointed(), b""
    assert fold_wal(raw, wal) == raw
    database.fill(1, 600)
    wal = database.wal
    header = bytearray(wal[:32])
    header[16:24] = bytes(8)
    header[24:32] = _sums(bytes(header[:24]))
    assert fold_wal(raw, bytes(header) + wal[32:]) == raw


def _sums(data: bytes) -> bytes:
    first, second = sqlite_wal._add((0, 0), data, "<" if data[3] == 0x82 else ">")
    return first.to_bytes(4, "big") + second.to_bytes(4, "big")


@pytest.mark.parametrize("size", [0, 32])
def test_an_empty_log_is_none(database: Database, size: int) -> None:
    """Nothing, or a header alone, whatever it says."""
    assert is_empty_wal(bytes(size))
    assert fold_wal(database.raw, bytes(size)) == database.raw


def test_words_in_the_other_order(database: Database) -> None:
    """The magic says in which order of bytes the checksums add words up."""
    raw, wal = database.raw, database.wal
    other = bytearray(wal)
    other[3] ^= 1
    order = ">" if other[3] & 1 else "<"
    sums = sqlite_wal._add((0, 0), bytes(other[:24]), order)
    other[24:32] = b"".join(n.to_bytes(4, "big") for n in sums)
    for offset in range(32, len(other), FRAME):
        sums = sqlite_wal._add(sums, bytes(other[offset : offset + 8]), order)
        sums = sqlite_wal._add(sums, bytes(other[offset + 24 : offset + FRAME]), order)
        other[offset + 16 : offset + 24] = b"".join(n.to_bytes(4, "big") for n in sums)
    assert fold_wal(raw, bytes(other)) == fold_wal(raw, wal)


@pytest.mark.parametrize(
    ("edit", "want"),
    [
        pytest.param({0: b"\0"}, "begins with", id="magic"),
        pytest.param({4: b"\xff"}, "begins with", id="version"),
        pytest.param({8: b"\xff"}, "begins with", id="page-size"),
        pytest.param({24: b"\xff\xff"}, "header of the write-ahead log is damaged", id="header"),
        pytest.param({16: b"\xff\xff"}, "header of the write-ahead log is damaged", id="salt"),
        pytest.param({32 + 16: b"\xff\xff"}, "ends within a change", id="sum-of-a-frame"),
        pytest.param({32 + 100: b"\xff\xff"}, "ends within a change", id="page"),
    ],
)
def test_damage_is_refused(database: Database, edit: dict[int, bytes], want: str) -> None:
    """SQLite reads on without the changes and says nothing."""
    wal = bytearray(database.wal)
    for offset, data in edit.items():
        assert wal[offset : offset + len(data)] != data
        wal[offset : offset + len(data)] = data
    with pytest.raises(DatabaseError, match=want) as caught:
        fold_wal(database.raw, bytes(wal))
    assert caught.value.hint


@pytest.mark.parametrize("cut", [1, 10, 4096, 4100, FRAME - 1])
def test_a_log_that_was_cut_off_is_refused(database: Database, cut: int) -> None:
    """A commit may be in what is missing."""
    with pytest.raises(DatabaseError, match="ends within a change"):
        fold_wal(database.raw, database.wal[:-cut])


def test_a_change_without_a_commit_is_refused(database: Database) -> None:
    """What a crash leaves."""
    wal = bytearray(database.wal)
    last = len(wal) - FRAME
    wal[last + 4 : last + 8] = bytes(4)
    sums = (
        int.from_bytes(wal[last - FRAME + 16 : last - FRAME + 20], "big"),
        int.from_bytes(wal[last - FRAME + 20 : last - FRAME + 24], "big"),
    )
    order = "<" if wal[3] == 0x82 else ">"
    sums = sqlite_wal._add(sums, bytes(wal[last : last + 8]), order)
    sums = sqlite_wal._add(sums, bytes(wal[last + 24 :]), order)
    wal[last + 16 : last + 24] = b"".join(n.to_bytes(4, "big") for n in sums)
    with pytest.raises(DatabaseError, match="ends within a change"):
        fold_wal(database.raw, bytes(wal))


def test_a_log_of_another_database_is_refused(database: Database, tmp_path: Path) -> None:
    """Its pages have another size."""
    other = Database(tmp_path / "z.sqlite", 1024)
    other.fill(3)
    with pytest.raises(DatabaseError, match="pages of 1024 bytes beside a database of 4096"):
        fold_wal(database.raw, other.wal)
    other.connection.close()


def test_a_log_cannot_make_a_database_of_any_size(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame says how many pages there are."""
    monkeypatch.setattr(sqlite_wal, "_MAX_SIZE", 4096)
    with pytest.raises(DatabaseError, match="promises"):
        fold_wal(database.raw, database.wal)
