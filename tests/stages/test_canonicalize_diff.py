"""Comparing databases, wherever they are: files, roots, tars, images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError, DatabaseError, FormatError
from pipeline.stages.compare_databases import Comparison, compare_databases
from tests.foreign import (
    COMPRESS,
    DATABASE,
    DATABASES,
    INDEX,
    MANIFEST,
    Image,
    Layout,
    Node,
    folder,
    pack,
    root,
)

if TYPE_CHECKING:
    from pathlib import Path

DATABASE_NAMES = ("2.8.4-all", "2.8.4-order-reversed", "2.8.4-wallclock", "2.8.4-history")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Return places of every kind, all with the same packages."""
    first, second, *_ = (DATABASES[name] for name in DATABASE_NAMES)
    (tmp_path / "file.sqlite").write_bytes(first)
    in_root = tmp_path / "root" / DATABASE
    in_root.parent.mkdir(parents=True)
    in_root.write_bytes(second)
    (tmp_path / "tar").write_bytes(COMPRESS["xz"](pack(root(second), prefix="./")))
    made = Layout(tmp_path / "layout")
    image = Image(layers=[pack(root(second)), pack([folder("etc")])])
    made.name(made.image(image), "15.0")
    made.name(made.index([image, Image(layers=image.layers, architecture="arm64")]), "both")
    empty = Image(layers=[pack([folder("etc")])])
    made.name(made.image(empty), "empty")
    gone = [pack(root(second)), pack([Node(path="var/db/.wh.pkg")]), pack([folder("etc")])]
    made.name(made.image(Image(layers=gone)), "gone")
    made.name(made.index([Image(layers=image.layers, architecture="riscv64"), image]), "other")
    return {
        "file": f"{tmp_path}/file.sqlite",
        "root": f"{tmp_path}/root",
        "tar": f"{tmp_path}/tar",
        "image": f"{tmp_path}/layout:15.0",
        "oci": f"oci:{tmp_path}/layout:15.0",
        "both": f"{tmp_path}/layout:both",
        "other": f"{tmp_path}/layout:other",
        "empty": f"{tmp_path}/layout:empty",
        "gone": f"{tmp_path}/layout:gone",
        "none": f"{tmp_path}/none",
    }


def compare(a: str, b: str, *, ignore_times: bool = False) -> Comparison:
    """Compare with every difference."""
    return compare_databases(a, b, ignore_times=ignore_times)


@pytest.mark.parametrize("kind", ["file", "root", "tar", "image", "oci"])
def test_places_are_alike(places: dict[str, str], kind: str) -> None:
    """A database is what it says, not where it is nor how it came to be."""
    assert compare(places["file"], places[kind]).is_same


def test_times_may_be_passed_over(places: dict[str, str], tmp_path: Path) -> None:
    """Two runs of pkg differ in them alone."""
    (tmp_path / "other").write_bytes(DATABASES["2.8.4-wallclock"])
    result = compare(places["file"], f"{tmp_path}/other")
    assert not result.is_same
    assert {d.cells[0].column for d in result.differences[""].rows} == {"time"}
    assert compare(places["file"], f"{tmp_path}/other", ignore_times=True).is_same


def test_differences(places: dict[str, str], tmp_path: Path) -> None:
    """By package and table."""
    (tmp_path / "other").write_bytes(DATABASES["2.8.4-history"])
    difference = compare(places["tar"], f"{tmp_path}/other").differences[""]
    assert "only in" in difference.to_text(limit=500)


def test_platforms_are_compared_each(places: dict[str, str]) -> None:
    """What only one side has is a difference."""
    same = compare(places["both"], places["both"])
    assert same.is_same
    assert list(same.differences) == ["freebsd/amd64", "freebsd/arm64"]
    result = compare(places["both"], places["other"])
    assert not result.is_same
    assert list(result.differences) == ["freebsd/amd64"]
    assert (result.only_a, result.only_b) == (("freebsd/arm64",), ("freebsd/riscv64",))
    against_one = compare(places["both"], places["image"])
    assert (against_one.only_a, against_one.only_b) == (("freebsd/arm64",), ())


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("none", "no such file or directory"),
        ("empty", r"freebsd/amd64: no layer has a var/db/pkg/local\.sqlite"),
        ("gone", r"freebsd/amd64: its var/db/pkg/local\.sqlite is deleted"),
    ],
)
def test_places_without_a_database(places: dict[str, str], kind: str, match: str) -> None:
    """Nothing is no empty database."""
    with pytest.raises(ConfigurationError, match=match):
        compare(places["file"], places[kind])


def test_tars_without_a_database(places: dict[str, str], tmp_path: Path) -> None:
    """Nor is a tar of something else, nor a text."""
    (tmp_path / "x.tar").write_bytes(pack([folder("etc")]))
    with pytest.raises(ConfigurationError, match="no var/db/pkg"):
        compare(places["file"], f"{tmp_path}/x.tar")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FormatError, match=f"{tmp_path}/text: archive ends"):
        compare(places["file"], f"{tmp_path}/text")


def test_artifacts_of_an_index_are_no_images(places: dict[str, str], tmp_path: Path) -> None:
    """Something else that an index lists has no database, and needs none."""
    made = Layout(tmp_path / "more")
    image = made.image(Image(layers=[pack(root(DATABASES["2.8.4-all"]))]))
    note = made.put_json({"config": made.put(b"{}", "text/x"), "layers": []}, MANIFEST)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image, note]}
    made.name(made.put_json(index, INDEX), "15.0")
    assert compare(places["file"], f"{tmp_path}/more").is_same


def test_unreadable_databases(places: dict[str, str], tmp_path: Path) -> None:
    """The place is in the message."""
    (tmp_path / "x.tar").write_bytes(pack(root(b"nothing")))
    with pytest.raises(DatabaseError, match=rf"{tmp_path}/x\.tar: not an SQLite"):
        compare(places["file"], f"{tmp_path}/x.tar")


def test_databases_have_a_limit(places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads a terabyte of zeros into memory."""
    monkeypatch.setattr("pipeline.stages.compare_databases.MAX_DATABASE", 1000)
    with pytest.raises(FormatError, match=r"local\.sqlite': 4.* bytes"):
        compare(places["file"], places["tar"])


def test_logs_count(places: dict[str, str], tmp_path: Path) -> None:
    """Also those in an archive."""
    nodes = [*root(DATABASES["2.8.4-all"]), Node(path=f"{DATABASE}-wal", content=b"x" * 99)]
    (tmp_path / "x.tar").write_bytes(pack(nodes))
    with pytest.raises(DatabaseError, match="write-ahead log"):
        compare(places["file"], f"{tmp_path}/x.tar")
