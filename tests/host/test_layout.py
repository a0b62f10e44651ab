"""An OCI layout in a directory: published completely, never half, and believed only by content."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import LayoutError
from pipeline.formats.digest import Digest
from pipeline.host import layout as module
from pipeline.host.layout import Layout, PublishedLayout
from pipeline.host.store import Store, copy_file
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.image import (
    ImageConfig,
    ImageIndex,
    ImageLayer,
    ImageManifest,
    RuntimeConfig,
    descriptor_of,
)
from pipeline.oci.media_type import REF_NAME, MediaType
from pipeline.oci.platform import Platform
from pipeline.oci.validate import validate_layout
from tests.elsewhere import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.host.store import Blob

NOTHING = RuntimeConfig(
    cmd=(),
    entrypoint=(),
    env=(),
    exposed_ports=(),
    labels={},
    stop_signal="",
    user="",
    volumes=(),
    working_dir="",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def layout(tmp_path: Path, store: Store) -> PublishedLayout:
    return PublishedLayout(tmp_path / "oci", store=store)


def image(store: Store, name: str = "a") -> tuple[Descriptor, tuple[Blob, ...]]:
    """Make an image with an empty layer of its own; return its index and all of its blobs."""
    tar = bytes(1024) + bytes(512 * len(name))
    layer = Descriptor(media_type=MediaType.LAYER, digest=Digest.of(tar), size=len(tar))
    platform = Platform(os="freebsd", architecture="amd64")
    config = ImageConfig(
        platform=platform,
        created=0,
        runtime=NOTHING,
        layers=(ImageLayer(descriptor=layer, diff_id=Digest.of(tar), created_by=name),),
    ).to_bytes()
    manifest = ImageManifest(
        config=descriptor_of(config, MediaType.CONFIG), layers=(layer,), annotations={}
    ).to_bytes()
    described = descriptor_of(manifest, MediaType.MANIFEST)
    instance = Descriptor(
        media_type=described.media_type,
        digest=described.digest,
        size=described.size,
        platform=platform,
    )
    index = ImageIndex(manifests=(instance,), annotations={}).to_bytes()
    blobs = tuple(store.put(data) for data in (tar, config, manifest, index))
    return descriptor_of(index, MediaType.INDEX), blobs


def test_a_published_image_is_a_valid_layout(layout: PublishedLayout, store: Store) -> None:
    """All blobs, `oci-layout`, and an index.json that names it."""
    descriptor, blobs = image(store)
    layout.publish("freebsd-a:15.0", descriptor, blobs)
    assert validate_layout(layout) == ()
    assert layout.read("oci-layout") == b'{"imageLayoutVersion":"1.0.0"}'
    index = json.loads(layout.read("index.json"))
    assert [m["annotations"] for m in index["manifests"]] == [{REF_NAME: "freebsd-a:15.0"}]
    assert layout.references()["freebsd-a:15.0"].digest == descriptor.digest
    with layout.open(blobs[1].digest) as f:
        assert f.read() == store.read(blobs[1].digest)


def test_several_images_share_a_layout(layout: PublishedLayout, store: Store) -> None:
    """Sorted by name; publishing one again changes nothing."""
    for name in ("b", "a", "c"):
        layout.publish(name, *image(store, name))
    before = layout.read("index.json")
    layout.publish("b", *image(store, "b"))
    assert layout.read("index.json") == before
    assert list(layout.references()) == ["a", "b", "c"]
    assert validate_layout(layout) == ()


def test_an_edit_of_the_layout_never_reaches_the_store(
    layout: PublishedLayout, store: Store
) -> None:
    """Blobs are copies."""
    descriptor, blobs = image(store)
    layout.publish("a", descriptor, blobs)
    layout.path(blobs[0].digest).write_bytes(b"edited")
    assert all(store.verify(blob.digest) for blob in blobs)


def test_holds_says_whether_all_of_it_is_there(layout: PublishedLayout, store: Store) -> None:
    """The reference to this very image, and every blob."""
    descriptor, blobs = image(store)
    assert not layout.holds("a", descriptor, blobs)
    layout.publish("a", descriptor, blobs)
    assert layout.holds("a", descriptor, blobs)
    assert not layout.holds("b", descriptor, blobs)
    assert not layout.holds("a", image(store, "other")[0], blobs)
    assert not layout.holds("a", descriptor, (*blobs, store.put(b"more")))


def _edit(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(b"x" * size)


def _edit_and_restore(path: Path) -> None:
    before = path.stat()
    _edit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "damage",
    [_edit, _edit_and_restore, lambda p: p.write_bytes(b""), lambda p: p.unlink()],
    ids=["edited", "edited-with-old-mtime", "emptied", "deleted"],
)
@pytest.mark.parametrize("which", range(4))
def test_a_damaged_blob_is_noticed_and_replaced(
    damage: Callable[..., Any], which: int, layout: PublishedLayout, store: Store
) -> None:
    """It is made anew, not trusted."""
    descriptor, blobs = image(store)
    layout.publish("a", descriptor, blobs)
    damage(layout.path(blobs[which].digest))
    assert not layout.holds("a", descriptor, blobs)
    layout.publish("a", descriptor, blobs)
    assert layout.holds("a", descriptor, blobs)
    assert validate_layout(layout) == ()


def test_a_touched_blob_is_hashed_and_kept(
    layout: PublishedLayout, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not hashed again once that is remembered."""
    descriptor, blobs = image(store)
    layout.publish("a", descriptor, blobs)
    os.utime(layout.path(blobs[0].digest), (1, 1))
    assert layout.holds("a", descriptor, blobs)
    layout.publish("a", descriptor, blobs)
    monkeypatch.setattr(module, "hash_file", None)
    monkeypatch.setattr(module, "copy_file", None)
    assert layout.holds("a", descriptor, blobs)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a":[1]}', b"\xff"])
def test_a_damaged_memory_is_no_memory(
    content: bytes, layout: PublishedLayout, store: Store
) -> None:
    """Everything is hashed again."""
    descriptor, blobs = image(store)
    layout.publish("a", descriptor, blobs)
    (memory,) = (store.root / "layouts").iterdir()
    memory.write_bytes(content)
    assert layout.holds("a", descriptor, blobs)
    layout.publish("a", descriptor, blobs)
    assert layout.holds("a", descriptor, blobs)


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b'{"manifests":[{}]}', b'{"manifests":[1]}', b"x"]
)
def test_a_damaged_index_or_header_is_made_anew(
    name: str, content: bytes | None, layout: PublishedLayout, store: Store
) -> None:
    """Whatever somebody did to it."""
    descriptor, blobs = image(store)
    layout.publish("a", descriptor, blobs)
    if content is None:
        (layout.root / name).unlink()
    else:
        (layout.root / name).write_bytes(content)
    assert not layout.holds("a", descriptor, blobs)
    layout.publish("a", descriptor, blobs)
    assert validate_layout(layout) == ()


def test_a_directory_without_index_has_no_references(tmp_path: Path) -> None:
    """Nothing has been published yet."""
    assert Layout(tmp_path / "nowhere").references() == {}


@pytest.mark.parametrize(
    "content", [b"{}", b'{"manifests":{}}', b'{"manifests":[{}]}', b'{"manifests":[1]}', b"x"]
)
def test_a_broken_index_is_an_error_for_a_reader(content: bytes, tmp_path: Path) -> None:
    """Read access does not repair."""
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(LayoutError):
        Layout(tmp_path).references()


def test_an_image_can_be_withdrawn(layout: PublishedLayout, store: Store) -> None:
    """Only its reference goes; once gone it is no error."""
    layout.withdraw("a")
    for name in ("a", "b"):
        layout.publish(name, *image(store, name))
    layout.withdraw("a")
    layout.withdraw("a")
    assert list(layout.references()) == ["b"]
    assert validate_layout(layout) == ()


def test_prune_removes_what_nobody_refers_to(layout: PublishedLayout, store: Store) -> None:
    """Other references, their blobs, and whatever else lies among the blobs."""
    for name in ("a", "bb"):
        layout.publish(name, *image(store, name))
    _, blobs = image(store, "a")
    (layout.root / "blobs/sha256/.half").write_bytes(b"left by a run that was killed")
    layout.prune(["a"])
    assert list(layout.references()) == ["a"]
    names = sorted(path.name for path in (layout.root / "blobs/sha256").iterdir())
    assert names == sorted(blob.digest.hex for blob in blobs)
    assert validate_layout(layout) == ()
    assert layout.holds("a", image(store, "a")[0], blobs)


def test_a_layout_with_other_blobs_is_not_pruned(layout: PublishedLayout, store: Store) -> None:
    """An earlier image of the same name, or what a killed run has left."""
    assert not layout.is_pruned(["a"])
    layout.publish("a", *image(store, "old"))
    assert layout.is_pruned(["a"])
    assert not layout.is_pruned(["a", "b"])
    layout.publish("a", *image(store, "new"))
    assert not layout.is_pruned(["a"])
    layout.prune(["a"])
    assert layout.is_pruned(["a"])
    (layout.root / "blobs/sha256/.half").touch()
    assert not layout.is_pruned(["a"])
    layout.prune(["a"])
    layout.path(layout.references()["a"].digest).unlink()
    assert not layout.is_pruned(["a"])


def test_pruning_does_not_disturb_who_publishes(
    layout: PublishedLayout, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first blob of an image and its reference, somebody else prunes."""
    copy = copy_file
    times = []

    def copy_then_prune(source: Path, target: Path) -> None:
        copy(source, target)
        times.append(target)
        if len(times) == 2:
            PublishedLayout(layout.root, store=store).prune([])

    monkeypatch.setattr(module, "copy_file", copy_then_prune)
    layout.publish("a", *image(store, "a"))
    assert len(times) > 2
    assert validate_layout(layout) == ()
    assert layout.is_pruned(["a"])


def test_a_copy_in_progress_is_not_pruned(layout: PublishedLayout, store: Store) -> None:
    """It is locked; once its process is gone, it is not."""
    layout.publish("a", *image(store, "a"))
    path = layout.root / "blobs/sha256/.copy"
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        layout.prune(["a"])
        assert path.exists()
    layout.prune(["a"])
    assert not path.exists()


def test_prune_of_nothing_leaves_an_empty_layout(layout: PublishedLayout) -> None:
    """It is made if it is not there."""
    layout.prune(["a"])
    assert layout.references() == {}
    assert validate_layout(layout) == ()


def test_remove_takes_only_what_is_a_layout(
    layout: PublishedLayout, store: Store, tmp_path: Path
) -> None:
    """`output` may have been set to a directory with other things in it."""
    layout.publish("a", *image(store))
    layout.remove()
    layout.remove()
    assert not layout.root.exists()
    other = tmp_path / "home"
    (other / "precious").mkdir(parents=True)
    PublishedLayout(other, store=store).remove()
    assert (other / "precious").is_dir()


def test_processes_that_publish_at_once_lose_nothing(layout: PublishedLayout, store: Store) -> None:
    """index.json is read, changed and replaced under a lock."""
    code = """
import sys, pathlib
sys.path.insert(0, ".")
from pipeline.host.layout import PublishedLayout
from pipeline.host.store import Store
from tests.host.test_layout import image
store = Store(pathlib.Path(sys.argv[1]))
layout = PublishedLayout(pathlib.Path(sys.argv[2]), store=store)
for name in sys.argv[3:]:
    layout.publish(name, *image(store, name))
"""
    names = [[f"{who}-{i}" for i in range(8)] for who in "abc"]
    processes = [
        subprocess.Popen([sys.executable, "-c", code, store.root, layout.root, *mine], cwd=ROOT)
        for mine in names
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert list(layout.references()) == sorted(name for mine in names for name in mine)
    assert validate_layout(layout) == ()


# ---------------------------------------------------------------- whose layout it is


def test_a_layout_has_one_declaration(layout: PublishedLayout, tmp_path: Path) -> None:
    """Until that is gone, or the layout is."""
    first, second = tmp_path / "images.toml", tmp_path / "other.toml"
    first.touch()
    layout.claim(first)
    layout.claim(first)
    with pytest.raises(LayoutError, match=f"holds the images of {first}$") as caught:
        layout.claim(second)
    assert caught.value.hint == f"give {second} an `output` of its own"
    layout.remove()
    second.touch()
    layout.claim(second)
    second.unlink()
    layout.claim(first)


def test_a_directory_of_other_things_is_no_layout(layout: PublishedLayout, tmp_path: Path) -> None:
    """What lies there stays; a layout whose header somebody has removed is still ours."""
    layout.root.mkdir()
    layout.claim(tmp_path / "images.toml")
    layout.remove()
    layout.root.mkdir()
    (layout.root / "index.json").write_text("precious")
    with pytest.raises(LayoutError, match="a directory of other things, want an OCI layout"):
        layout.claim(tmp_path / "images.toml")
    (layout.root / "index.json").unlink()
    layout.prune([])
    (layout.root / "oci-layout").unlink()
    layout.claim(tmp_path / "images.toml")


def test_what_is_claimed_is_a_layout_before_its_first_image(
    layout: PublishedLayout, tmp_path: Path
) -> None:
    """Else a process would take the first blobs of another one for things of somebody else."""
    layout.claim(tmp_path / "images.toml")
    (layout.root / "blobs").mkdir()
    other = PublishedLayout(layout.root, store=Store(tmp_path / "other"))
    other.claim(tmp_path / "images.toml")


CLAIM = """
import pathlib, sys
from pipeline.host.layout import PublishedLayout
from pipeline.host.store import Store
root = pathlib.Path(sys.argv[2])
while not (root.parent / "go").exists():
    pass
PublishedLayout(root, store=Store(pathlib.Path(sys.argv[1]))).claim(root.parent / "images.toml")
(root / "blobs").mkdir(exist_ok=True)
"""


def test_processes_that_claim_at_once_agree(layout: PublishedLayout, store: Store) -> None:
    for _ in range(10):
        argv = [sys.executable, "-c", CLAIM, str(store.root), str(layout.root)]
        processes = [subprocess.Popen(argv, cwd=ROOT) for _ in range(3)]
        (layout.root.parent / "go").touch()
        assert [process.wait() for process in processes] == [0, 0, 0]
        (layout.root.parent / "go").unlink()
        layout.remove()
