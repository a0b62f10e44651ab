"""Contents compared inside their formats."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest
import zstandard

from fixtures.localdb.corpus import cases
from fixtures.localdb.small import installed
from pipeline.formats.db185 import HashParameters, build_hash_file
from pipeline.formats.db185_header import ByteOrder
from pipeline.pkg.localdb import build_localdb
from reproducibility import compare_content as module
from reproducibility.causes import Cause
from reproducibility.compare_content import Context, compare_content, compare_files
from reproducibility.excerpt import MAX_LINES, make_excerpt
from reproducibility.owners import owners_from_localdb, owners_from_specs
from reproducibility.patterns import Hints

if TYPE_CHECKING:
    from reproducibility.findings import Found

CONTEXT = Context(hints=Hints(), is_name=lambda _: False)
DATABASES = {case.name: case.database for case in cases()}


def found(a: bytes, b: bytes) -> tuple[Found, ...]:
    return compare_content(a, b, CONTEXT)


def causes(a: bytes, b: bytes) -> set[Cause]:
    return {f.cause for f in found(a, b)}


# ---------------------------------------------------------------- pkg's database


def test_wall_clock_in_the_package_database() -> None:
    """The install time of each package, and nothing else."""
    result = found(DATABASES["2.8.4-all"], DATABASES["2.8.4-wallclock"])
    assert {f.cause for f in result} == {Cause.CLOCK}
    assert len(result) == 19
    assert all(f.package for f in result)
    assert "apart" in result[0].evidence[0]


def test_insertion_order_in_the_package_database() -> None:
    """The rows say the same; they were written in another order."""
    result = found(DATABASES["2.8.4-all"], reversed_table(DATABASES["2.8.4-all"], "files"))
    assert [(f.cause, f.inside) for f in result] == [(Cause.ORDER, "table 'files'")]


def reversed_table(raw: bytes, table: str) -> bytes:
    """Write the rows of a table again, backwards."""
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", raw[:18] + b"\x01\x01" + raw[20:])
    for statement in (
        f"CREATE TEMP TABLE rows AS SELECT * FROM {table} ORDER BY rowid DESC",
        f"DELETE FROM {table}",
        f"INSERT INTO {table} SELECT * FROM rows",
    ):
        connection.execute(statement)
    result = connection.serialize("main")
    connection.close()
    return result


def test_two_runs_of_pkg_with_equal_rows() -> None:
    """What a second installation leaves in the file, although it says the same."""
    result = found(DATABASES["2.8.4-all"], DATABASES["2.8.4-order-reversed"])
    assert {f.cause for f in result} == {Cause.DATABASE_LAYOUT}


def test_row_of_the_package_database() -> None:
    """By package, table and row."""
    a = build_localdb([installed("x", comment="one")], schema=42, source_date_epoch=1)
    b = build_localdb([installed("x", comment="two")], schema=42, source_date_epoch=1)
    (row,) = found(a, b)
    assert (row.cause, row.package, row.inside) == (Cause.DATABASE_ROW, "x", "packages")
    assert (row.a, row.b) == ("comment 'one'", "comment 'two'")


def test_package_that_one_database_has_not() -> None:
    """A package of one side is one row."""
    a = build_localdb([installed("x"), installed("y")], schema=42, source_date_epoch=1)
    b = build_localdb([installed("x")], schema=42, source_date_epoch=1)
    (row,) = found(a, b)
    assert (row.package, row.a, row.b) == ("y", "present", "absent")


@pytest.mark.parametrize(
    ("offset", "name"),
    [(18, "write version (2 is WAL)"), (27, "change counter"), (99, "SQLite version")],
)
def test_header_of_the_package_database(offset: int, name: str) -> None:
    """WAL flag, counters, version of the library: the file around equal rows."""
    a = build_localdb([installed("x")], schema=42, source_date_epoch=1)
    b = bytearray(a)
    b[offset] += 1
    (layout,) = found(a, bytes(b))
    assert layout.cause is Cause.DATABASE_LAYOUT
    assert any(line.startswith(name) for line in layout.evidence)


# ---------------------------------------------------------------- any database


def database(*statements: str) -> bytes:
    connection = apsw.Connection(":memory:")
    for statement in statements:
        connection.execute(statement)
    raw = connection.serialize("main")
    connection.close()
    return raw


TABLE = "CREATE TABLE t (name TEXT, value)"


def test_rows_of_any_database() -> None:
    """Paired by their first value."""
    a = database(TABLE, "INSERT INTO t VALUES ('x', 1), ('y', 2)")
    b = database(TABLE, "INSERT INTO t VALUES ('x', 3), ('z', 2)")
    assert [(f.cause, f.a, f.b) for f in found(a, b)] == [
        (Cause.DATABASE_ROW, "'x', 1", "'x', 3"),
        (Cause.DATABASE_ROW, "'y', 2", "absent"),
        (Cause.DATABASE_ROW, "absent", "'z', 2"),
    ]


def test_order_of_rows_of_any_database() -> None:
    """The same rows, inserted in another order."""
    a = database(TABLE, *(f"INSERT INTO t VALUES ('{x}', 1)" for x in "dbac"))
    b = database(TABLE, *(f"INSERT INTO t VALUES ('{x}', 1)" for x in "abcd"))
    assert causes(a, b) == {Cause.ORDER}


def test_tables_of_one_side() -> None:
    """A table more."""
    a, b = database(TABLE), database(TABLE, "CREATE TABLE u (x)")
    assert [(f.inside, f.a, f.b) for f in found(a, b)] == [("table 'u'", "absent", "present")]


def test_damaged_database_is_compared_as_bytes() -> None:
    """Whatever it is, something is said."""
    a = database(TABLE, "INSERT INTO t VALUES ('x', 1)")
    assert causes(a, a[:4096] + b"\xff" * (len(a) - 4096)) == {Cause.UNKNOWN}
    assert causes(a, a[:200]) == {Cause.UNKNOWN}


# ---------------------------------------------------------------- Berkeley DB


def hash_file(*pairs: tuple[bytes, bytes], **changes: object) -> bytes:
    parameters = {"bsize": 4096, "ffactor": 32, "nelem": 256, "cachesize": 1 << 20}
    return build_hash_file(
        pairs,
        HashParameters(**{**parameters, "lorder": ByteOrder.LITTLE, **changes}),  # type: ignore[arg-type]
    )


def test_keys_of_a_hash_file() -> None:
    """By key."""
    a = hash_file((b"one", b"1"), (b"two", b"2"))
    b = hash_file((b"one", b"1"), (b"two", b"3"), (b"ten", b"10"))
    assert [(f.cause, f.inside, f.a, f.b) for f in found(a, b)] == [
        (Cause.DATABASE_ROW, "key ten", "absent", "10"),
        (Cause.DATABASE_ROW, "key two", "2", "3"),
    ]


def test_order_and_layout_of_a_hash_file() -> None:
    """Equal pairs: put in another order, or into another table."""
    pairs = [(b"k%d" % i, b"v") for i in range(40)]
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert causes(hash_file(*pairs), hash_file(*shuffled)) == {Cause.ORDER}
    (layout,) = found(hash_file(*pairs), hash_file(*pairs, lorder=ByteOrder.BIG))
    assert layout.cause is Cause.DATABASE_LAYOUT
    assert "lorder: 1234 | 4321" in layout.evidence


def test_damaged_hash_file_is_compared_as_bytes() -> None:
    """As a damaged database is."""
    a = hash_file((b"one", b"1"))
    assert causes(a, a[:300]) == {Cause.UNKNOWN}


# ---------------------------------------------------------------- JSON


def test_json_by_path() -> None:
    """Each value that differs, with its path."""
    a = json.dumps({"a": {"b c": [1, 2, {"t": "2026-11-24"}]}, "gone": None}).encode()
    b = json.dumps({"a": {"b c": [1, 3, {"t": "2026-11-25"}]}, "new": True}).encode()
    assert [(f.inside, f.cause, f.a, f.b) for f in found(a, b)] == [
        ('$.a["b c"][1]', Cause.UNKNOWN, "2", "3"),
        ('$.a["b c"][2].t', Cause.CLOCK, "2026-11-24", "2026-11-25"),
        ("$.gone", Cause.UNKNOWN, "null", "absent"),
        ("$.new", Cause.UNKNOWN, "absent", "true"),
    ]


def test_json_order() -> None:
    """Keys and items in another order; white space."""
    a, b = b'{"k3":1,"k1":2,"k4":3,"k2":4}', b'{"k2":4,"k3":1,"k1":2,"k4":3}'
    assert causes(a, b) == {Cause.HASH_ORDER}
    assert causes(b'["k3","k1","k4","k2"]', b'["k2","k3","k1","k4"]') == {Cause.HASH_ORDER}
    assert causes(b'{"a":1}', b'{"a": 1}') == {Cause.ENCODING}
    assert causes(b"{broken", b"{other") == {Cause.UNKNOWN}


def test_json_numbers_of_another_kind() -> None:
    """1 and true are not the same, nor 1 and 1.0."""
    assert len(found(b'{"a":1,"b":1}', b'{"a":true,"b":1.0}')) == 2


# ---------------------------------------------------------------- compressed, compiled


def test_gzip_header_of_a_file() -> None:
    """MTIME is a clock; another compressor is another cause."""
    data = b"text\n" * 1000
    a, b = gzip.compress(data, mtime=1_700_000_000), gzip.compress(data, mtime=1_700_000_099)
    (clock,) = found(a, b)
    assert (clock.cause, clock.inside) == (Cause.CLOCK, "gzip header")
    assert causes(gzip.compress(data, 1, mtime=0), gzip.compress(data, 9, mtime=0)) == {
        Cause.COMPRESSOR
    }
    assert causes(gzip.compress(data, mtime=0), zstandard.compress(data)) == {Cause.COMPRESSOR}


def test_content_of_a_compressed_file() -> None:
    """What is inside is compared, however deep."""
    a, b = (
        gzip.compress(gzip.compress(x, mtime=0), mtime=0) for x in (b"2026-11-24", b"2026-11-25")
    )
    (clock,) = found(a, b)
    assert (clock.cause, clock.inside) == (Cause.CLOCK, "decompressed decompressed")


def test_truncated_gzip_is_compared_as_bytes() -> None:
    """Nothing is lost if it cannot be decompressed."""
    a = gzip.compress(b"x" * 100, mtime=0)
    assert causes(a, a[:-9]) == {Cause.UNKNOWN}


def test_python_bytecode() -> None:
    """The time of the source in its header (PEP 552)."""
    head = b"\xa7\x0d\r\n" + bytes(4)
    a = head + struct.pack("<II", 1_700_000_000, 10) + b"\xe3code"
    b = head + struct.pack("<II", 1_700_000_777, 10) + b"\xe3code"
    (clock,) = found(a, b)
    assert (clock.cause, clock.inside) == (Cause.CLOCK, "bytecode header")


def test_encodings() -> None:
    """The same text."""
    assert causes("Grüße\n".encode(), "Grüße\n".encode("latin-1")) == {Cause.LOCALE}


def test_empty_file() -> None:
    """An empty side is a side."""
    assert causes(b"", b"x\n") == {Cause.UNKNOWN}
    assert causes(b"", bytes(10)) == {Cause.UNKNOWN}


def test_large_file_is_looked_at_around_the_first_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bounded memory."""
    monkeypatch.setattr(module, "MAX_CONTENT", 1 << 20)
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(bytes(3_000_000) + b"at 2026-11-24T00:00:00Z" + bytes(100))
    b.write_bytes(bytes(3_000_000) + b"at 2026-11-24T00:00:09Z" + bytes(100))
    (clock,) = compare_files(a, b, CONTEXT)
    assert clock.cause is Cause.CLOCK
    assert clock.evidence[-1] == "looked only around the first difference, at byte 3000021"


# ---------------------------------------------------------------- excerpts


def excerpt(a: bytes, b: bytes) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as folder:
        x, y = Path(folder, "a"), Path(folder, "b")
        x.write_bytes(a)
        y.write_bytes(b)
        return make_excerpt(x, y).lines


def test_excerpt_of_text_has_true_line_numbers() -> None:
    """Although what is equal at the beginning is left out before comparing."""
    a = "".join(f"line {i}\n" for i in range(1000))
    lines = excerpt(a.encode(), a.replace("line 700", "LINE 700").encode())
    assert lines[0] == "@@ -699,5 +699,5 @@"
    assert "-line 700" in lines
    assert "+LINE 700" in lines


def test_excerpt_of_bytes_is_a_dump() -> None:
    """With offset and printable form."""
    lines = excerpt(bytes(64) + b"abc", bytes(64) + b"abd")
    assert "-00000040: 6162 63                                  abc" in lines


def test_excerpt_is_bounded_and_printable() -> None:
    """Whatever is in the files."""
    a = io.BytesIO()
    for i in range(5000):
        a.write(b"\x1b[31m%d\xff\n" % i)
    lines = excerpt(a.getvalue(), b"")
    assert len(lines) == MAX_LINES
    assert all(line.isprintable() for line in lines)


# ---------------------------------------------------------------- owners


def test_owners() -> None:
    """Of files and directories, from a database and from specs."""
    raw = build_localdb(
        [
            installed(
                "x",
                files={
                    "/bin/x": {
                        "sum": "1$" + "0" * 64,
                        "uname": "root",
                        "gname": "wheel",
                        "perm": "0555",
                    }
                },
            )
        ],
        schema=42,
        source_date_epoch=1,
    )
    assert owners_from_localdb(raw) == {"bin/x": "x"}
    spec = (
        b"#mtree\n./bin type=dir mode=0755 uid=0 gid=0 time=0.0\n"
        b"./bin/y type=link mode=0755 uid=0 gid=0 time=0.0 link=x tags=package=y\n"
    )
    assert owners_from_specs([spec]) == {"bin/y": "y"}
