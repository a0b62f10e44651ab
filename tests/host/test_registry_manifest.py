"""Manifests by their bytes: what they refer to, and what is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DigestMismatchError, FormatError, LayoutError
from pipeline.formats.digest import Digest
from pipeline.host.registry_manifest import Contents, Manifest, collect, verify_manifest
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.media_type import MediaType
from tests.registry_layouts import layer, make

if TYPE_CHECKING:
    from pathlib import Path

DOCKER = "application/vnd.docker.distribution.manifest"


def entry(number: int, kind: str = "x/y") -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{number:064x}", "size": number}


def manifest(**fields: object) -> bytes:
    document = {"schemaVersion": 2, "config": entry(1), "layers": [entry(2), entry(3)], **fields}
    return json.dumps(document).encode()


def digests(descriptors: tuple[Descriptor, ...]) -> list[int]:
    return [int(d.digest.hex, 16) for d in descriptors]


def test_an_image_refers_to_config_and_layers() -> None:
    read = Manifest.parse(manifest(mediaType=MediaType.MANIFEST.value))
    assert digests(read.blobs) == [1, 2, 3]
    assert read.manifests == ()
    assert not read.is_index
    assert read.subject is None
    assert read.descriptor.size == len(read.raw)


def test_the_same_blob_twice_is_one() -> None:
    raw = manifest(mediaType=MediaType.MANIFEST.value, layers=[entry(2), entry(1), entry(2)])
    assert digests(Manifest.parse(raw).blobs) == [1, 2]


@pytest.mark.parametrize("kind", [MediaType.INDEX.value, f"{DOCKER}.list.v2+json"])
def test_an_index_refers_to_manifests(kind: str) -> None:
    raw = json.dumps({"mediaType": kind, "manifests": [entry(7)]}).encode()
    read = Manifest.parse(raw)
    assert read.is_index
    assert digests(read.manifests) == [7]
    assert read.blobs == ()


def test_dockers_images_are_understood() -> None:
    read = Manifest.parse(manifest(mediaType=f"{DOCKER}.v2+json"))
    assert (read.media_type, digests(read.blobs)) == (f"{DOCKER}.v2+json", [1, 2, 3])


@pytest.mark.parametrize(
    ("raw", "said", "want"),
    [
        (manifest(), None, MediaType.MANIFEST.value),
        (manifest(), f"{DOCKER}.v2+json", f"{DOCKER}.v2+json"),
        (b'{"manifests": []}', None, MediaType.INDEX.value),
        (manifest(mediaType=MediaType.MANIFEST.value), "other", MediaType.MANIFEST.value),
    ],
)
def test_a_document_without_media_type_is_what_it_is_said_to_be(
    raw: bytes, said: str | None, want: str
) -> None:
    """Property mediaType SHOULD be used, so there are documents without."""
    assert Manifest.parse(raw, media_type=said).media_type == want


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (manifest(mediaType="text/plain"), "mediaType"),
        (manifest(config=7), "config"),
        (manifest(layers=[entry(1), {"size": 1}]), r"layers\[1\]"),
        (b'{"manifests": [7]}', r"manifests\[0\]"),
        (manifest(subject={}), "subject"),
    ],
)
def test_what_is_broken_is_named(raw: bytes, where: str) -> None:
    with pytest.raises(FormatError, match=where):
        Manifest.parse(raw)


def test_bytes_are_compared_with_their_descriptor() -> None:
    raw = manifest(mediaType=MediaType.MANIFEST.value)
    right = Manifest.parse(raw).descriptor
    assert verify_manifest(raw, right, what="x").raw == raw
    with pytest.raises(DigestMismatchError, match="x: size"):
        verify_manifest(raw + b" ", right, what="x")
    with pytest.raises(DigestMismatchError, match="x: got sha256"):
        verify_manifest(raw.replace(b"2", b"4"), right, what="x")


def test_there_may_be_too_many_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.host.registry_manifest._MAX_MANIFESTS", 5)
    many = [entry(n, MediaType.INDEX.value) for n in range(20)]
    index = json.dumps({"mediaType": MediaType.INDEX.value, "manifests": many}).encode()
    empty = json.dumps({"mediaType": MediaType.INDEX.value, "manifests": []}).encode()
    root = Manifest.parse(index).descriptor

    def read(descriptor: Descriptor) -> Manifest:
        return Manifest.parse(index if descriptor == root else empty)

    with pytest.raises(LayoutError, match="too many"):
        collect(root, read)


def test_contents_of_nothing_are_nothing(tmp_path: Path) -> None:
    contents = Contents(make(tmp_path).layout)
    assert contents.entries == ()
    assert "x" not in contents
    with pytest.raises(LayoutError, match="there is no 'x' in the layout, but nothing"):
        contents.walk("x")


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    maker = make(tmp_path)
    maker.image("x:1", layer("a", b"a"))
    (maker.layout.root / "index.json").write_text('{"manifests": [{"size": 1}]}')
    with pytest.raises(FormatError, match=r"index\.json\.manifests\[0\]"):
        Contents(maker.layout)


def test_an_image_comes_before_what_refers_to_it(tmp_path: Path) -> None:
    maker = make(tmp_path)
    root = maker.image("x:1", layer("a", b"a"))
    first = maker.artifact(root, "t/1", b"1", "zzz")
    second = maker.artifact(first, "t/2", b"2", "aaa")
    other = maker.image("y:1", layer("b", b"b"))
    maker.artifact(other, "t/3", b"3", "mmm")
    contents = Contents(maker.layout)
    walked = contents.walk("x:1")
    assert walked[-1].digest == root.digest
    attached = contents.attached(m.digest for m in walked)
    assert [m.digest for m in attached] == [first.digest, second.digest]
    assert contents.attached([Digest("0" * 64)]) == ()


def test_a_manifest_that_is_missing_is_named(tmp_path: Path) -> None:
    maker = make(tmp_path)
    root = maker.image("x:1", layer("a", b"a"))
    maker.layout.path(root.digest).unlink()
    with pytest.raises(LayoutError, match=f"manifest {root.digest}: is not in the layout"):
        Contents(maker.layout).walk("x:1")


def test_bytes_that_are_no_manifest_are_named() -> None:
    raw = b"{}"
    descriptor = Descriptor(media_type="x", digest=Digest.of(raw), size=2)
    with pytest.raises(LayoutError, match="here: got mediaType 'x'"):
        verify_manifest(raw, descriptor, what="here")
