"""Validation: a sound layout has no findings, each single corruption has exactly its own."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from pipeline.errors import LayoutError
from pipeline.formats.decompression import open_decompressed
from pipeline.formats.digest import Digest
from pipeline.oci import validate as module
from pipeline.oci.image import EMPTY_BYTES, LAYOUT_BYTES
from pipeline.oci.media_type import REF_NAME, ZSTD_INSTANCE, MediaType
from pipeline.oci.validate import Finding, validate_layout, verify_layout
from tests.archives import END, padded, pax_header, pax_record, raw_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

TAR = raw_header(b"bin/", b"5") + raw_header(b"bin/cat", b"0", 5) + padded(b"meow\n") + END
SECOND = raw_header(b"etc/", b"5") + END
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    MediaType.LAYER: bytes,
    MediaType.LAYER_GZIP: lambda data: gzip.compress(data, mtime=0),
    MediaType.LAYER_ZSTD: zstandard.ZstdCompressor().compress,
}
ARCHITECTURES = ("amd64", "arm64")


class Memory:
    """A layout in memory; every document can be edited before it is named by its digest."""

    def __init__(
        self,
        kind: str = MediaType.LAYER_ZSTD,
        *,
        layers: tuple[bytes, ...] = (TAR, SECOND),
        edit: Callable[[str, Any], object] = lambda _what, _document: None,
    ) -> None:
        self.files: dict[str, bytes] = {"oci-layout": LAYOUT_BYTES}
        self.blobs: dict[str, bytes] = {}
        self.kind = kind
        self.edit = edit
        instances = [self._image(architecture, layers) for architecture in ARCHITECTURES]
        index = self.document("index", manifests=instances, mediaType=MediaType.INDEX)
        top = {**index, "annotations": {REF_NAME: "freebsd:15.0"}}
        d: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MediaType.INDEX.value,
            "manifests": [top],
        }
        edit("top", d)
        self.files["index.json"] = json.dumps(d).encode()

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = Digest.of(data)
        self.blobs[digest.hex] = data
        return {"mediaType": str(media_type), "digest": str(digest), "size": len(data)}

    def document(self, what: str, **fields: Any) -> dict[str, Any]:
        d = {"schemaVersion": 2, **fields}
        media_type = d["mediaType"]
        self.edit(what, d)
        return self.put(json.dumps(d).encode(), media_type)

    def _image(self, architecture: str, layers: tuple[bytes, ...]) -> dict[str, Any]:
        config: dict[str, Any] = {
            "os": "freebsd",
            "architecture": architecture,
            "created": "2025-11-01T12:26:40Z",
            "config": {"Cmd": ["/bin/sh"], "Labels": {"a": "b"}},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in layers]},
            "history": [
                {"created_by": "a"},
                {"created_by": "b", "empty_layer": True},
                {"created_by": "c"},
            ],
        }
        self.edit(f"config {architecture}", config)
        descriptors = [self.put(COMPRESS[self.kind](tar), self.kind) for tar in layers]
        manifest = self.document(
            f"manifest {architecture}",
            mediaType=MediaType.MANIFEST,
            config=self.put(json.dumps(config).encode(), MediaType.CONFIG),
            layers=descriptors,
        )
        manifest["platform"] = {"os": "freebsd", "architecture": architecture}
        if self.kind == MediaType.LAYER_ZSTD:
            manifest["annotations"] = {ZSTD_INSTANCE: "true"}
        return manifest

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self.files[name]

    def open(self, digest: Digest) -> BinaryIO:
        if digest.hex not in self.blobs:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), digest.hex)
        return io.BytesIO(self.blobs[digest.hex])


IMAGE = "index.json > freebsd:15.0 > freebsd/amd64"


def edited(what: str, change: Callable[[Any], object], **options: Any) -> list[str]:
    """Return the findings about a layout, one of whose documents was changed."""

    def edit(name: str, document: Any) -> None:
        if name == what:
            change(document)

    return [str(finding) for finding in validate_layout(Memory(edit=edit, **options))]


# ---------------------------------------------------------------- sound ones


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_sound_layout_has_no_findings(kind: str) -> None:
    """In every compression."""
    assert validate_layout(Memory(kind)) == ()
    verify_layout(Memory(kind), what="build/oci")


def test_a_manifest_may_stand_at_the_top() -> None:
    """A layout of one image need not have an index of its own."""

    def edit(what: str, d: Any) -> None:
        if what == "top":
            index = json.loads(layout.blobs[d["manifests"][0]["digest"][7:]])
            d["manifests"] = index["manifests"]

    layout = Memory.__new__(Memory)
    layout.__init__(edit=edit)  # type: ignore[misc]
    assert validate_layout(layout) == ()


def test_history_may_be_absent() -> None:
    """config.md: it is optional; if it is there, it counts."""
    assert edited("config amd64", lambda d: d.pop("history")) == []


def test_shared_layers_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both platforms have the same layers; so have images and their parents."""
    read: list[str] = []
    real = open_decompressed

    def counting(source: BinaryIO, *, limit: int, what: str) -> object:
        read.append(what)
        return real(source, limit=limit, what=what)

    monkeypatch.setattr(module, "open_decompressed", counting)
    assert validate_layout(Memory()) == ()
    assert read == [f"{IMAGE} > layers[0]", f"{IMAGE} > layers[1]"]


def test_referrers_are_checked_by_digest_and_size() -> None:
    """A manifest whose config is no image config: its content is somebody else's."""
    layout = Memory()

    def artifact(data: bytes, config: bytes = EMPTY_BYTES) -> None:
        d = {
            "schemaVersion": 2,
            "mediaType": MediaType.MANIFEST,
            "artifactType": "application/spdx+json",
            "config": layout.put(config, MediaType.EMPTY),
            "layers": [layout.put(data, "application/spdx+json")],
        }
        top = json.loads(layout.files["index.json"])
        top["manifests"].append(layout.put(json.dumps(d).encode(), MediaType.MANIFEST))
        layout.files["index.json"] = json.dumps(top).encode()

    artifact(b"{}")
    assert validate_layout(layout) == ()
    artifact(b"sbom")
    layout.blobs[Digest.of(b"sbom").hex] = b"SBOM!"
    del layout.blobs[Digest.of(EMPTY_BYTES).hex]
    where = "index.json > manifests[2]"
    gone = f"blob {Digest.of(EMPTY_BYTES)} is not in the layout"
    assert [str(f) for f in validate_layout(layout)] == [
        f"index.json > manifests[1] > layers[0]: {gone}",
        f"index.json > manifests[1] > config: {gone}",
        f"{where} > layers[0]: size: got 5, want 4",
        f"{where} > layers[0]: digest: got {Digest.of(b'SBOM!')}, want {Digest.of(b'sbom')}",
        f"{where} > config: {gone}",
    ]


def test_every_finding_is_in_the_error() -> None:
    """All mismatches of a layout are collected before raising."""
    layout = Memory()
    layout.files["oci-layout"] = b'{"imageLayoutVersion":"2"}'
    top = json.loads(layout.files["index.json"])
    top["schemaVersion"] = 1
    layout.files["index.json"] = json.dumps(top).encode()
    with pytest.raises(LayoutError) as caught:
        verify_layout(layout, what="build/oci")
    assert str(caught.value) == (
        "build/oci: oci-layout: got version '2', want '1.0.0';"
        " index.json: schemaVersion: got 1, want 2"
    )


# ---------------------------------------------------------------- one corruption each


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    """Return a change that sets, or with None removes, what is at a path."""

    def change(d: Any) -> None:
        for key in path[:-1]:
            d = d[key]
        if to is None:
            del d[path[-1]]
        else:
            d[path[-1]] = to

    return change


def _rename(old: str, new: str) -> Callable[[Any], None]:
    def change(d: Any) -> None:
        d["config"][new] = d["config"].pop(old)

    return change


DIFF_ID = str(Digest.of(TAR))
OTHER = "sha256:" + "0" * 64

DOCUMENTS = {
    "top without mediaType": (
        "top",
        _set("mediaType", to=None),
        [f"index.json: mediaType: got None, want '{MediaType.INDEX.value}'"],
    ),
    "top without manifests": (
        "top",
        _set("manifests", to=None),
        ["index.json: manifests: missing"],
    ),
    "a manifest that is no object": (
        "top",
        _set("manifests", to=[1]),
        ["index.json: manifests[0]: got an integer, want an object"],
    ),
    "a reference twice": (
        "top",
        lambda d: d["manifests"].append(d["manifests"][0]),
        [f"index.json: {REF_NAME} 'freebsd:15.0' twice"],
    ),
    "another media type": (
        "top",
        _set("manifests", 0, "mediaType", to="text/plain"),
        ["index.json > freebsd:15.0: got mediaType 'text/plain', want index or manifest"],
    ),
    "a wrong size of an index": (
        "top",
        lambda d: d["manifests"][0].update(size=d["manifests"][0]["size"] + 1),
        ["index.json > freebsd:15.0: size: got 0, want 1"],
    ),
    "a wrong size of a manifest": (
        "index",
        lambda d: d["manifests"][0].update(size=d["manifests"][0]["size"] + 1),
        [f"{IMAGE}: size: got 0, want 1"],
    ),
    "index schemaVersion": (
        "index",
        _set("schemaVersion", to=None),
        ["index.json > freebsd:15.0: schemaVersion: got None, want 2"],
    ),
    "no zstd annotation": (
        "index",
        _set("manifests", 0, "annotations", to=None),
        [f"{IMAGE}: zstd layers, but no annotation {ZSTD_INSTANCE} on its descriptor"],
    ),
    "another platform in the index": (
        "index",
        _set("manifests", 0, "platform", "os", to="linux"),
        [
            (
                "index.json > freebsd:15.0 > linux/amd64 > config:"
                " platform: got freebsd/amd64, want linux/amd64"
            )
        ],
    ),
    "a variant in the index only": (
        "index",
        _set("manifests", 0, "platform", "variant", to="v2"),
        [f"{IMAGE}/v2 > config: platform: got freebsd/amd64, want freebsd/amd64/v2"],
    ),
    "another architecture in the config": (
        "config amd64",
        _set("architecture", to="arm64"),
        [f"{IMAGE} > config: platform: got freebsd/arm64, want freebsd/amd64"],
    ),
    "a variant in the config only": (
        "config amd64",
        _set("variant", to="v2"),
        [f"{IMAGE} > config: platform: got freebsd/amd64/v2, want freebsd/amd64"],
    ),
    "a variant that is no text": (
        "config amd64",
        _set("variant", to=[1]),
        [f"{IMAGE} > config: variant: got a list, want a string"],
    ),
    "a config without os": (
        "config amd64",
        _set("os", to=None),
        [f"{IMAGE} > config: os: missing"],
    ),
    "a config without rootfs": (
        "config amd64",
        _set("rootfs", to=None),
        [f"{IMAGE} > config: rootfs: missing"],
    ),
    "a config whose config is no object": (
        "config amd64",
        _set("config", to=[]),
        [f"{IMAGE} > config: config: got a list, want an object"],
    ),
    "rootfs of another type": (
        "config amd64",
        _set("rootfs", "type", to="overlay"),
        [f"{IMAGE} > config: rootfs.type: got 'overlay', want 'layers'"],
    ),
    "a wrong diff_id": (
        "config amd64",
        _set("rootfs", "diff_ids", 0, to=OTHER),
        [f"{IMAGE} > config: diff_ids[0]: got {OTHER}, want {DIFF_ID}"],
    ),
    "a diff_id too few": (
        "config amd64",
        _set("rootfs", "diff_ids", to=[DIFF_ID]),
        [f"{IMAGE} > config: diff_ids: got 1, want 2 as layers"],
    ),
    "a history entry too many": (
        "config amd64",
        lambda d: d["history"].append({}),
        [f"{IMAGE} > config: history: got 3 entries with a layer, want 2"],
    ),
    "a history entry that counts as empty": (
        "config amd64",
        _set("history", 0, "empty_layer", to=True),
        [f"{IMAGE} > config: history: got 1 entries with a layer, want 2"],
    ),
    "cmd in lower case": (
        "config amd64",
        _rename("Cmd", "cmd"),
        [f"{IMAGE} > config.config: unknown key 'cmd'"],
    ),
    "an unknown key of the config": (
        "config amd64",
        _set("Architecture", to="amd64"),
        [f"{IMAGE} > config: unknown key 'Architecture'"],
    ),
    "manifest schemaVersion": (
        "manifest amd64",
        _set("schemaVersion", to=1),
        [f"{IMAGE}: schemaVersion: got 1, want 2"],
    ),
    "manifest mediaType": (
        "manifest amd64",
        _set("mediaType", to=MediaType.INDEX.value),
        [f"{IMAGE}: mediaType: got '{MediaType.INDEX.value}', want '{MediaType.MANIFEST.value}'"],
    ),
    "a manifest without layers": (
        "manifest amd64",
        _set("layers", to=None),
        [f"{IMAGE}: layers: missing"],
    ),
    "a manifest whose config has no digest": (
        "manifest amd64",
        _set("config", "digest", to=None),
        [f"{IMAGE}: config.digest: missing"],
    ),
    "a wrong size of a config": (
        "manifest amd64",
        lambda d: d["config"].update(size=d["config"]["size"] + 1),
        [f"{IMAGE} > config: size: got 0, want 1"],
    ),
    "a wrong size of a layer": (
        "manifest amd64",
        lambda d: d["layers"][1].update(size=d["layers"][1]["size"] + 1),
        [f"{IMAGE} > layers[1]: size: got 0, want 1"],
    ),
    "a layer of another type": (
        "manifest amd64",
        _set("layers", 0, "mediaType", to="application/vnd.docker.image.rootfs.foreign.diff.tar"),
        [
            (
                f"{IMAGE} > layers[0]: got mediaType"
                " 'application/vnd.docker.image.rootfs.foreign.diff.tar'"
            )
        ],
    ),
    "a layer compressed otherwise than its type says": (
        "manifest amd64",
        _set("layers", 0, "mediaType", to=MediaType.LAYER_GZIP.value),
        [f"{IMAGE} > layers[0]: compression: got zstd, want {MediaType.LAYER_GZIP.value}"],
    ),
    "an index that is a manifest": (
        "top",
        _set("manifests", 0, "mediaType", to=MediaType.MANIFEST.value),
        ["index.json > freebsd:15.0: config: missing"],
    ),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_corruption_of_a_document_has_exactly_its_finding(case: str) -> None:
    """Digests above it are right, so that nothing else is wrong."""
    what, change, want = DOCUMENTS[case]
    got = edited(what, change)
    if ": size: got 0, want 1" in want[0]:
        where, _, numbers = got[0].partition(": size: got ")
        size, wanted = map(int, numbers.split(", want "))
        assert wanted == size + 1
        got[0] = f"{where}: size: got 0, want 1"
    assert got == want


def _blob(layout: Memory, *path: Any) -> str:
    """Return the digest of a blob, found by walking down from index.json."""
    d = json.loads(layout.files["index.json"])
    digest = ""
    for key in path:
        d = d[key]
        if isinstance(d, dict):
            digest = d["digest"][7:]
            if d["mediaType"] in (MediaType.INDEX, MediaType.MANIFEST):
                d = json.loads(layout.blobs[digest])
    return digest


TO_INDEX = ("manifests", 0)
TO_MANIFEST = (*TO_INDEX, "manifests", 0)
WHERE = {
    TO_INDEX: "index.json > freebsd:15.0",
    TO_MANIFEST: IMAGE,
    (*TO_MANIFEST, "config"): f"{IMAGE} > config",
    (*TO_MANIFEST, "layers", 1): f"{IMAGE} > layers[1]",
}


@pytest.mark.parametrize("path", WHERE, ids=WHERE.values())
def test_a_missing_blob_is_one_finding(path: Any) -> None:
    """What lies below it cannot be checked; layers are shared by both platforms."""
    layout = Memory()
    digest = _blob(layout, *path)
    del layout.blobs[digest]
    (finding,) = validate_layout(layout)
    assert str(finding) == f"{WHERE[path]}: blob sha256:{digest} is not in the layout"


@pytest.mark.parametrize("path", WHERE, ids=WHERE.values())
def test_a_changed_blob_is_one_finding(path: Any) -> None:
    """White space in JSON changes nothing but the digest; a layer is not even read."""
    layout = Memory()
    digest = _blob(layout, *path)
    data = layout.blobs[digest]
    changed = data.replace(b", ", b" ,", 1) if data.startswith(b"{") else data[:-1] + b"\0"
    assert changed != data
    layout.blobs[digest] = changed
    (finding,) = validate_layout(layout)
    want = f"{WHERE[path]}: digest: got {Digest.of(changed)}, want sha256:{digest}"
    assert str(finding) == want


@pytest.mark.parametrize(
    ("name", "content", "want"),
    [
        ("oci-layout", None, "layout: no file oci-layout"),
        ("index.json", None, "layout: no file index.json"),
        ("oci-layout", b"{}", "oci-layout: got version None, want '1.0.0'"),
        ("oci-layout", b"[]", "oci-layout: got list, want an object"),
        ("index.json", b"{", "index.json: not JSON: "),
    ],
)
def test_the_files_at_the_top(name: str, content: bytes | None, want: str) -> None:
    """image-layout.md: both are required."""
    layout = Memory()
    if content is None:
        del layout.files[name]
    else:
        layout.files[name] = content
    (finding,) = validate_layout(layout)
    assert str(finding).startswith(want)


@pytest.mark.parametrize("what", ["index", "manifest amd64", "config amd64"])
def test_a_document_that_is_no_json_is_one_finding(what: str) -> None:
    """At each level."""
    layout = Memory()
    path = {
        "index": TO_INDEX,
        "manifest amd64": TO_MANIFEST,
        "config amd64": (*TO_MANIFEST, "config"),
    }[what]
    digest = _blob(layout, *path)
    size = len(layout.blobs[digest])
    layout.blobs[digest] = b"x" * size
    got = [f for f in validate_layout(layout) if "digest: got" not in f.message]
    assert got == [Finding(WHERE[path], "not JSON: Expecting value at character 0")]


def test_documents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads a manifest of a gigabyte."""
    monkeypatch.setattr(module, "_MAX_DOCUMENT", 100)
    (finding,) = validate_layout(Memory())
    assert str(finding) == "index.json > freebsd:15.0: document longer than 100 bytes"


def test_nesting_is_bounded() -> None:
    """An index cannot contain itself, but long chains can be made."""
    layout = Memory()
    inner = {"schemaVersion": 2, "mediaType": MediaType.INDEX, "manifests": []}
    for _ in range(6):
        inner = {**inner, "manifests": [layout.put(json.dumps(inner).encode(), MediaType.INDEX)]}
    layout.files["index.json"] = json.dumps(inner).encode()
    (finding,) = validate_layout(layout)
    assert finding.message == "indexes nested deeper than 4"


# ---------------------------------------------------------------- layers


MEMBERS = {
    "a path twice": (TAR[:-1024] + TAR, ["path 'bin' twice", "path 'bin/cat' twice"]),
    "a path twice, spelled otherwise": (
        raw_header(b"a") + raw_header(b"./a") + END,
        ["path 'a' twice"],
    ),
    "an absolute path": (raw_header(b"/a") + END, ["path '/a' leaves the layer's root"]),
    "a path that climbs": (raw_header(b"a/../b") + END, ["path 'a/../b' leaves the layer's root"]),
    "a sparse member": (
        pax_header(pax_record(b"GNU.sparse.major", b"1")) + raw_header(b"a") + END,
        ["a sparse member, which cannot be represented in a layer"],
    ),
    "no end": (raw_header(b"a"), ["archive ends within a header: got 0 bytes, want 512"]),
    "text": (b"text" * 300, ["not a tar header: magic is missing"]),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_a_layer_is_an_archive_with_each_path_once(case: str) -> None:
    """layer.md, section distributable format: no duplicate entries; podman rejects sparse ones."""
    data, want = MEMBERS[case]
    got = [str(finding) for finding in validate_layout(Memory(layers=(data, SECOND)))]
    assert got == [f"{IMAGE} > layers[0]: {message}" for message in want]


def test_a_shared_layer_of_another_size_is_noticed() -> None:
    """The second description of a layer is checked as well as the first."""
    change = lambda d: d["layers"][0].update(size=d["layers"][0]["size"] + 1)  # noqa: E731
    (finding,) = edited("manifest arm64", change)
    assert finding.startswith(f"{IMAGE.replace('amd64', 'arm64')} > layers[0]: size: got ")


def test_a_layer_that_is_a_bomb_is_a_finding() -> None:
    """Decompression is bounded here as well."""
    bomb = TAR[:-1024] + raw_header(b"zeros", b"0", 100 << 20) + bytes(100 << 20) + END
    (finding,) = validate_layout(Memory(layers=(bomb, SECOND)))
    assert "decompressed: longer than the limit of" in finding.message


def test_a_damaged_layer_has_no_diff_id_to_compare() -> None:
    """The finding is about the stream, and the only one."""
    layout = Memory(MediaType.LAYER_GZIP)
    digest = _blob(layout, *TO_MANIFEST, "layers", 0)
    cut = layout.blobs[digest][:-4]
    renamed = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MediaType.MANIFEST,
            "config": json.loads(layout.blobs[_blob(layout, *TO_MANIFEST)])["config"],
            "layers": [
                layout.put(cut, MediaType.LAYER_GZIP),
                layout.put(COMPRESS[MediaType.LAYER_GZIP](SECOND), MediaType.LAYER_GZIP),
            ],
        }
    ).encode()
    top = json.loads(layout.files["index.json"])
    top["manifests"] = [layout.put(renamed, MediaType.MANIFEST)]
    layout.files["index.json"] = json.dumps(top).encode()
    assert [str(finding) for finding in validate_layout(layout)] == [
        "index.json > manifests[0] > layers[0]: truncated gzip stream"
    ]
