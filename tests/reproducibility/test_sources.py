"""Names of sources, and what they open."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError, FormatError
from reproducibility.directory_layer import DirectoryLayer
from reproducibility.entries import Kind
from reproducibility.entry_table import EntryTable, Scratch
from reproducibility.sources import SourceKind, SourceName, open_source
from tests.reproducibility.layouts import (
    LayoutWriter,
    Spec,
    archive_layout,
    docker_archive,
    file,
    make_layout,
    make_tar,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAR = make_tar([file("etc/motd", "hello\n")])


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with Scratch() as scratch:
        yield scratch


def test_kinds_are_found_by_looking(tmp_path: Path) -> None:
    """A prefix is only needed where two kinds are possible."""
    layout = make_layout(tmp_path / "layout", TAR)
    oci_archive = archive_layout(layout, tmp_path / "oci.tar")
    saved = docker_archive(tmp_path / "docker.tar", TAR)
    rootfs = tmp_path / "rootfs.tar"
    rootfs.write_bytes(TAR)
    folder = tmp_path / "folder"
    folder.mkdir()
    assert [
        SourceName.parse(str(p)).kind for p in (layout, oci_archive, saved, rootfs, folder)
    ] == [
        SourceKind.OCI,
        SourceKind.OCI_ARCHIVE,
        SourceKind.DOCKER_ARCHIVE,
        SourceKind.ROOTFS,
        SourceKind.ROOTFS,
    ]


def test_names_may_hold_colons_and_paths_as_well(tmp_path: Path) -> None:
    """The path ends where it exists."""
    layout = make_layout(tmp_path / "a:b", TAR, name="freebsd-runtime:15.0")
    parsed = SourceName.parse(f"oci:{layout}:freebsd-runtime:15.0")
    assert (parsed.path, parsed.name) == (layout, "freebsd-runtime:15.0")
    assert SourceName.parse(str(layout)).path == layout


def test_docker_prefix_may_be_missing(tmp_path: Path) -> None:
    """A name with a known prefix that is not there is an error with a hint."""
    with pytest.raises(ConfigurationError, match="no such file") as caught:
        SourceName.parse(f"oci:{tmp_path}/nothing")
    assert caught.value.hint is not None
    with pytest.raises(ConfigurationError):
        SourceName.parse("registry.example.org/image:1")


def test_text_file_is_no_source(tmp_path: Path) -> None:
    """Neither a tar nor a directory."""
    path = tmp_path / "x"
    path.write_text("hello " * 200)
    with pytest.raises(ConfigurationError, match="neither a tar nor a directory"):
        open_source(str(path))
    with pytest.raises((ConfigurationError, FormatError)):
        open_source(f"oci-archive:{path}")


def test_unknown_name_in_a_layout_is_a_problem(tmp_path: Path) -> None:
    """The layout is there, the image is not."""
    layout = make_layout(tmp_path / "a", TAR)
    with open_source(f"oci:{layout}:other:2") as source:
        assert source.images == ()
        assert source.problems == ("index.json: names no image 'other:2'",)


def test_rootfs_has_no_names(tmp_path: Path) -> None:
    """A root file system is one thing."""
    with pytest.raises(ConfigurationError, match="has no names"):
        open_source(f"rootfs:{tmp_path}:x")


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        (b"{", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"manifests": []}', "empty"),
        (b'{"manifests": [7]}', "manifests[0]"),
        (b'{"manifests": [{"mediaType": "x", "digest": "sha512:00", "size": 1}]}', "digest"),
    ],
)
def test_broken_index(tmp_path: Path, index: bytes, problem: str) -> None:
    """What cannot be read is a problem, not an exception."""
    layout = make_layout(tmp_path / "a", TAR)
    (layout / "index.json").write_bytes(index)
    with open_source(f"oci:{layout}") as source:
        assert any(problem in p for p in source.problems), source.problems


def test_nested_indexes_have_an_end(tmp_path: Path) -> None:
    """An index in an index is read; one that goes too deep is a problem."""
    writer = LayoutWriter(tmp_path / "a")
    descriptor = writer.manifest(Spec(layers=(TAR,)))
    media_type = "application/vnd.oci.image.index.v1+json"
    for _ in range(8):
        index = json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode()
        descriptor = {"mediaType": media_type, "digest": writer.blob(index), "size": len(index)}
    writer.manifests = [descriptor]
    writer._write_index()
    with open_source(f"oci:{writer.root}") as source:
        assert any("nested deeper" in p for p in source.problems)


def test_artifact_has_layers_that_are_no_tars(tmp_path: Path) -> None:
    """An SBOM in a layout is one file."""
    writer = LayoutWriter(tmp_path / "a")
    blob = b'{"spdxVersion": "SPDX-2.3"}'
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/spdx+json",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": writer.blob(b"{}"),
                "size": 2,
            },
            "layers": [
                {
                    "mediaType": "application/spdx+json",
                    "digest": writer.blob(blob),
                    "size": len(blob),
                }
            ],
        }
    ).encode()
    writer.manifests = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": writer.blob(manifest),
            "size": len(manifest),
        }
    ]
    writer._write_index()
    with open_source(f"oci:{writer.root}") as source, Scratch() as scratch:
        (layer,) = source.images[0].platforms[0].layers
        table = scratch.table()
        layer.read(table)
        assert [row.entry.size for row in table] == [len(blob)]


# ---------------------------------------------------------------- directories


def entries(table: EntryTable) -> dict[str, tuple[Kind, str]]:
    return {row.entry.path: (row.entry.kind, row.entry.link) for row in table}


def test_directory_is_read_without_leaving_it(tmp_path: Path, scratch: Scratch) -> None:
    """Links are not followed; names of one file are found."""
    (tmp_path / "outside").write_text("secret")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/a").write_text("x")
    os.link(root / "etc/a", root / "etc/b")
    (root / "etc/out").symlink_to("../../outside")
    (root / "loop").symlink_to(".")
    os.mkfifo(root / "pipe")
    table = scratch.table()
    facts = DirectoryLayer(name="x", root=root).read(table)
    assert facts.problems == ()
    assert entries(table) == {
        "etc": (Kind.DIRECTORY, ""),
        "etc/a": (Kind.FILE, ""),
        "etc/b": (Kind.HARDLINK, "etc/a"),
        "etc/out": (Kind.SYMLINK, "../../outside"),
        "loop": (Kind.SYMLINK, "."),
        "pipe": (Kind.FIFO, ""),
    }
    hard, first = table.get("etc/b"), table.get("etc/a")
    assert hard is not None
    assert first is not None
    assert hard.entry.digest == first.entry.digest


def test_very_deep_directory(tmp_path: Path, scratch: Scratch) -> None:
    """No recursion of ours ends before the system's limit does."""
    path = os.fsencode(tmp_path)
    depth = 0
    here = os.open(path, os.O_RDONLY)
    while depth < 1200:
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
        depth += 1
    os.close(here)
    table = scratch.table()
    DirectoryLayer(name="x", root=tmp_path).read(table)
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # what pytest cannot
    assert len(table) == 1200


# ---------------------------------------------------------------- tables


def test_removing_below_a_path(tmp_path: Path, scratch: Scratch) -> None:
    """`a-b` is not below `a`."""
    table = scratch.table()
    path = tmp_path / "r.tar"
    path.write_bytes(make_tar([file(p) for p in ("a", "a/x", "a/x/y", "a-b", "b")]))
    with open_source(str(path)) as source:
        source.images[0].platforms[0].layers[0].read(table)
    table.remove("a")
    assert list(entries(table)) == ["a-b", "b"]
    table.remove_below("")
    assert len(table) == 0
