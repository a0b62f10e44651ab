"""Stage `image`: config and manifest of one image from its layers, and the index over them.

Both are small and pure; nothing is remembered of them but their bytes in the layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.formats.digest import Digest
from pipeline.host.store import Blob
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.image import (
    ImageConfig,
    ImageIndex,
    ImageLayer,
    ImageManifest,
    RuntimeConfig,
    descriptor_of,
    rfc3339,
)
from pipeline.oci.media_type import LAYER_TYPES, ZSTD_INSTANCE, MediaType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.declaration.tables import Declaration
    from pipeline.host.store import Store
    from pipeline.stages.layer import LayerResult
    from pipeline.stages.plan import ImagePlan

_PATH: Final = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
"""login.conf(5)'s default path without ~/bin; docs/FORMAT.md, section Config."""

FORMAT_LABEL: Final = "org.pkgbase-oci.format"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedLayer:
    """A layer of an image, its own or inherited."""

    image: str
    name: str
    created_by: str
    result: LayerResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """An image in the store."""

    config: Blob
    manifest: Descriptor
    """As the index over the architectures refers to it."""
    layers: tuple[Blob, ...]
    size: int
    """Bytes to download: manifest, config and layers."""

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Everything that a layout needs of this image."""
        manifest = Blob(digest=self.manifest.digest, size=self.manifest.size)
        return (*self.layers, self.config, manifest)


def history_line(plan: ImagePlan, layer: str) -> str:
    """Say in one line what a layer holds."""
    layer_of = plan.layer_of()
    names = [p for p in plan.packages if layer_of[p.name] == layer]
    shown = ", ".join(f"{p.name}-{p.version}" for p in names[:3])
    if len(names) > 3:  # noqa: PLR2004
        shown = f"{len(names)} packages"
    return f"pkgbase-oci {plan.name} {layer}" + (f": {shown}" if shown else "")


def _annotations(
    plan: ImagePlan, declaration: Declaration, base: tuple[str, Digest] | None
) -> dict[str, str]:
    image = plan.image
    prefix = "org.opencontainers.image."
    fields = {
        "created": rfc3339(plan.epoch),
        "title": image.title or f"FreeBSD {plan.name}",
        "description": image.description,
        "licenses": image.licenses,
        "version": plan.release,
        "base.name": base[0] if base else "",
        "base.digest": str(base[1]) if base else "",
    }
    result = {prefix + key: value for key, value in fields.items() if value}
    result[FORMAT_LABEL] = str(declaration.format)
    return {**result, **declaration.annotations, **image.annotations}


def _runtime(plan: ImagePlan, labels: Mapping[str, str], *, has_shell: bool) -> RuntimeConfig:
    image = plan.image
    env = {"PATH": _PATH} if has_shell else {}
    env.update(image.env)
    return RuntimeConfig(
        cmd=tuple(image.cmd),
        entrypoint=tuple(image.entrypoint),
        env=tuple(f"{key}={env[key]}" for key in sorted(env)),
        exposed_ports=tuple(image.exposed_ports),
        labels={**labels, **image.labels},
        stop_signal=image.stop_signal,
        user=image.user,
        volumes=tuple(image.volumes),
        working_dir=image.working_dir,
    )


def _documents(
    plan: ImagePlan,
    declaration: Declaration,
    layers: Sequence[NamedLayer],
    *,
    base: tuple[str, Digest] | None,
    has_shell: bool,
) -> tuple[bytes, bytes]:
    """Return the bytes of config and manifest."""
    media_type = LAYER_TYPES[declaration.compression.algorithm]
    annotations = _annotations(plan, declaration, base)
    image_layers = tuple(
        ImageLayer(
            descriptor=Descriptor(
                media_type=media_type,
                digest=layer.result.blob.digest,
                size=layer.result.blob.size,
            ),
            diff_id=layer.result.diff_id,
            created_by=layer.created_by,
        )
        for layer in layers
    )
    config = ImageConfig(
        platform=plan.platform,
        created=plan.epoch,
        runtime=_runtime(plan, annotations, has_shell=has_shell),
        layers=image_layers,
    ).to_bytes()
    manifest = ImageManifest(
        config=descriptor_of(config, MediaType.CONFIG),
        layers=tuple(layer.descriptor for layer in image_layers),
        annotations=annotations,
    ).to_bytes()
    return config, manifest


def _instance(plan: ImagePlan, declaration: Declaration, manifest: Blob) -> Descriptor:
    zstd = declaration.compression.algorithm == "zstd"
    return Descriptor(
        media_type=MediaType.MANIFEST,
        digest=manifest.digest,
        size=manifest.size,
        platform=plan.platform,
        annotations={ZSTD_INSTANCE: "true"} if zstd else {},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDocuments:
    """An image with the bytes of its documents, in the store or not."""

    config: bytes
    manifest: bytes
    result: ImageResult


def make_image(
    plan: ImagePlan,
    declaration: Declaration,
    layers: Sequence[NamedLayer],
    *,
    base: tuple[str, Digest] | None,
    has_shell: bool,
) -> ImageDocuments:
    """Compute config and manifest of an image from its layers, its parent's first. Pure.

    Args:
        plan: the image.
        declaration: what it is declared in.
        layers: all layers, lowest first.
        base: name and manifest digest of the parent.
        has_shell: whether the image has /bin/sh, so that it gets a PATH.
    """
    config, manifest = _documents(plan, declaration, layers, base=base, has_shell=has_shell)
    config_blob = Blob(digest=Digest.of(config), size=len(config))
    manifest_blob = Blob(digest=Digest.of(manifest), size=len(manifest))
    blobs = tuple(layer.result.blob for layer in layers)
    return ImageDocuments(
        config=config,
        manifest=manifest,
        result=ImageResult(
            config=config_blob,
            manifest=_instance(plan, declaration, manifest_blob),
            layers=blobs,
            size=manifest_blob.size + config_blob.size + sum(blob.size for blob in blobs),
        ),
    )


def keep_image(documents: ImageDocuments, *, store: Store) -> ImageResult:
    """Write an image's documents to the store."""
    store.put(documents.config)
    store.put(documents.manifest)
    return documents.result


def make_index(
    plans: Sequence[ImagePlan], declaration: Declaration, manifests: Sequence[Descriptor]
) -> tuple[bytes, Descriptor]:
    """Compute the index over an image's architectures, in the declaration's order. Pure."""
    annotations = _annotations(plans[0], declaration, None)
    data = ImageIndex(manifests=tuple(manifests), annotations=annotations).to_bytes()
    return data, descriptor_of(data, MediaType.INDEX)
