"""OCI layouts and tars for comparisons, made by hand or with `tarfile`, never by the pipeline."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

EPOCH: Final = 1_700_000_000
CREATED: Final = "2023-11-14T22:13:20Z"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A member of a tar."""

    path: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    uname: str = ""
    gname: str = ""
    mtime: float = EPOCH
    link: str = ""
    pax: Mapping[str, str] = field(default_factory=dict)

    def but(self, **changes: Any) -> Item:
        """Return a copy with changes."""
        return replace(self, **changes)


def file(path: str, content: bytes | str = b"", **fields: Any) -> Item:
    """Return a file."""
    raw = content.encode() if isinstance(content, str) else content
    return Item(path=path, content=raw, **fields)


def folder(path: str, **fields: Any) -> Item:
    """Return a directory."""
    return Item(path=path, kind=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(path: str, target: str, **fields: Any) -> Item:
    """Return a symbolic link."""
    return Item(path=path, kind=tarfile.SYMTYPE, link=target, **{"mode": 0o755, **fields})


def hardlink(path: str, target: str, **fields: Any) -> Item:
    """Return another name of a file."""
    return Item(path=path, kind=tarfile.LNKTYPE, link=target, **fields)


def make_tar(items: Iterable[Item], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar of items in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for item in items:
            info = tarfile.TarInfo(item.path)
            info.type = item.kind
            info.mode, info.uid, info.gid = item.mode, item.uid, item.gid
            info.uname, info.gname = item.uname, item.gname
            info.mtime = item.mtime
            info.linkname = item.link
            info.size = len(item.content) if item.kind == tarfile.REGTYPE else 0
            info.pax_headers = dict(item.pax)
            archive.addfile(info, io.BytesIO(item.content))
    return out.getvalue()


def compress(raw: bytes, how: str, *, level: int = 3, mtime: int = 0) -> bytes:
    """Compress a tar: `zstd`, `gzip` or `none`."""
    if how == "zstd":
        return zstandard.ZstdCompressor(level=level).compress(raw)
    if how == "gzip":
        return gzip.compress(raw, compresslevel=level, mtime=mtime)
    return raw


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An image for one platform."""

    layers: tuple[bytes, ...]
    """Tars."""
    platform: str = "freebsd/amd64"
    compression: str = "zstd"
    level: int = 3
    gzip_mtime: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    created: str = CREATED
    annotations: Mapping[str, str] = field(default_factory=dict)


class LayoutWriter:
    """Writes a layout directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests: list[dict[str, Any]] = []
        (root / "blobs" / "sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self._write_index()

    def blob(self, data: bytes) -> str:
        """Store a blob; return its digest."""
        digest = hashlib.sha256(data).hexdigest()
        (self.root / "blobs" / "sha256" / digest).write_bytes(data)
        return f"sha256:{digest}"

    def _describe(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": self.blob(data), "size": len(data), **more}

    def manifest(self, spec: Spec) -> dict[str, Any]:
        """Store an image; return the descriptor of its manifest."""
        system, architecture = spec.platform.split("/")[:2]
        config = {
            "architecture": architecture,
            "os": system,
            "created": spec.created,
            "config": dict(spec.config),
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(x).hexdigest()}" for x in spec.layers],
            },
            "history": [{"created": spec.created, "created_by": "test"} for _ in spec.layers],
        }
        kind = "application/vnd.oci.image.layer.v1.tar"
        suffix = "" if spec.compression == "none" else f"+{spec.compression}"
        layers = [
            self._describe(
                compress(x, spec.compression, level=spec.level, mtime=spec.gzip_mtime),
                f"{kind}{suffix}",
            )
            for x in spec.layers
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self._describe(_json(config), "application/vnd.oci.image.config.v1+json"),
            "layers": layers,
            "annotations": dict(spec.annotations),
        }
        return self._describe(
            _json(manifest),
            "application/vnd.oci.image.manifest.v1+json",
            platform={"os": system, "architecture": architecture},
        )

    def image(self, name: str, *specs: Spec) -> str:
        """Add an image over platforms under a name; return the digest of its index."""
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [self.manifest(spec) for spec in specs],
        }
        descriptor = self._describe(_json(index), "application/vnd.oci.image.index.v1+json")
        self._name(descriptor, name)
        return str(descriptor["digest"])

    def single(self, name: str, spec: Spec) -> str:
        """Add an image for one platform without an index; return its manifest's digest."""
        descriptor = self.manifest(spec)
        self._name(descriptor, name)
        return str(descriptor["digest"])

    def _name(self, descriptor: dict[str, Any], name: str) -> None:
        annotations = {"org.opencontainers.image.ref.name": name}
        self.manifests.append({**descriptor, "annotations": annotations})
        self._write_index()

    def _write_index(self) -> None:
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.root / "index.json").write_bytes(_json(index))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def make_layout(root: Path, *layers: bytes, name: str = "img:1", **fields: Any) -> Path:
    """Write a layout with one image for one platform."""
    LayoutWriter(root).image(name, Spec(layers=layers, **fields))
    return root


def archive_layout(layout: Path, target: Path, *, compression: str = "none") -> Path:
    """Write a layout as an OCI archive."""
    names: Sequence[str] = ("oci-layout", "index.json", "blobs")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            archive.add(layout / name, name)
    target.write_bytes(compress(out.getvalue(), compression))
    return target


def docker_archive(target: Path, *layers: bytes, tag: str = "img:1", **config: Any) -> Path:
    """Write a `docker save` archive in the old form, a repeated layer as a link."""
    document = {
        "architecture": "amd64",
        "os": "freebsd",
        "created": CREATED,
        "config": config,
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(x).hexdigest()}" for x in layers],
        },
        "history": [{"created": CREATED, "created_by": "test"} for _ in layers],
    }
    raw = _json(document)
    name = f"{hashlib.sha256(raw).hexdigest()}.json"
    written: dict[bytes, str] = {}
    paths = []
    with tarfile.open(target, "w") as archive:
        for number, layer in enumerate(layers):
            folder_name = hashlib.sha256(b"%d" % number + layer).hexdigest()
            info = tarfile.TarInfo(f"{folder_name}/layer.tar")
            paths.append(info.name)
            if layer in written:
                info.type = tarfile.SYMTYPE
                info.linkname = f"../{written[layer]}"
                archive.addfile(info)
            else:
                written[layer] = info.name
                info.size = len(layer)
                archive.addfile(info, io.BytesIO(layer))
        listed = _json([{"Config": name, "RepoTags": [tag], "Layers": paths}])
        for path, data in ((name, raw), ("manifest.json", listed)):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target
