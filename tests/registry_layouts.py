"""Small layouts to push: real images in form, with little in them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.formats import canonical_json, tar
from pipeline.formats.digest import Digest
from pipeline.host.layout import PublishedLayout
from pipeline.host.store import Blob, Store
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.image import (
    EMPTY_BYTES,
    ImageConfig,
    ImageIndex,
    ImageLayer,
    ImageManifest,
    RuntimeConfig,
    descriptor_of,
)
from pipeline.oci.media_type import MediaType
from pipeline.oci.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

PLATFORMS = ("amd64", "aarch64")


def noise(size: int, seed: str = "noise") -> bytes:
    """Return bytes that look like nothing, always the same."""
    return hashlib.shake_256(seed.encode()).digest(size)


def layer(name: str, content: bytes) -> bytes:
    """Return a layer with one file."""
    head = tar.header(
        name.encode(), tar.REGULAR, mode=0o644, uid=0, gid=0, mtime=0, size=len(content)
    )
    return head + content + tar.padding(len(content)) + tar.END


@dataclass(frozen=True)
class Maker:
    """Puts images into a layout."""

    layout: PublishedLayout
    store: Store

    def image(
        self, name: str, *layers: bytes, platforms: tuple[str, ...] = PLATFORMS
    ) -> Descriptor:
        """Add an index over platforms; each has the layers, and one layer of its own."""
        manifests = []
        blobs: list[Blob] = []
        for architecture in platforms:
            own = layer(f"{name.replace(':', '-')}-{architecture}", architecture.encode())
            manifest, needed = self._manifest(architecture, (*layers, own))
            manifests.append(manifest)
            blobs += needed
            self.layout.publish(f"{name}-{architecture}", manifest, needed)
        raw = ImageIndex(manifests=tuple(manifests), annotations={"name": name}).to_bytes()
        self.layout.publish(name, descriptor_of(raw, MediaType.INDEX), [self.store.put(raw)])
        return descriptor_of(raw, MediaType.INDEX)

    def _manifest(
        self, architecture: str, layers: tuple[bytes, ...]
    ) -> tuple[Descriptor, list[Blob]]:
        blobs = [self.store.put(data) for data in layers]
        image_layers = tuple(
            ImageLayer(
                descriptor=Descriptor(
                    media_type=MediaType.LAYER, digest=blob.digest, size=blob.size
                ),
                diff_id=blob.digest,
                created_by="test",
            )
            for blob in blobs
        )
        platform = Platform.for_freebsd(architecture)
        runtime = RuntimeConfig(
            cmd=("/bin/sh",),
            entrypoint=(),
            env=(),
            exposed_ports=(),
            labels={},
            stop_signal="",
            user="",
            volumes=(),
            working_dir="",
        )
        config = ImageConfig(
            platform=platform, created=0, runtime=runtime, layers=image_layers
        ).to_bytes()
        manifest = ImageManifest(
            config=descriptor_of(config, MediaType.CONFIG),
            layers=tuple(entry.descriptor for entry in image_layers),
            annotations={},
        ).to_bytes()
        blobs += [self.store.put(config), self.store.put(manifest)]
        described = replace(descriptor_of(manifest, MediaType.MANIFEST), platform=platform)
        return described, blobs

    def artifact(
        self, subject: Descriptor, kind: str, content: bytes, name: str, **annotations: str
    ) -> Descriptor:
        """Add something that refers to an image, under a name that says nothing."""
        raw, blobs = self._artifact(kind, content, annotations, subject)
        blobs.append(self.store.put(raw))
        descriptor = descriptor_of(raw, MediaType.MANIFEST)
        self.layout.publish(name, descriptor, blobs)
        return descriptor

    def _artifact(
        self,
        kind: str,
        content: bytes,
        annotations: dict[str, str],
        subject: Descriptor | None,
    ) -> tuple[bytes, list[Blob]]:
        config = descriptor_of(EMPTY_BYTES, MediaType.EMPTY)
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": MediaType.MANIFEST.value,
            "artifactType": kind,
            "config": config.to_dict(),
            "layers": [
                {"mediaType": kind, "digest": str(Digest.of(content)), "size": len(content)}
            ],
        }
        if subject is not None:
            document["subject"] = {
                "mediaType": str(subject.media_type),
                "digest": str(subject.digest),
                "size": subject.size,
            }
        if annotations:
            document["annotations"] = dict(annotations)
        blobs = [self.store.put(EMPTY_BYTES), self.store.put(content)]
        return canonical_json.dumps(document), blobs

    def signature(self, name: str, content: bytes) -> Descriptor:
        """Add what cosign would put under a tag; nothing in it refers to the image."""
        raw, blobs = self._artifact("application/vnd.test", content, {}, None)
        blobs.append(self.store.put(raw))
        descriptor = descriptor_of(raw, MediaType.MANIFEST)
        self.layout.publish(name, descriptor, blobs)
        return descriptor


def make(path: Path) -> Maker:
    """Return a maker whose layout and store lie below a directory."""
    store = Store(path / "store")
    return Maker(PublishedLayout(path / "oci", store=store), store)
