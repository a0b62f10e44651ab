"""Archives: the same images give the same bytes, and reading believes nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ArchiveError, DigestMismatchError, LayoutError
from pipeline.formats.digest import Digest
from pipeline.host.archive import IMAGE_NAME, ArchiveSource, open_layout, write_archive
from pipeline.host.layout import Layout
from pipeline.host.registry_manifest import Contents, entries
from pipeline.oci.media_type import REF_NAME
from pipeline.oci.validate import validate_layout
from tests.registry_layouts import Maker, layer, make, noise

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BASE = layer("base", noise(3_000_000, "base"))


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    maker = make(tmp_path)
    maker.image("static:15.0", BASE)
    maker.image("runtime:15.0", BASE, layer("more", b"more"))
    return maker


def tar_of(members: Iterable[tuple[str, bytes]], path: Path) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_an_archive_is_a_layout(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_archive(maker.layout, {"static:15.0": None}, path, mtime=7)
    source = open_layout(path)
    assert validate_layout(source) == ()
    (entry,) = entries(source)
    assert entry == maker.layout.references()["static:15.0"]


def test_members_are_sorted_and_plain(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_archive(maker.layout, {"static:15.0": None}, path, mtime=7)
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    names = [m.name + ("/" if m.isdir() else "") for m in members]
    assert names == sorted(names)
    assert names[:2] == ["blobs/", "blobs/sha256/"]
    assert names[-2:] == ["index.json", "oci-layout"]
    assert len(names) == 2 + 8 + 2
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(7, 0, 0, "", "")}
    assert {m.mode for m in members} == {0o755, 0o644}


def test_the_same_images_give_the_same_bytes(maker: Maker, tmp_path: Path) -> None:
    names = ["static:15.0", "runtime:15.0"]
    digests = set()
    for number, order in enumerate([names, names[::-1]]):
        path = tmp_path / f"{number}.tar"
        write_archive(maker.layout, dict.fromkeys(order), path, mtime=0)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_an_archive_of_an_archive_is_the_same(maker: Maker, tmp_path: Path) -> None:
    first, second = tmp_path / "1.tar", tmp_path / "2.tar"
    write_archive(maker.layout, {"static:15.0": "h.io/static:15.0"}, first, mtime=0)
    write_archive(open_layout(first), {"static:15.0": "h.io/static:15.0"}, second, mtime=0)
    assert first.read_bytes() == second.read_bytes()


def test_a_full_name_is_what_docker_calls_it(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_archive(maker.layout, {"static:15.0": "ghcr.io/fb/static:15.0"}, path, mtime=0)
    (entry,) = entries(open_layout(path))
    assert entry.annotations[IMAGE_NAME] == "ghcr.io/fb/static:15.0"
    assert entry.annotations[REF_NAME] == "static:15.0"
    assert entry.digest == maker.layout.references()["static:15.0"].digest


def test_what_refers_to_an_image_is_in_it(maker: Maker, tmp_path: Path) -> None:
    root = maker.layout.references()["static:15.0"]
    artifact = maker.artifact(root, "application/spdx+json", b"sbom", "attached")
    path = tmp_path / "x.tar"
    write_archive(maker.layout, {"static:15.0": None}, path, mtime=0)
    source = open_layout(path)
    assert [(e.digest, e.annotations.get(REF_NAME)) for e in entries(source)] == [
        (root.digest, "static:15.0"),
        (artifact.digest, None),
    ]
    assert source.open(Digest.of(b"sbom")).read() == b"sbom"


@pytest.mark.parametrize("data", [BASE[:-1], BASE + b"x", BASE[:-1] + b"x"])
def test_nothing_half_or_altered_is_left(maker: Maker, tmp_path: Path, data: bytes) -> None:
    assert data != BASE
    maker.layout.path(Digest.of(BASE)).write_bytes(data)
    folder = tmp_path / "out"
    with pytest.raises(DigestMismatchError):
        write_archive(maker.layout, {"static:15.0": None}, folder / "x.tar", mtime=0)
    assert list(folder.iterdir()) == []


def test_a_missing_blob_is_named(maker: Maker, tmp_path: Path) -> None:
    maker.layout.path(Digest.of(BASE)).unlink()
    with pytest.raises(LayoutError, match="is not in the layout"):
        write_archive(maker.layout, {"static:15.0": None}, tmp_path / "x.tar", mtime=0)


def test_an_image_that_is_not_there_is_named(maker: Maker, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="'none:1'"):
        write_archive(maker.layout, {"none:1": None}, tmp_path / "x.tar", mtime=0)


# ---------------------------------------------------------------- reading


def test_a_blob_is_read_where_it_lies(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_archive(maker.layout, {"static:15.0": None}, path, mtime=0)
    with ArchiveSource(path).open(Digest.of(BASE)) as f:
        assert f.read(10) == BASE[:10]
        assert f.seek(2_000_000) == 2_000_000
        assert f.read(10) == BASE[2_000_000:2_000_010]
        assert f.seek(-5, io.SEEK_END) == len(BASE) - 5
        assert f.read() == BASE[-5:]
        assert f.read() == b""
        assert f.seek(0) == 0
        assert f.seek(3, io.SEEK_CUR) == 3
        assert f.tell() == 3
        assert f.read() == BASE[3:]


def test_what_is_not_there_is_not_found(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_archive(maker.layout, {"static:15.0": None}, path, mtime=0)
    with pytest.raises(FileNotFoundError):
        ArchiveSource(path).open(Digest("0" * 64))
    with pytest.raises(FileNotFoundError):
        ArchiveSource(path).read("nothing")


def test_names_may_begin_with_a_dot_and_come_in_any_order(maker: Maker, tmp_path: Path) -> None:
    members = [("./oci-layout", (maker.layout.root / "oci-layout").read_bytes())]
    members += [
        (f"./{path.relative_to(maker.layout.root)}", path.read_bytes())
        for path in sorted(maker.layout.root.rglob("*"), reverse=True)
        if path.is_file() and path.name != "oci-layout"
    ]
    source = open_layout(tar_of(members, tmp_path / "x.tar"))
    assert validate_layout(source) == ()
    assert len(Contents(source).walk("static:15.0")) == 3


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    path = tar_of([("index.json", b"{}"), ("./index.json", b"[]")], tmp_path / "x.tar")
    with pytest.raises(ArchiveError, match=r"'index\.json' twice"):
        ArchiveSource(path)


def test_a_compressed_archive_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(b"x" * 1024))
    with pytest.raises(ArchiveError, match="is compressed") as caught:
        ArchiveSource(path)
    assert caught.value.hint is not None


@pytest.mark.parametrize("data", [b"", b"hello" * 500, b"\0" * 512])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(ArchiveError):
        ArchiveSource(path)


def test_an_archive_that_ends_early_is_refused(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_archive(maker.layout, {"static:15.0": None}, path, mtime=0)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ArchiveError):
        ArchiveSource(path)


def test_a_directory_and_an_archive_are_told_apart(maker: Maker, tmp_path: Path) -> None:
    assert isinstance(open_layout(maker.layout.root), Layout)
    with pytest.raises(LayoutError, match="no such layout or archive"):
        open_layout(tmp_path / "nothing")
