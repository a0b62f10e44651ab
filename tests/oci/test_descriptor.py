"""Descriptors, platforms and media types: image-spec v1.1.1, descriptor.md and image-index.md."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import LayoutError
from pipeline.formats.digest import Digest
from pipeline.oci.descriptor import Descriptor, get_descriptors, string_map
from pipeline.oci.media_type import LAYER_TYPES, MediaType
from pipeline.oci.platform import GOARCH, Platform

EXAMPLE: dict[str, Any] = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "size": 7682,
    "digest": "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270",
}
"""The first example of descriptor.md."""


def test_the_examples_of_the_specification_are_read() -> None:
    """descriptor.md; fields that nobody here needs are passed over."""
    got = Descriptor.from_dict({**EXAMPLE, "urls": ["https://example.com/example-manifest"]})
    assert got == Descriptor(
        media_type=MediaType.MANIFEST, digest=Digest.parse(EXAMPLE["digest"]), size=7682
    )
    assert got.to_dict() == EXAMPLE


def test_every_field_survives() -> None:
    """Both ways; absent fields stay absent."""
    full = {
        **EXAMPLE,
        "platform": {"os": "freebsd", "architecture": "arm", "variant": "v7"},
        "annotations": {"a": "b"},
        "artifactType": "application/spdx+json",
    }
    assert Descriptor.from_dict(full).to_dict() == full
    assert Descriptor.from_dict(EXAMPLE).artifact_type is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mediaType": None}, "mediaType: missing"),
        ({"mediaType": 1}, "mediaType: got an integer, want a string"),
        ({"digest": None}, "digest: missing"),
        ({"digest": "sha512:0"}, "digest: got digest 'sha512:0', want sha256:<hex>"),
        ({"size": None}, "size: missing"),
        ({"size": "1"}, "size: got a string, want an integer"),
        ({"size": -1}, "size: got -1, want no negative"),
        ({"platform": []}, "platform: got a list, want an object"),
        ({"platform": {"os": "freebsd"}}, "platform.architecture: missing"),
        ({"platform": {"os": 1, "architecture": "x"}}, "platform.os: got an integer"),
        (
            {"platform": {"os": "a", "architecture": "b", "variant": 1}},
            "platform.variant: got an integer",
        ),
        ({"annotations": {"a": 1}}, "annotations.a: want a string"),
        ({"annotations": "a"}, "annotations: got a string, want an object"),
        ({"artifactType": 1}, "artifactType: got an integer, want a string"),
    ],
)
def test_each_fault_has_its_place(changes: Any, message: str) -> None:
    """LayoutError, also where a digest's own parser complains."""
    d = {k: v for k, v in {**EXAMPLE, **changes}.items() if v is not None}
    with pytest.raises(LayoutError) as caught:
        Descriptor.from_dict(d)
    assert str(caught.value).startswith(message)


def test_lists_of_descriptors_name_the_item_at_fault() -> None:
    """The list must be there."""
    assert get_descriptors({"x": [EXAMPLE]}, "x") == (Descriptor.from_dict(EXAMPLE),)
    for d, message in (
        ({}, "x: missing"),
        ({"x": {}}, "x: got an object, want a list"),
        ({"x": [EXAMPLE, 1]}, "x[1]: got an integer, want an object"),
        ({"x": [{**EXAMPLE, "size": "1"}]}, "x[0].size: got a string, want an integer"),
    ):
        with pytest.raises(LayoutError) as caught:
            get_descriptors(d, "x")
        assert str(caught.value) == message


def test_an_absent_map_is_empty() -> None:
    """As an empty one."""
    assert string_map({}, "a") == string_map({"a": {}}, "a") == {}


# ---------------------------------------------------------------- platforms


@pytest.mark.parametrize(
    ("architecture", "platform"),
    [
        ("amd64", "freebsd/amd64"),
        ("aarch64", "freebsd/arm64"),
        ("riscv64", "freebsd/riscv64"),
        ("armv7", "freebsd/arm/v7"),
        ("i386", "freebsd/386"),
        ("powerpc64le", "freebsd/ppc64le"),
    ],
)
def test_freebsds_architectures_have_gos_names(architecture: str, platform: str) -> None:
    """`variant` only where clients need it."""
    got = Platform.for_freebsd(architecture)
    assert str(got) == platform
    assert Platform.from_dict(got.to_dict()) == got
    assert ("variant" in got.to_dict()) == platform.endswith("v7")


def test_every_architecture_is_mapped() -> None:
    """Those that the declaration accepts."""
    assert sorted(GOARCH) == ["aarch64", "amd64", "armv7", "i386", "powerpc64le", "riscv64"]


# ---------------------------------------------------------------- media types


def test_layers_have_a_type_for_each_compression() -> None:
    """By the compression's name in the declaration."""
    assert {name: str(kind) for name, kind in LAYER_TYPES.items()} == {
        "none": "application/vnd.oci.image.layer.v1.tar",
        "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
        "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    }
