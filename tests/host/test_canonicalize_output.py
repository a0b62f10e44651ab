"""Outputs appear whole or not at all, and nothing in progress is left behind."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import ConfigurationError, LayoutError, TooLargeError
from pipeline.formats.digest import Digest
from pipeline.host import output as module
from pipeline.host.output import Spool, replacing
from pipeline.host.staged_layout import StagedLayout
from pipeline.oci.image import LAYOUT_BYTES
from tests.foreign import COMPRESS, REF_NAME, named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def names(folder: Path) -> set[str]:
    """Return what is in a folder."""
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------- files


def test_a_file_takes_the_place_of_another(tmp_path: Path) -> None:
    """Until then the old one is there; mode and time are as asked, whatever the umask."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with replacing(path, mtime=5) as f:
        f.write(b"new")
        assert path.read_bytes() == b"old"
        assert len(names(tmp_path)) == 2
    assert (path.read_bytes(), names(tmp_path)) == (b"new", {"x"})
    status = path.stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o644, 5_000_000_000)


def test_a_dry_run_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing else."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with replacing(path, commit=False) as f:
        f.write(b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"old", {"x"})


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    """Also one that is no error of ours."""
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as f:
            f.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (path.read_bytes(), names(tmp_path)) == (b"old", {"x"})


def test_the_folder_has_to_be_there(tmp_path: Path) -> None:
    """A mistyped name makes no directories."""
    with pytest.raises(ConfigurationError, match="no such directory"):
        module.check_folder(tmp_path / "a" / "x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    """Root rewrites somebody's file, and it stays theirs."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    os.chown(path, 12, 34)
    with replacing(path) as f:
        f.write(b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)


# ---------------------------------------------------------------- spools


@pytest.mark.parametrize("compression", sorted(COMPRESS))
def test_a_spool_is_readable_anywhere(tmp_path: Path, compression: str) -> None:
    """Decompressed into a file without a name, or the file itself."""
    data = bytes(range(256)) * 9000
    path = tmp_path / "x"
    path.write_bytes(COMPRESS[compression](data))
    with Spool(path, tmp_path, what="x") as spool:
        assert names(tmp_path) == {"x"}
        assert spool.algorithm == compression
        assert b"".join(spool.stretch(5, 2_000_000)) == data[5:2_000_005]
        assert spool.digest() == Digest.of(data)
        assert spool.file.read(3) == data[:3]


def test_a_spool_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb is told from an archive."""
    path = tmp_path / "x"
    path.write_bytes(COMPRESS["gzip"](bytes(100_000)))
    monkeypatch.setattr(module, "expansion_limit", lambda _size: 1000)
    with pytest.raises(TooLargeError):
        Spool(path, tmp_path, what="x")
    assert names(tmp_path) == {"x"}


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    """Somebody else writes to it."""
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    with Spool(path, tmp_path, what="x") as spool, pytest.raises(ConfigurationError):
        list(spool.stretch(0, 5))


# ---------------------------------------------------------------- layouts


def stage(target: Path, name: str | None, content: bytes) -> None:
    """Publish a blob under a name."""
    with StagedLayout(target) as staged:
        blob = staged.put(content)
        d: dict[str, Any] = {"digest": str(blob.digest), "size": blob.size, "mediaType": "x"}
        if name is not None:
            d["annotations"] = {REF_NAME: name}
        layout = staged.finish(d)
        assert layout.read("oci-layout") == LAYOUT_BYTES
        with layout.open(blob.digest) as f:
            assert f.read() == content
        staged.publish(d)


def test_a_layout_appears_at_once(tmp_path: Path) -> None:
    """Readable to everybody, whatever the umask, as other tools make it."""
    target = tmp_path / "layout"
    mask = os.umask(0o077)
    try:
        stage(target, "a", b"1")
    finally:
        os.umask(mask)
    modes = {path.is_dir(): path.stat().st_mode & 0o7777 for path in target.rglob("*")}
    assert modes == {True: 0o755, False: 0o644}
    assert names(tmp_path) == {"layout"}
    assert names(target) == {"blobs", "index.json", "oci-layout"}
    assert target.stat().st_mode & 0o7777 == 0o755
    assert named(target, "a")["digest"] == str(Digest.of(b"1"))


def test_an_image_joins_others(tmp_path: Path) -> None:
    """Sorted by name; one of the same name makes way, everything else stays as it is written."""
    target = tmp_path / "layout"
    stage(target, "b", b"1")
    index = json.loads((target / "index.json").read_bytes())
    index["annotations"] = {"kept": "x"}
    index["manifests"][0]["unknown"] = [1]
    (target / "index.json").write_text(json.dumps(index))
    for name, content in (("a", b"2"), (None, b"3"), ("a", b"4"), ("c", b"5")):
        stage(target, name, content)
    index = json.loads((target / "index.json").read_bytes())
    assert index["annotations"] == {"kept": "x"}
    digests = [m["digest"] for m in index["manifests"]]
    assert digests == [str(Digest.of(content)) for content in (b"3", b"4", b"1", b"5")]
    assert named(target, "b")["unknown"] == [1]
    assert names(tmp_path) == {"layout"}


def test_what_is_no_layout_stays_as_it_is(tmp_path: Path) -> None:
    """A directory with something else in it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").write_text("x")
    with pytest.raises(LayoutError, match="exists and is no OCI layout"):
        stage(tmp_path / "home", "a", b"1")
    assert names(tmp_path) == {"home"}
    assert names(tmp_path / "home") == {"thesis"}


def test_errors_leave_nothing(tmp_path: Path) -> None:
    """The folder in progress is gone, whatever happened."""

    def fail(action: Callable[[StagedLayout], object]) -> None:
        with StagedLayout(tmp_path / "layout") as staged:
            action(staged)

    def half(staged: StagedLayout) -> None:
        with staged.writer() as sink:
            sink.write(b"half")
            raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space"):
        fail(half)
    fail(lambda staged: staged.put(b"unpublished"))
    assert names(tmp_path) == set()
