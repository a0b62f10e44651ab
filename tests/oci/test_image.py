"""Config, manifest and index: exact bytes, spelled as image-spec v1.1.1 spells them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.digest import Digest
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.image import (
    EMPTY_BYTES,
    LAYOUT_BYTES,
    ImageConfig,
    ImageIndex,
    ImageLayer,
    ImageManifest,
    RuntimeConfig,
    descriptor_of,
    rfc3339,
)
from pipeline.oci.media_type import MediaType
from pipeline.oci.platform import Platform

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
EVERYTHING = RuntimeConfig(
    cmd=("/bin/sh", "-c", "é"),
    entrypoint=("/e",),
    env=("PATH=/bin", "A=b"),
    exposed_ports=("80/tcp", "53/udp"),
    labels={"b": "2", "a": "1"},
    stop_signal="SIGTERM",
    user="www",
    volumes=("/data",),
    working_dir="/tmp",
)
LAYER = ImageLayer(
    descriptor=Descriptor(media_type=MediaType.LAYER_ZSTD, digest=Digest("a" * 64), size=10),
    diff_id=Digest("b" * 64),
    created_by="pkgbase-oci static packages",
)
CONFIG = ImageConfig(
    platform=Platform(os="freebsd", architecture="amd64"),
    created=1_762_000_000,
    runtime=EVERYTHING,
    layers=(LAYER, replace(LAYER, diff_id=Digest("c" * 64))),
)


def test_a_config_has_exactly_these_bytes() -> None:
    """Sorted keys, no white space, one history entry a layer; config.md, section properties."""
    assert CONFIG.to_bytes().decode() == (
        '{"architecture":"amd64","config":{"Cmd":["/bin/sh","-c","é"],"Entrypoint":["/e"],'
        '"Env":["PATH=/bin","A=b"],"ExposedPorts":{"53/udp":{},"80/tcp":{}},'
        '"Labels":{"a":"1","b":"2"},"StopSignal":"SIGTERM","User":"www","Volumes":{"/data":{}},'
        '"WorkingDir":"/tmp"},"created":"2025-11-01T12:26:40Z",'
        '"history":[{"created":"2025-11-01T12:26:40Z","created_by":"pkgbase-oci static packages"},'
        '{"created":"2025-11-01T12:26:40Z","created_by":"pkgbase-oci static packages"}],'
        f'"os":"freebsd","rootfs":{{"diff_ids":["sha256:{"b" * 64}","sha256:{"c" * 64}"],'
        '"type":"layers"}}'
    )


def test_empty_fields_of_a_config_are_left_out() -> None:
    """But `config` itself is there: some clients need it."""
    d = json.loads(replace(CONFIG, runtime=NOTHING, layers=()).to_bytes())
    assert (d["config"], d["history"], d["rootfs"]["diff_ids"]) == ({}, [], [])


def test_a_variant_is_in_the_config_as_well() -> None:
    """config.md: `variant` beside `architecture`."""
    platform = Platform(os="freebsd", architecture="arm", variant="v7")
    assert json.loads(replace(CONFIG, platform=platform).to_bytes())["variant"] == "v7"


def test_a_manifest_has_exactly_these_bytes() -> None:
    """Its mediaType is always written; annotations only where there are some."""
    config = descriptor_of(b"{}", MediaType.CONFIG)
    manifest = ImageManifest(config=config, layers=(LAYER.descriptor,), annotations={"k": "v"})
    assert manifest.to_bytes().decode() == (
        '{"annotations":{"k":"v"},"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4'
        'fc21fe77e8310c060f61caaff8a","mediaType":"application/vnd.oci.image.config.v1+json",'
        f'"size":2}},"layers":[{{"digest":"sha256:{"a" * 64}",'
        '"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","size":10}],'
        '"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )
    assert b"annotations" not in replace(manifest, annotations={}).to_bytes()


def test_an_index_has_exactly_these_bytes() -> None:
    """Of manifests in the order given."""
    manifest = Descriptor(
        media_type=MediaType.MANIFEST,
        digest=Digest("d" * 64),
        size=3,
        platform=Platform(os="freebsd", architecture="arm64"),
        annotations={"x": "y"},
    )
    index = ImageIndex(manifests=(manifest,), annotations={})
    assert index.to_bytes().decode() == (
        f'{{"manifests":[{{"annotations":{{"x":"y"}},"digest":"sha256:{"d" * 64}",'
        '"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        '"platform":{"architecture":"arm64","os":"freebsd"},"size":3}],'
        '"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
    )
    assert json.loads(replace(index, annotations={"a": "b"}).to_bytes())["annotations"] == {
        "a": "b"
    }


def test_constants_of_the_specification() -> None:
    """image-layout.md; manifest.md, guidance for an empty descriptor."""
    assert LAYOUT_BYTES == b'{"imageLayoutVersion":"1.0.0"}'
    empty = descriptor_of(EMPTY_BYTES, MediaType.EMPTY)
    assert (empty.size, str(empty.digest)) == (
        2,
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    )


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
        (1_762_000_000, "2025-11-01T12:26:40Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(seconds: int, text: str) -> None:
    """Leap days and the ends of the range."""
    assert rfc3339(seconds) == text


@pytest.mark.parametrize("seconds", [-1, 253_402_300_800])
def test_times_outside_of_the_format_are_a_bug(seconds: int) -> None:
    """Four digits of year."""
    with pytest.raises(ValueError, match="is not a time between 1970 and 9999"):
        rfc3339(seconds)


@pytest.mark.property
@given(st.integers(0, 253_402_300_799))
def test_times_are_those_of_the_standard_library(seconds: int) -> None:
    """Over the whole range."""
    want = dt.datetime.fromtimestamp(seconds, dt.UTC)
    assert rfc3339(seconds) == want.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
