"""Entries of a layer by path, on disk when they are many.

SQLite's private temporary database (a database without a name) is kept in a cache of bounded size
and spills to an unlinked file; so two layers of a million files take no more memory than two of a
thousand. Rows are marshalled tuples: they live no longer than the process.
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import apsw

from reproducibility.entries import Entry, entry_from_tuple, entry_to_tuple, sort_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CACHE_KIB: Final = 16 << 10
_BATCH: Final = 1000
_MARSHAL: Final = 2
"""The last version whose output is a function of the values alone."""


class Row(NamedTuple):
    """An entry in a table."""

    key: bytes
    layer: int
    """Which layer of a merged tree it is from."""
    entry: Entry


class Scratch:
    """A temporary database that holds tables of entries; a context manager."""

    def __init__(self) -> None:
        self._connection = apsw.Connection("")
        self._tables = 0
        for pragma in (f"cache_size = -{_CACHE_KIB}", "journal_mode = off", "synchronous = off"):
            self._connection.execute(f"PRAGMA {pragma}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def table(self) -> EntryTable:
        """Make an empty table."""
        self._tables += 1
        return EntryTable(self._connection, f"entries_{self._tables}")


class EntryTable:
    """Entries by path; a later entry of one path replaces an earlier one."""

    def __init__(self, connection: apsw.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._pending: list[tuple[bytes, bytes]] = []
        self.added = 0
        connection.execute(f"CREATE TABLE {name} (key BLOB PRIMARY KEY, entry BLOB) WITHOUT ROWID")

    def add(self, entry: Entry, *, layer: int = 0) -> None:
        """Add an entry; `layer` says which layer of a merged tree it is from."""
        self.added += 1
        self.replace(entry, layer=layer)

    def replace(self, entry: Entry, *, layer: int = 0) -> None:
        """Put an entry in the place of one that was added."""
        row = (layer, *entry_to_tuple(entry))
        self._pending.append((entry.key, marshal.dumps(row, _MARSHAL)))
        if len(self._pending) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        if self._pending:
            with self._connection:
                self._connection.executemany(
                    f"INSERT OR REPLACE INTO {self._name} VALUES (?, ?)",  # noqa: S608 - our name
                    self._pending,
                )
            self._pending = []

    def __iter__(self) -> Iterator[Row]:
        """Yield every row, sorted by `Entry.key`."""
        self.flush()
        query = f"SELECT key, entry FROM {self._name} ORDER BY key"  # noqa: S608 - our name
        for key, raw in self._connection.execute(query):
            yield _row(key, raw)

    def keys(self) -> Iterator[bytes]:
        """Yield every key, sorted."""
        self.flush()
        for (key,) in self._connection.execute(f"SELECT key FROM {self._name} ORDER BY key"):  # noqa: S608
            assert isinstance(key, bytes)
            yield key

    def get(self, path: str) -> Row | None:
        """Return the row of a path."""
        self.flush()
        query = f"SELECT key, entry FROM {self._name} WHERE key = ?"  # noqa: S608 - our name
        for key, raw in self._connection.execute(query, (sort_key(path),)):
            return _row(key, raw)
        return None

    def has_key(self, key: bytes) -> bool:
        """Say whether there is an entry with this key."""
        self.flush()
        query = f"SELECT 1 FROM {self._name} WHERE key = ?"  # noqa: S608 - our name
        return any(True for _ in self._connection.execute(query, (key,)))

    def remove(self, path: str) -> None:
        """Remove a path and everything below it."""
        self.remove_below(path)
        self._connection.execute(f"DELETE FROM {self._name} WHERE key = ?", (sort_key(path),))  # noqa: S608

    def remove_below(self, path: str) -> None:
        """Remove everything below a path; the empty path is the root."""
        self.flush()
        if not path:
            self._connection.execute(f"DELETE FROM {self._name} WHERE key <> x''")  # noqa: S608
            return
        key = sort_key(path)
        self._connection.execute(
            f"DELETE FROM {self._name} WHERE key > ? AND key < ?",  # noqa: S608 - our name
            (key + b"\0", key + b"\1"),
        )

    def __len__(self) -> int:
        self.flush()
        (count,) = next(self._connection.execute(f"SELECT count(*) FROM {self._name}"))  # noqa: S608
        assert isinstance(count, int)
        return count


def _row(key: object, raw: object) -> Row:
    assert isinstance(key, bytes)
    assert isinstance(raw, bytes)
    layer, *values = marshal.loads(raw)  # noqa: S302 - written by this process
    return Row(key, layer, entry_from_tuple(values))


def merge(a: Iterable[Row], b: Iterable[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Pair the rows of two tables by path; a path of one side only has None on the other."""
    left, right = iter(a), iter(b)
    x, y = next(left, None), next(right, None)
    while x is not None or y is not None:
        if y is None or (x is not None and x.key < y.key):
            yield x, None
            x = next(left, None)
        elif x is None or y.key < x.key:
            yield None, y
            y = next(right, None)
        else:
            yield x, y
            x, y = next(left, None), next(right, None)
