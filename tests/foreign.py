"""Archives and images as other people's tools make them: by `tarfile`, json, gzip, never by ours."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import zstandard

from fixtures.localdb.corpus import cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

EPOCH: Final = 1_700_000_000
"""The `source_date_epoch` of these tests; the times below are on both sides of it."""

DATABASES: Final = {case.name: case.database for case in cases()}
SAME: Final = ("2.8.4-all", "2.8.4-order-reversed", "2.8.4-second-run", "2.8.4-wallclock")
"""Databases of one set of packages that differ in how they came to be."""

DATABASE: Final = "var/db/pkg/local.sqlite"


@dataclass(kw_only=True)
class Node:
    """One path of a tree."""

    path: str
    kind: bytes = tarfile.REGTYPE
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    uname: str = "root"
    gname: str = "wheel"
    mtime: float = 1_600_000_000
    link: str = ""
    pax: dict[str, str] = field(default_factory=dict)
    devices: tuple[int, int] = (0, 0)


def folder(path: str, **keys: Any) -> Node:
    """Return a directory."""
    return Node(**{"path": path, "kind": tarfile.DIRTYPE, "mode": 0o755, **keys})


def hard(path: str, link: str, **keys: Any) -> Node:
    """Return a hard link."""
    return Node(path=path, kind=tarfile.LNKTYPE, link=link, **keys)


def soft(path: str, link: str, **keys: Any) -> Node:
    """Return a symlink."""
    return Node(**{"path": path, "kind": tarfile.SYMTYPE, "link": link, "mode": 0o755, **keys})


PASSWD: Final = b"# $FreeBSD$\nroot:*:0:0::0:0:Charlie &:/root:/bin/sh\nwww:*:80:80::0:0::/:/x\n"
GROUP: Final = b"wheel:*:0:root\noperator:*:5:root\nwww:*:80:\n"


def root(database: bytes | None = None) -> list[Node]:
    """Return a small FreeBSD root, with a package database if one is given."""
    long = "usr/share/" + "/".join(["a-directory-with-a-long-name"] * 8)
    nodes = [
        folder("bin"),
        Node(path="bin/[", content=b"\x7fELF test", mode=0o555, mtime=1_650_000_000),
        hard("bin/test", "bin/[", mode=0o555, mtime=1_650_000_000),
        soft("bin/sh", "../usr/bin/sh", mtime=EPOCH + 9.5),
        folder("etc", mtime=EPOCH + 100),
        Node(path="etc/master.passwd", content=PASSWD, mode=0o600),
        Node(path="etc/group", content=GROUP),
        Node(path="etc/motd", content=b"hello\n", uid=80, gid=80, uname="www", gname="www"),
        folder("tmp", mode=0o1777, mtime=EPOCH + 5),
        folder("usr"),
        folder("usr/share"),
        *(folder(long[:n]) for n, c in enumerate(long + "/") if c == "/" and n > len("usr/share")),
        Node(path=f"{long}/naïve", content=b"x" * 1500, mtime=1_500_000_000.75),
        folder("var"),
        folder("var/db"),
        folder("var/db/pkg", mtime=EPOCH + 7),
    ]
    if database is not None:
        nodes.append(Node(path=DATABASE, content=database, mtime=EPOCH + 8))
    return nodes


def info_of(node: Node, prefix: str) -> tarfile.TarInfo:
    """Return tarfile's form of a node."""
    info = tarfile.TarInfo(prefix + node.path)
    info.type = node.kind
    info.mode, info.uid, info.gid = node.mode, node.uid, node.gid
    info.uname, info.gname = node.uname, node.gname
    info.mtime = node.mtime
    info.size = len(node.content)
    info.linkname = prefix + node.link if node.kind == tarfile.LNKTYPE else node.link
    info.devmajor, info.devminor = node.devices
    info.pax_headers = dict(node.pax)
    return info


def pack(
    nodes: Iterable[Node],
    *,
    dialect: int = tarfile.PAX_FORMAT,
    prefix: str = "",
    global_records: Mapping[str, str] | None = None,
) -> bytes:
    """Return a tar of these nodes, in this order."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out,
        mode="w",
        format=dialect,
        errors="surrogateescape",
        pax_headers=dict(global_records or {}),
    ) as archive:
        for node in nodes:
            info = info_of(node, prefix)
            if dialect != tarfile.PAX_FORMAT:
                info.mtime = int(info.mtime)
            archive.addfile(info, io.BytesIO(node.content))
    return out.getvalue()


COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, 1, mtime=7),
    "zstd": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
    "xz": lambda data: lzma.compress(data, preset=0),
}


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    """Return what an independent reader sees in an uncompressed tar; refuse a name twice."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape") as archive:
        infos = archive.getmembers()
    assert len({info.name for info in infos}) == len(infos)
    return {info.name: info for info in infos}


def content(data: bytes, name: str) -> bytes:
    """Return a file of an uncompressed tar."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape") as archive:
        stream = archive.extractfile(name)
        assert stream is not None
        return stream.read()


# ---------------------------------------------------------------- images

LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
MEDIA_TYPES: Final = {"none": LAYER, "gzip": f"{LAYER}+gzip", "zstd": f"{LAYER}+zstd"}
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
REF_NAME: Final = "org.opencontainers.image.ref.name"


@dataclass(kw_only=True)
class Image:
    """An image for one platform."""

    layers: Sequence[bytes]
    """Uncompressed tars, the lowest first."""
    compression: str = "gzip"
    architecture: str = "amd64"
    created: str = "2026-03-04T05:06:07.891011Z"
    config: dict[str, Any] = field(default_factory=dict)
    """Merged into the config."""
    manifest: dict[str, Any] = field(default_factory=dict)
    """Merged into the manifest."""


class Layout:
    """A layout directory in the making."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')
        self.manifests: list[dict[str, Any]] = []

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Add a blob; return its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def put_json(self, document: object, media_type: str) -> dict[str, Any]:
        """Add a document, written in nobody's canonical form."""
        return self.put(json.dumps(document, indent=1).encode(), media_type)

    def image(self, image: Image) -> dict[str, Any]:
        """Add an image; return the descriptor of its manifest."""
        compressed = [COMPRESS[image.compression](layer) for layer in image.layers]
        config = {
            "created": image.created,
            "architecture": image.architecture,
            "os": "freebsd",
            "config": {"Cmd": ["/bin/sh"], "Env": ["A=b"], "Labels": {"kept": "as it is"}},
            "rootfs": {
                "type": "layers",
                "diff_ids": [
                    "sha256:" + hashlib.sha256(layer).hexdigest() for layer in image.layers
                ],
            },
            "history": [{"created": image.created, "created_by": "make"} for _ in image.layers],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put_json({**config, **image.config}, CONFIG),
            "layers": [self.put(layer, MEDIA_TYPES[image.compression]) for layer in compressed],
        }
        return self.put_json({**manifest, **image.manifest}, MANIFEST)

    def index(self, images: Iterable[Image], **keys: Any) -> dict[str, Any]:
        """Add an index over platforms; return its descriptor."""
        listed = []
        for image in images:
            descriptor = self.image(image)
            descriptor["platform"] = {"os": "freebsd", "architecture": image.architecture}
            if image.compression == "zstd":
                descriptor["annotations"] = {"io.github.containers.compression.zstd": "true"}
            listed.append(descriptor)
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed, **keys}
        return self.put_json(document, INDEX)

    def name(self, descriptor: dict[str, Any], name: str | None) -> None:
        """List a manifest or index in index.json."""
        annotations = {} if name is None else {"annotations": {REF_NAME: name}}
        self.manifests.append({**descriptor, **annotations})
        self.write()

    def write(self) -> None:
        """Write index.json."""
        document = {"schemaVersion": 2, "manifests": self.manifests}
        (self.path / "index.json").write_text(json.dumps(document, indent=3))


def document(path: Path, descriptor: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON document of a layout."""
    value = json.loads(blob(path, descriptor))
    assert isinstance(value, dict)
    return value


def blob(path: Path, descriptor: Mapping[str, Any]) -> bytes:
    """Return a blob of a layout, checked against its descriptor."""
    digest = str(descriptor["digest"]).removeprefix("sha256:")
    data = (path / "blobs" / "sha256" / digest).read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (digest, descriptor["size"])
    return data


def named(path: Path, name: str | None = None) -> dict[str, Any]:
    """Return a descriptor of index.json."""
    index = json.loads((path / "index.json").read_bytes())
    found = [m for m in index["manifests"] if m.get("annotations", {}).get(REF_NAME) == name]
    assert len(found) == 1, index
    descriptor = found[0]
    assert isinstance(descriptor, dict)
    return descriptor


def layers(path: Path, descriptor: Mapping[str, Any]) -> list[bytes]:
    """Return the uncompressed layers of a manifest."""
    result = []
    for layer in document(path, descriptor)["layers"]:
        data = blob(path, layer)
        if layer["mediaType"].endswith("+gzip"):
            data = gzip.decompress(data)
        elif layer["mediaType"].endswith("+zstd"):
            data = zstandard.ZstdDecompressor().decompress(data)
        result.append(data)
    return result


def later(nodes: Iterable[Node], seconds: int) -> list[Node]:
    """Return the same tree, built later: what was after the epoch is later still."""
    return [replace(n, mtime=n.mtime + seconds) if n.mtime > EPOCH else replace(n) for n in nodes]
