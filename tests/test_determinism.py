"""Determinism: equal bytes whatever the hash seed, time zone, locale, umask and directory.

Each producing function (`tests/produce.py`) runs in other processes with other surroundings
(`tests/elsewhere.py`), its input in an order that follows the hash seed, and is compared with what
this process makes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.host.store import Store
from tests.archives import END, padded, raw_header, text
from tests.elsewhere import ROOT, SURROUNDINGS, run_elsewhere
from tests.produce import produce

RUNTIME = str(ROOT / "fixtures" / "packages" / "FreeBSD-runtime-15.0.pkg")

FUNCTIONS = [
    *("to_spec", "compose", "write_layer", "compress zstd", "compress gzip"),
    *("ImageConfig", "ImageManifest", "ImageIndex", "Lock", "json_schema"),
    *(f"package stage: {output}" for output in ("manifest", "spec", "payload", "extents")),
    *("layer stage: zstd", "layer stage: gzip"),
]


@pytest.fixture(scope="module")
def elsewhere() -> list[dict[str, str]]:
    """Return, for each distinct answer of the other processes, the digests by function."""
    return [
        json.loads(text)
        for text in run_elsewhere("from tests.produce import main; main()", RUNTIME)
    ]


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    """Return the digests that this process makes."""
    return produce(Path(RUNTIME))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bytes_are_equal_everywhere(function: str, elsewhere: Any, here: Any) -> None:
    """In three other processes, and here."""
    assert {answer[function] for answer in elsewhere} == {here[function]}


def test_everything_that_was_made_is_compared(here: Any) -> None:
    """And the surroundings do differ."""
    assert sorted(here) == sorted(FUNCTIONS)
    assert hashlib.sha256(b"").hexdigest() not in here.values()
    for key in ("PYTHONHASHSEED", "TZ", "LC_ALL", "umask", "cwd"):
        assert len({surroundings[key] for surroundings in SURROUNDINGS}) == 3


def test_the_surroundings_reach_the_code() -> None:
    """A function that depends on them is caught."""
    code = "import os, time; print(hash('x'), os.getcwd(), os.umask(0), time.tzname)"
    assert len(run_elsewhere(code)) == len(SURROUNDINGS)


# ---------------------------------------------------------------- memory

MEMBER = 300 << 20
LIMIT = 200 << 20

MEASURE = """
import os, pathlib, re, sys
os.cpu_count = lambda: 64
from pipeline.declaration.tables import Compression
from msgspec.structs import replace

from pipeline.formats import mtree
from pipeline.formats.digest import Digest
from pipeline.host.store import Store
from pipeline.stages.layer import build_layer
from pipeline.stages.package import unpack_archive
def peak():
    # not ru_maxrss, which remembers the process that this one was forked from
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s*([0-9]+) kB", status)[1]) * 1024
store = Store(pathlib.Path(sys.argv[1]))
package = unpack_archive(Digest(sys.argv[2]), name="p", version="1", store=store)
print(peak(), flush=True)
entries = mtree.parse_spec(store.read(package.spec.digest))
spec = store.put(mtree.to_spec(replace(e, user=0, group=0) for e in entries))
compression = Compression(algorithm=sys.argv[3], level=int(sys.argv[4]))
result = build_layer(spec, compression, packages=lambda: [package], store=store)
assert result.tar_size > 300 << 20
print(peak())
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a store with a package of one file of 300 MB, and the package's digest."""
    block = text(1 << 20)
    state = hashlib.sha256()
    for _ in range(MEMBER // len(block)):
        state.update(block)
    manifest = {
        "name": "p",
        "origin": "o",
        "version": "1",
        "comment": "c",
        "desc": "d",
        "maintainer": "m",
        "www": "w",
        "prefix": "/",
        "files": {"/large": {"sum": f"1${state.hexdigest()}", "uname": "root", "gname": "wheel"}},
    }
    root = tmp_path_factory.mktemp("large")
    store = Store(root)
    raw = json.dumps(manifest).encode()
    with store.writer() as writer:
        compressor = zstandard.ZstdCompressor(level=1).compressobj()
        writer.write(compressor.compress(raw_header(b"+MANIFEST", b"0", len(raw)) + padded(raw)))
        writer.write(
            compressor.compress(
                raw_header(b"/large", b"0", MEMBER, uname=b"root", gname=b"wheel", mtime=b"1\0")
            )
        )
        for _ in range(MEMBER // len(block)):
            writer.write(compressor.compress(block))
        writer.write(compressor.compress(END))
        writer.write(compressor.flush())
        blob = writer.commit()
    return root, blob.digest.hex


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "level"), [("zstd", 3), ("zstd", 9), ("gzip", 6)])
def test_memory_is_bounded_whatever_the_size_of_a_package(
    algorithm: Any, level: Any, large: Any
) -> None:
    """Reading a package and rendering its layer stay below 200 MB for a file of 300 MB.

    Also with 64 cores, as far as the code can tell.
    """
    root, digest = large
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(root), digest, algorithm, str(level)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    reading, rendering = map(int, result.stdout.split())
    assert reading < LIMIT
    assert rendering < LIMIT
