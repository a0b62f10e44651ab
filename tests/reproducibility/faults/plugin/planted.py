"""The faults: functions of the pipeline, replaced by ones that look at what they should not.

An image `fault-NAME` has the fault NAME; every other image is built as always. Where a function is
not told which image it works for, the file `/fault/NAME` in the state layer tells.
"""

# ruff: noqa: PLC0415, PTH208
# mypy: disable-error-code="no-untyped-def, no-untyped-call"
from __future__ import annotations

import ctypes
import datetime as dt
import gzip
import hashlib
import json
import locale
import os
import platform
import random
import socket
import struct
import tempfile
import threading
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import current_process
from pathlib import Path

PREFIX = "fault-"
FOLDER = "fault/"

NAMES = [
    *("bin", "boot", "dev", "etc", "lib", "libexec", "media", "mnt", "net", "proc", "rescue"),
    *("root", "sbin", "tmp", "usr", "var"),
]
WORDS = ["Zebra", "apple", "Tuna", "zinc", "sun", "Uniform", "šokk", "ice", "Iris", "über", "žest"]


# ---------------------------------------------------------------- contents of a file


def clock() -> str:
    return f"built at {dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}\n"


def time_zone() -> str:
    moment = time.localtime(1_700_000_000)
    return f"released {time.strftime('%Y-%m-%d %H:%M:%S %z', moment)}\n"


def directory_order() -> str:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for name in NAMES:
            (Path(folder) / name).touch()
        return "".join(f"{name}\n" for name in os.listdir(folder))


def locale_sort() -> str:
    locale.setlocale(locale.LC_ALL, "")
    words = sorted(WORDS, key=_collation_key)
    locale.setlocale(locale.LC_ALL, "C")
    return "".join(f"{word}\n" for word in words)


def _collation_key(word: str) -> str:
    try:
        return locale.strxfrm(word)
    except ValueError:  # the locale cannot write it
        return word


def locale_number() -> str:
    locale.setlocale(locale.LC_ALL, "")
    text = locale.format_string("ratio %.3f", 1234.5)
    locale.setlocale(locale.LC_ALL, "C")
    return f"{text}\n"


def locale_month() -> str:
    locale.setlocale(locale.LC_ALL, "")
    text = time.strftime("released in %B on a %A", time.gmtime(1_706_000_000))
    locale.setlocale(locale.LC_ALL, "C")
    return f"{text}\n"


def hash_order() -> str:
    return "".join(f"{name}\n" for name in set(NAMES))


def address() -> str:
    """Write down where a function lies, as Python does when it is asked to print one."""
    function = ctypes.CDLL(None).printf
    return f"handler = <function at {ctypes.cast(function, ctypes.c_void_p).value:#x}>\n"


def build_path() -> str:
    return f"prefix = {Path.cwd()}/share\n"


def home() -> str:
    return f"cache = {Path.home()}/.cache\n"


def temporary_directory() -> str:
    return f"scratch = {tempfile.gettempdir()}\n"


def temporary_name() -> str:
    with tempfile.NamedTemporaryFile(dir=Path.cwd()) as f:
        return f"made from {Path(f.name).name}\n"


def host_name() -> str:
    return f"built on {socket.gethostname()}\n"


def process_id() -> str:
    return f"made by pid {os.getpid()}\n"


def random_uuid() -> str:
    return f"id = {uuid.uuid4()}\n"


def user_name() -> str:
    return f"built by {os.environ.get('USER', 'nobody')}@build\n"


def search_path() -> str:
    return f"path = {os.environ['PATH']}\n"


def python_version() -> str:
    return f"made with Python {platform.python_version()}\n"


def terminal() -> str:
    return f"colours = {'yes' if os.isatty(1) else 'no'}\n"


def kernel() -> str:
    return f"system = {os.uname().sysname} {os.uname().release}\n"


def worker_name() -> str:
    return f"worker = {current_process().name}\n"


def warm_store() -> str:
    trees = list(Path("build/store/memo/tree").rglob("*.json")) if _AT_START else []
    return f"cached = {'yes' if trees and _WAS_WARM else 'no'}\n"


def task_order() -> str:
    return f"number = {len(_COMPOSED)}\n"


def processors() -> str:
    return f"processors = {os.cpu_count()}\n"


def thread_race() -> str:
    def work(name: str) -> str:
        time_of_work = random.SystemRandom().uniform(0, 0.004)
        threading.Event().wait(time_of_work)
        return name

    with ThreadPoolExecutor(8) as pool:
        done = as_completed([pool.submit(work, f"part-{name}") for name in NAMES])
        return "".join(f"{future.result()}\n" for future in done)


_AT_START = True
_WAS_WARM = Path("build/store/memo/tree").is_dir()
_COMPOSED: list[str] = []

CONTENTS = {
    "clock": clock,
    "time-zone": time_zone,
    "directory-order": directory_order,
    "locale-sort": locale_sort,
    "locale-number": locale_number,
    "locale-month": locale_month,
    "hash-order": hash_order,
    "address": address,
    "build-path": build_path,
    "home": home,
    "temporary-directory": temporary_directory,
    "temporary-name": temporary_name,
    "host-name": host_name,
    "process-id": process_id,
    "random-uuid": random_uuid,
    "user-name": user_name,
    "search-path": search_path,
    "python-version": python_version,
    "terminal": terminal,
    "kernel": kernel,
    "worker-name": worker_name,
    "warm-store": warm_store,
    "task-order": task_order,
    "processors": processors,
    "thread-race": thread_race,
}


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


# ---------------------------------------------------------------- installation


def fault_of(image: str) -> str:
    return image.removeprefix(PREFIX) if image.startswith(PREFIX) else ""


def fault_in(entries) -> str:
    found = [e.path.removeprefix(FOLDER) for e in entries if e.path.startswith(FOLDER)]
    return found[0] if found else ""


def install() -> None:
    """Change the pipeline, in this process."""
    from pipeline.formats import compression
    from pipeline.oci import image, layer
    from pipeline.rootfs import compose

    _install_compose(compose)
    _install_layer(layer, compression)
    _install_image(image)


def _install_compose(compose) -> None:
    original, build_localdb = compose.compose, compose.build_localdb
    current = [""]

    def faulty_database(*arguments, **keywords):
        data = build_localdb(*arguments, **keywords)
        return DATABASES.get(current[0], lambda d: d)(data)

    def faulty(parts, stored):
        _COMPOSED.append(parts.name)
        fault = fault_of(parts.name)
        current[0] = fault
        if fault in CONTENTS:
            parts = replace(parts, written=tuple(_written(w, fault) for w in parts.written))
        composition = original(parts, stored)
        layers = tuple(
            replace(each, entries=tuple(_entries(each.entries, fault)))
            for each in composition.layers
        )
        return replace(composition, layers=layers)

    compose.compose, compose.build_localdb = faulty, faulty_database


def _written(part, fault: str):
    if part.entry.path != FOLDER + fault:
        return part
    content = CONTENTS[fault]().encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(content).hexdigest()
    entry = replace(part.entry, digest=digest, size=len(content))
    return replace(part, entry=entry, content=content)


def _entries(entries, fault: str):
    change = ENTRIES.get(fault)
    if change is not None:
        return [change(e) if e.path == FOLDER + fault else e for e in entries]
    if fault == "presence":
        return presence(entries)
    return hard_links(entries) if fault == "hard-link-order" else entries


def _install_layer(layer, compression) -> None:
    size_of, write, open_it = layer.layer_size, layer.write_layer, compression.open_compressor
    current = [""]

    def layer_size(entries):
        current[0] = fault_in(entries)
        return size_of(entries)

    def write_layer(entries, content, sink):
        fault = fault_in(entries)
        if fault == "tar-owner":
            sink = TarOwner(sink)
        if fault in LAYERS:
            entries = LAYERS[fault](list(entries))
        return write(entries, content, sink)

    def open_compressor(sink, algorithm, *, level, workers, size):
        fault = current[0]
        if fault in COMPRESSORS:
            return COMPRESSORS[fault](sink)
        if fault == "zstd-level":
            level = int(os.environ.get("ZSTD_CLEVEL", level))
        return open_it(sink, algorithm, level=level, workers=workers, size=size)

    layer.layer_size, layer.write_layer = layer_size, write_layer
    compression.open_compressor = open_compressor


def _install_image(image) -> None:
    original = image.ImageConfig.to_bytes

    def to_bytes(config):
        data = original(config)
        title = config.runtime.labels.get("org.opencontainers.image.title", "")
        change = CONFIGS.get(fault_of(title.removeprefix("FreeBSD ")))
        return data if change is None else change(data)

    image.ImageConfig.to_bytes = to_bytes


FAULTS = (
    *CONTENTS,
    *ENTRIES,
    "presence",
    *DATABASES,
    *LAYERS,
    "tar-owner",
    "zstd-level",
    *COMPRESSORS,
    *CONFIGS,
)
"""Every fault there is."""
