"""Our own images against those that others make of the same files (acceptance 4 of the audit)."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from reproducibility.causes import Cause
from reproducibility.compare import Options, compare
from reproducibility.findings import Comparison, Level, State
from reproducibility.verdict import Verdict
from tests.elsewhere import ROOT
from tests.programs import require_program, require_root
from tests.reproducibility.layouts import EPOCH, make_layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout that this project builds from its miniature repositories."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pipeline", "fixtures", "images.toml", "dodo.py", "docs"):
        (folder / name).symlink_to(ROOT / name)
    doit = [sys.executable, "-m", "doit"]
    for task in ("update", "build"):
        subprocess.run([*doit, task], cwd=folder, check=True, capture_output=True)
    return folder / "build/oci"


@pytest.fixture(scope="module")
def rootfs(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of our runtime image, unpacked by GNU tar."""
    require_root()
    require_program("zstd")
    target = tmp_path_factory.mktemp("unpacked") / "rootfs"
    target.mkdir()
    index = json.loads((built / "index.json").read_bytes())
    (descriptor,) = (
        m
        for m in index["manifests"]
        if m["annotations"]["org.opencontainers.image.ref.name"] == "freebsd-runtime:15.0-amd64"
    )
    blobs = built / "blobs/sha256"
    manifest = json.loads((blobs / descriptor["digest"][7:]).read_bytes())
    for layer in manifest["layers"]:
        subprocess.run(
            ["tar", "--zstd", "--numeric-owner", "-xpf", blobs / layer["digest"][7:]],
            cwd=target,
            check=True,
        )
    return target


def ours(built: Path) -> str:
    return f"oci:{built}:freebsd-runtime:15.0-amd64"


def diff(a: str, b: str, **options: Any) -> Comparison:
    return compare(a, b, Options(**{"diffoscope": None, **options}))


def counts(c: Comparison) -> Counter[tuple[Level, Cause]]:
    return Counter((d.level, d.cause) for d in c.differences)


def test_unpacked_files_are_ours(built: Path, rootfs: Path) -> None:
    """A directory has no flags, but everything else."""
    c = diff(ours(built), f"rootfs:{rootfs}")
    assert c.verdict is Verdict.REPRODUCIBLE, c.differences[:5]


def test_image_of_buildah(built: Path, rootfs: Path, tmp_path: Path) -> None:
    """The same files in one layer, with what buildah makes of owners, times and documents."""
    require_program("buildah")
    base = ["buildah", "--root", tmp_path / "root", "--runroot", tmp_path / "run"]
    base += ["--storage-driver", "vfs"]

    def buildah(*arguments: object) -> str:
        result = subprocess.run(
            [*map(str, base), *map(str, arguments)], check=True, capture_output=True, text=True
        )
        return result.stdout.strip()

    container = buildah("from", "scratch")
    buildah("add", "-q", container, rootfs, "/")
    buildah("config", "--os", "freebsd", "--arch", "amd64", "--cmd", "/bin/sh", container)
    buildah("commit", "-q", "--timestamp", EPOCH, container, f"oci:{tmp_path}/theirs:runtime")
    c = diff(ours(built), f"oci:{tmp_path}/theirs:runtime")
    assert c.verdict is Verdict.DIFFERENT
    assert not c.problems
    found = counts(c)
    assert found[Level.LAYER, Cause.LAYERING] == 1
    assert found[Level.ENTRY, Cause.MTIME] > 100, "--timestamp rewrites them all"
    assert not any(level is Level.CONTENT for level, _ in found), "the content is the same"
    assert {d.package for d in c.differences} >= {"FreeBSD-runtime", "FreeBSD-zoneinfo"}
    only_files = diff(
        ours(built),
        f"oci:{tmp_path}/theirs:runtime",
        flatten=True,
        ignored=(Cause.MTIME, Cause.OWNER, Cause.MODE, Cause.CONFIGURATION, Cause.CLOCK),
    )
    assert only_files.verdict is Verdict.REPRODUCIBLE, counts(only_files)


def test_image_of_umoci(built: Path, rootfs: Path, tmp_path: Path) -> None:
    """Gzip layers, documents with a clock in them."""
    require_program("umoci")
    layout = tmp_path / "theirs"
    for arguments in (
        ["init", "--layout", layout],
        ["new", "--image", f"{layout}:runtime"],
        ["insert", "--image", f"{layout}:runtime", rootfs, "/"],
        ["config", "--image", f"{layout}:runtime", "--os", "freebsd", "--architecture", "amd64"],
    ):
        subprocess.run(["umoci", *map(str, arguments)], check=True, capture_output=True)
    c = diff(ours(built), f"oci:{layout}:runtime")
    found = counts(c)
    assert c.verdict is Verdict.DIFFERENT
    assert not c.problems
    assert found[Level.CONFIG, Cause.CLOCK] >= 2
    assert found[Level.LAYER, Cause.LAYERING] == 1
    assert not any(level is Level.CONTENT for level, _ in found)


def test_image_of_skopeo_with_other_compression(built: Path, tmp_path: Path) -> None:
    """The same image, compressed again: equal diff_ids, told as such."""
    skopeo = require_program("skopeo")
    target = f"oci:{tmp_path}/theirs:runtime"
    subprocess.run(
        [skopeo, "copy", "--dest-compress-format", "gzip", "--dest-compress", ours(built), target],
        check=True,
        capture_output=True,
    )
    c = diff(ours(built), target)
    assert {cause for level, cause in counts(c) if level is Level.LAYER} == {Cause.COMPRESSOR}
    assert {layer.state for layer in c.images[0].platforms[0].layers} == {State.EQUAL_CONTENT}
    saved = f"docker-archive:{tmp_path}/saved.tar"
    subprocess.run(
        [skopeo, "copy", target, f"{saved}:freebsd-runtime:15.0"],
        check=True,
        capture_output=True,
    )
    c = diff(ours(built), saved)
    assert c.verdict is Verdict.REPRODUCIBLE, c.differences[:3]


def test_two_unrelated_releases(built: Path) -> None:
    """Thousands of differences, no traceback, no problem, in seconds."""
    start = time.monotonic()
    c = diff(f"oci:{built}:freebsd-runtime:15.0", f"oci:{built}:freebsd-static:14.3")
    assert time.monotonic() - start < 60
    assert c.verdict is Verdict.DIFFERENT
    assert not c.problems
    assert len(c.differences) > 100


# ---------------------------------------------------------------- two layers of 500 MB

_MEASURE = """
import re, sys, time
from pathlib import Path
from reproducibility.compare import Options, compare
start = time.monotonic()
c = compare(sys.argv[1], sys.argv[2], Options(diffoscope=None))
status = Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024
print(len(c.differences), peak, round(time.monotonic() - start, 1))
"""


def _large_tar(path: Path, names: str, *, seed: int, changed: int) -> bytes:
    """Return a tar of 500 MB in 20,000 files that do not compress."""
    pool = random.Random(seed).randbytes(8 << 20)
    with tarfile.open(path, "w") as archive:
        for number in range(20_000):
            size = 10_000 + number * 7919 % 30_000
            start = number * 104_729 % (len(pool) - size)
            data = pool[start : start + size]
            if changed and number % changed == 0:
                data = data[:100] + b"CHANGED!" + data[108:]
            info = tarfile.TarInfo(f"{names}/{number // 100:03}/{number % 100:02}")
            info.size, info.mtime = len(data), EPOCH
            archive.addfile(info, io.BytesIO(data))
    raw = path.read_bytes()
    path.unlink()
    return raw


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("large")
    for name, names, seed, changed in (("a", "x", 1, 0), ("b", "x", 1, 100), ("c", "y", 2, 0)):
        tar = _large_tar(folder / "tar", names, seed=seed, changed=changed)
        assert len(tar) > 500_000_000
        make_layout(folder / name, tar, level=1)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.mark.parametrize(("other", "differences"), [("a", 0), ("b", 200), ("c", 40_000)])
def test_two_large_layers(large: Path, other: str, differences: int) -> None:
    """The same, a few files changed, nothing in common: bounded memory and time."""
    result = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(large / "a"), str(large / other)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    found, peak, seconds = result.stdout.split()
    assert int(found) == min(differences, 20_000)
    assert int(peak) < 200, "MB"
    assert float(seconds) < 120
