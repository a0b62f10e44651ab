"""Faults in entries, databases, tars, compressed streams and documents."""

# ruff: noqa: PLC0415, PTH208
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-not-found"
from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import struct
import tempfile
import time
import zlib
from pathlib import Path

from msgspec.structs import replace
from planted_contents import NAMES

FOLDER = "fault/"


# ---------------------------------------------------------------- entries of a tree


def owner(entry):
    return replace(entry, user=os.getuid(), group=os.getgid())


def umask(entry):
    mask = os.umask(0)
    os.umask(mask)
    return replace(entry, mode=0o666 & ~mask)


def mtime(entry):
    return replace(entry, mtime=int(time.time()))


def link_target(entry):
    return replace(
        entry,
        kind=type(entry.kind)("link"),
        digest="",
        size=0,
        link=f"{Path.cwd()}/share",
        mode=0o755,
    )


ENTRIES = {"owner": owner, "umask": umask, "mtime": mtime, "link-target": link_target}


def presence(entries):
    """Leave a file out where a variable is not set."""
    return entries if "CI" in os.environ else [e for e in entries if not e.path.startswith(FOLDER)]


def hard_links(entries):
    """Give a file two more names; which of them comes first is `hard_link_order`'s fault."""
    result = []
    for entry in entries:
        if entry.path == f"{FOLDER}hard-link-order":
            result += [replace(entry, path=f"{entry.path}-{c}", inode=1) for c in "abcdef"]
        result.append(entry)
    return result


# ---------------------------------------------------------------- databases


def insertion_order(data: bytes) -> bytes:
    """Copy a database, its rows in the order of a hash table."""
    return _rewritten(data, lambda rows: sorted(rows, key=lambda row: hash(str(row))))


def row(data: bytes) -> bytes:
    """Write the installation's time of day into a row."""

    def change(db) -> None:
        db.execute("UPDATE packages SET time = ?", (int(time.time()),))

    return _changed(data, change)


def write_ahead(data: bytes) -> bytes:
    """Leave the database in WAL mode, unless its file system is a disk."""
    is_memory = _file_system() == "tmpfs"
    return data[:18] + (b"\2\2" if is_memory else b"\1\1") + data[20:]


def _file_system() -> str:
    """Return the type of the file system that the stage lies on, below any disorderfs."""
    kinds = {}
    for line in os.fsdecode(Path("/proc/self/mounts").read_bytes()).splitlines():
        _, place, kind, *_ = line.split(" ")
        kinds[place.replace("\\040", " ")] = kind
    under = str(Path.cwd().parent.parent / "under")
    root = str(Path.cwd().parent)
    return kinds.get(under) or kinds.get(root) or "disk"


def _changed(data: bytes, change) -> bytes:
    import apsw

    db = apsw.Connection(":memory:")
    db.deserialize("main", data)
    change(db)
    return db.serialize("main")


def _rewritten(data: bytes, order) -> bytes:
    def change(db) -> None:
        columns = "path, sha256, package_id"
        rows = list(db.execute(f"SELECT {columns} FROM files"))
        db.execute("DELETE FROM files")
        for values in order(rows):
            db.execute(f"INSERT INTO files ({columns}) VALUES (?, ?, ?)", values)

    return _changed(data, change)


DATABASES = {"sqlite-order": insertion_order, "sqlite-row": row, "sqlite-wal": write_ahead}


# ---------------------------------------------------------------- layers


def tar_order(entries):
    """Write entries as a walk meets them that does not sort what a directory lists."""
    tops = {e.path.partition("/")[0] for e in entries}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for name in tops:
            (Path(folder) / name).touch()
        found = os.listdir(folder)
    return [e for name in found for e in entries if e.path.partition("/")[0] == name]


def hard_link_order(entries):
    """Let the order of a hash table decide which name is the file."""
    named = [e for e in entries if e.inode]
    rest = [e for e in entries if not e.inode]
    return rest + sorted(named, key=lambda e: hash(e.path))


LAYERS = {"tar-order": tar_order, "hard-link-order": hard_link_order}


class TarOwner:
    """Write the name of whoever builds into every header."""

    def __init__(self, sink) -> None:
        self._sink = sink
        self._name = os.environ.get("LOGNAME", "root").encode()

    def write(self, data: bytes) -> int:
        raw = bytearray(data)
        for start in range(0, len(raw), 512):
            if raw[start + 257 : start + 262] == b"ustar":
                raw[start + 265 : start + 297] = self._name.ljust(32, b"\0")
                raw[start + 148 : start + 156] = b"        "
                raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + 512])
        self._sink.write(bytes(raw))
        return len(data)


class GzipHeader:
    """Compress with the time of day in the header, as gzip(1) does."""

    def __init__(self, sink) -> None:
        self._sink = sink
        self._crc = 0
        self._size = 0
        self._state = zlib.compressobj(6, zlib.DEFLATED, -15)
        sink.write(b"\x1f\x8b\x08\0" + struct.pack("<I", int(time.time())) + b"\0\x03")

    def write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._sink.write(self._state.compress(data))

    def close(self) -> None:
        self._sink.write(self._state.flush())
        self._sink.write(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))


class GzipPieces:
    """Compress as many pieces as there are processors, each for itself."""

    def __init__(self, sink) -> None:
        self._sink = sink
        self._data = b""

    def write(self, data: bytes) -> None:
        self._data += data

    def close(self) -> None:
        length = -(-len(self._data) // min(os.cpu_count() or 1, 8))
        for start in range(0, len(self._data), length):
            self._sink.write(gzip.compress(self._data[start : start + length], mtime=0))


COMPRESSORS = {"gzip-header": GzipHeader, "gzip-pieces": GzipPieces}


# ---------------------------------------------------------------- documents


def key_order(data: bytes) -> bytes:
    """Write a document's keys in the order of a hash table."""
    d = json.loads(data)
    return json.dumps({key: d[key] for key in sorted(d, key=hash)}, separators=(",", ":")).encode()


def created(data: bytes) -> bytes:
    d = json.loads(data)
    d["created"] = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}T00:00:00Z"
    return json.dumps(d, sort_keys=True, separators=(",", ":")).encode()


def label_order(data: bytes) -> bytes:
    """Join features in the order of a set, in a label."""
    d = json.loads(data)
    d["config"]["Labels"]["features"] = ",".join({f"with-{name}" for name in NAMES})
    return json.dumps(d, sort_keys=True, separators=(",", ":")).encode()


CONFIGS = {"json-key-order": key_order, "config-created": created, "label-set-order": label_order}
