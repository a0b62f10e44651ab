"""Documents of images: contents and times are new, everything that is said stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import LayoutError
from pipeline.formats.digest import Digest
from pipeline.oci import rewrite, validate
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.media_type import ZSTD_INSTANCE, MediaType
from pipeline.oci.rewrite import (
    BASE_DIGEST,
    CREATED,
    Revision,
    check_image_manifest,
    check_layer_type,
    is_attestation,
    rewrite_config,
    rewrite_descriptor,
    rewrite_index,
    rewrite_manifest,
)
from tests.foreign import EPOCH

TIME = "2023-11-14T22:13:20Z"
OTHER = "2026-03-04T05:06:07.891011Z"
DIFF_ID = Digest.of(b"new")
REVISION = Revision(EPOCH, has_new_layers=False)
NEW = Descriptor(media_type=MediaType.LAYER_GZIP, digest=Digest.of(b"blob"), size=4)
ROOTFS = {"type": "layers", "diff_ids": [str(Digest.of(b"old"))]}


def config(**keys: Any) -> dict[str, Any]:
    """Rewrite a config with these keys."""
    raw = json.dumps({"architecture": "amd64", "os": "freebsd", "rootfs": ROOTFS, **keys}).encode()
    result = json.loads(rewrite_config(raw, REVISION, diff_ids=[DIFF_ID]))
    assert isinstance(result, dict)
    return result


def test_the_lists_of_keys_are_those_of_the_validator() -> None:
    """What one module writes the other accepts."""
    assert set(rewrite.CONFIG_KEYS) == validate._CONFIG_KEYS
    assert set(rewrite.RUNTIME_KEYS) == validate._RUNTIME_KEYS


def test_times_and_layers_of_a_config() -> None:
    """`created`, the history, the label of that name; `diff_ids`."""
    got = config(
        created=OTHER,
        history=[{"created": OTHER, "created_by": "x", "comment": None}, {"empty_layer": True}],
        config={"Labels": {CREATED: OTHER, "other": OTHER}, "Cmd": ["/bin/sh"]},
    )
    assert got == {
        "architecture": "amd64",
        "os": "freebsd",
        "created": TIME,
        "rootfs": {"type": "layers", "diff_ids": [str(DIFF_ID)]},
        "history": [
            {"created": TIME, "created_by": "x"},
            {"created": TIME, "empty_layer": True},
        ],
        "config": {"Labels": {CREATED: TIME, "other": OTHER}, "Cmd": ["/bin/sh"]},
    }


def test_the_base_is_one_that_shares_layers() -> None:
    """annotations.md: base.digest is the image with which this one shares its first layers."""
    strings = {BASE_DIGEST: "sha256:0", "org.opencontainers.image.base.name": "freebsd"}
    assert REVISION.strings(strings) == strings
    assert Revision(EPOCH, has_new_layers=True).strings(strings).keys() == {
        "org.opencontainers.image.base.name"
    }


def test_a_config_without_a_time_gets_one() -> None:
    """Absent parts stay absent; null is absent."""
    got = config(history=None, config=None, author=None)
    assert got.keys() == {"architecture", "os", "created", "rootfs"}
    assert config(config={"Cmd": None, "User": ""})["config"] == {"User": ""}


def test_keys_are_spelled_as_specified() -> None:
    """FreeBSD's own script writes `cmd`, and every client in Go reads it as Cmd."""
    got = config(config={"cmd": ["/bin/sh"], "ENV": ["A=b"]}, Author="me")
    assert (got["config"], got["author"]) == ({"Cmd": ["/bin/sh"], "Env": ["A=b"]}, "me")
    with pytest.raises(LayoutError, match="'Cmd' in two spellings"):
        config(config={"cmd": ["a"], "Cmd": ["b"]})


def test_memories_of_the_build_are_dropped() -> None:
    """The container in which Docker built had a random name."""
    got = config(
        container="0123456789ab",
        docker_version="26.1",
        container_config={"Hostname": "0123456789ab"},
        config={"Hostname": "0123456789ab", "Tty": True, "OnBuild": None, "Shell": [], "User": "x"},
    )
    assert got.keys() == {"architecture", "os", "created", "rootfs", "config"}
    assert got["config"] == {"User": "x"}


@pytest.mark.parametrize(
    ("keys", "context"),
    [
        ({"config": {"OnBuild": ["RUN x"]}}, "config"),
        ({"config": {"Shell": ["/bin/csh"]}}, "config"),
        ({"frobnicate": 1}, ""),
    ],
)
def test_other_keys_are_refused(keys: dict[str, Any], context: str) -> None:
    """They ask for something that an OCI image cannot."""
    with pytest.raises(LayoutError, match="which the specification does not have") as caught:
        config(**keys)
    assert caught.value.context == context
    assert caught.value.hint


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"history": ["x"]}, r"history\[0\]: want an object"),
        ({"rootfs": None}, "rootfs: missing"),
        ({"config": {"Labels": {"a": 1}}}, r"Labels\.a: want a string"),
        ({"config": []}, "config: got a list"),
    ],
)
def test_broken_configs(keys: dict[str, Any], match: str) -> None:
    """Nothing is mended."""
    with pytest.raises(LayoutError, match=match):
        config(**keys)


# ---------------------------------------------------------------- descriptors


def test_a_descriptor_keeps_what_is_not_about_the_bytes() -> None:
    """Also what nobody here knows."""
    old = {
        "mediaType": MediaType.LAYER_ZSTD.value,
        "digest": str(Digest.of(b"old")),
        "size": 3,
        "urls": ["https://example.org/blob"],
        "data": "b2xk",
        "platform": {"os": "freebsd", "architecture": "arm64", "os.version": "15.0"},
        "x-unknown": {"a": 1},
        "artifactType": None,
        "annotations": {
            CREATED: OTHER,
            "kept": "x",
            ZSTD_INSTANCE: "true",
            "io.github.containers.zstd-chunked.manifest-checksum": "sha256:0",
            "containerd.io/snapshot/stargz/toc.digest": "sha256:0",
            "io.containers.estargz.uncompressed-size": "9",
        },
    }
    assert rewrite_descriptor(old, REVISION, NEW) == {
        "mediaType": MediaType.LAYER_GZIP.value,
        "digest": str(NEW.digest),
        "size": 4,
        "platform": {"os": "freebsd", "architecture": "arm64", "os.version": "15.0"},
        "x-unknown": {"a": 1},
        "annotations": {CREATED: TIME, "kept": "x"},
    }


def test_the_annotation_of_zstd_follows_the_layers() -> None:
    """It is there if there is zstd, whatever there was before."""
    zstd = Descriptor(
        media_type=MediaType.MANIFEST,
        digest=NEW.digest,
        size=4,
        annotations={ZSTD_INSTANCE: "true"},
    )
    bare = {"mediaType": MediaType.MANIFEST.value, "digest": str(NEW.digest), "size": 4}
    assert rewrite_descriptor(bare, REVISION, zstd) == {
        **bare,
        "annotations": {ZSTD_INSTANCE: "true"},
    }
    had = {**bare, "annotations": {ZSTD_INSTANCE: "true"}}
    assert "annotations" not in rewrite_descriptor(had, REVISION, NEW)


# ---------------------------------------------------------------- manifests and indexes


def test_a_manifest() -> None:
    """Annotations stay but for the time; the media type is written also where it was left out."""
    old = {"mediaType": MediaType.LAYER.value, "digest": str(Digest.of(b"old")), "size": 3}
    d = {
        "schemaVersion": 2,
        "config": {**old, "mediaType": MediaType.CONFIG.value},
        "layers": [old],
        "annotations": {CREATED: OTHER, "org.opencontainers.image.base.name": "base"},
    }
    config_descriptor = Descriptor(media_type=MediaType.CONFIG, digest=Digest.of(b"config"), size=6)
    raw = rewrite_manifest(d, REVISION, config=config_descriptor, layers=[NEW])
    assert json.loads(raw) == {
        "schemaVersion": 2,
        "mediaType": MediaType.MANIFEST.value,
        "config": config_descriptor.to_dict(),
        "layers": [NEW.to_dict()],
        "annotations": {CREATED: TIME, "org.opencontainers.image.base.name": "base"},
    }
    with pytest.raises(LayoutError, match="subject: refers to another manifest"):
        rewrite_manifest({**d, "subject": old}, REVISION, config=config_descriptor, layers=[NEW])


def test_an_index_leaves_out_what_is_gone() -> None:
    """Empty annotations are none."""
    old = {"mediaType": MediaType.MANIFEST.value, "digest": str(Digest.of(b"old")), "size": 3}
    d = {"schemaVersion": 2, "manifests": [old, old], "annotations": {}, "subject": None}
    got = json.loads(rewrite_index(d, REVISION, [None, NEW]))
    assert got == {
        "schemaVersion": 2,
        "mediaType": MediaType.INDEX.value,
        "manifests": [NEW.to_dict()],
    }


def test_attestations_are_told_by_their_annotation() -> None:
    """BuildKit lists them beside the platforms."""
    attestation = Descriptor(
        media_type=MediaType.MANIFEST,
        digest=NEW.digest,
        size=1,
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    assert is_attestation(attestation)
    assert not is_attestation(NEW)


def test_only_images_are_images() -> None:
    """Artifacts have another config or say what they are."""
    image = Descriptor(media_type=MediaType.CONFIG, digest=NEW.digest, size=1)
    check_image_manifest({}, image)
    with pytest.raises(LayoutError, match="want that of an image"):
        check_image_manifest({"artifactType": "text/plain"}, image)
    with pytest.raises(LayoutError, match="want that of an image"):
        check_image_manifest({}, NEW)


def test_types_of_layers() -> None:
    """Docker's are not OCI's."""
    assert check_layer_type(MediaType.LAYER_ZSTD) == "zstd"
    with pytest.raises(LayoutError, match="want tar, tar") as caught:
        check_layer_type("application/vnd.docker.image.rootfs.diff.tar.gzip")
    assert caught.value.hint == rewrite.HINT
