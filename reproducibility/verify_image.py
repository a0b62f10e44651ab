"""The image in question: its manifests, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import LayoutError, NotFoundError
from pipeline.formats import canonical_json
from pipeline.oci.descriptor import string_map
from pipeline.oci.media_type import MediaType
from pipeline.oci.platform import Platform
from reproducibility.verify_claim import Published, same_platform

if TYPE_CHECKING:
    from pipeline.formats.digest import Digest
    from pipeline.host.registry_manifest import Manifest
    from pipeline.oci.descriptor import Descriptor
    from reproducibility.verify_place import ImagePlace

MAX_PLATFORMS: Final = 64
_MAX_CONFIG: Final = 4 << 20

INDEX: Final = "index"
"""Label of an index, beside the platforms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An index over platforms, or the manifest of one."""

    root: Manifest
    """What the image's name leads to."""
    chosen: Manifest
    """What is verified: the same, or one platform of it."""
    platforms: tuple[tuple[Platform, Manifest], ...]
    """The manifests that are verified, in the order of the index."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the manifests are called: the platform; a second one of the same is told apart."""
        names = [str(platform) for platform, _ in self.platforms]
        return tuple(
            name if name not in names[:i] else f"{name} ({names[:i].count(name) + 1})"
            for i, name in enumerate(names)
        )

    @property
    def manifests(self) -> dict[str, Digest]:
        """The manifests, by label."""
        pairs = zip(self.labels, self.platforms, strict=True)
        return {label: manifest.digest for label, (_, manifest) in pairs}

    @property
    def published(self) -> dict[str, Digest]:
        """Everything that is verified, by label; the whole comes first."""
        whole = {INDEX: self.chosen.digest} if self.chosen.is_index else {}
        return {**whole, **self.manifests}

    def describe(self, name: str) -> Published:
        """Return what the image says of itself.

        Args:
            name: what it is called.
        """
        d = canonical_json.loads_object(self.chosen.raw, error=LayoutError)
        return Published(
            name=name,
            platform=None if self.chosen.is_index else self.platforms[0][0],
            annotations=string_map(d, "annotations"),
        )

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configs and layers, each digest once."""
        return tuple({b.digest: b for _, m in self.platforms for b in m.blobs}.values())


def find_subject(place: ImagePlace, wanted: Platform | None) -> Subject:
    """Look up an image and its platforms.

    Args:
        place: where it is.
        wanted: verify this platform alone.

    Raises:
        NotFoundError: there is no such image, or not for the platform.
        LayoutError: it is no image.
        DigestMismatchError: something else is served for a digest.
    """
    try:
        root = place.root()
    except NotFoundError as e:
        e.hint = e.hint or "is that its name, and has your account access? docs/registries.md"
        raise
    if root.is_index:
        if len(root.manifests) > MAX_PLATFORMS:
            raise LayoutError(f"{place}: {len(root.manifests)} manifests, want {MAX_PLATFORMS}")
        listed = [(d, place.manifest(d)) for d in root.manifests if _may_fit(d, wanted)]
    else:
        listed = [(root.descriptor, root)]
    platforms = [(_platform(place, d, manifest), manifest) for d, manifest in listed]
    if wanted is not None:
        platforms = [pair for pair in platforms if same_platform(pair[0], wanted)]
    if not platforms:
        what = "nothing" if wanted is None else f"nothing for {wanted}"
        there = ", ".join(sorted({str(d.platform) for d in root.manifests if d.platform}))
        raise NotFoundError(f"{place}: {what}", hint=f"it has {there[:300]}" if there else None)
    if wanted is not None and len(platforms) > 1:
        raise LayoutError(f"{place}: {len(platforms)} manifests for {wanted}, want one")
    is_whole = root.is_index and wanted is None
    return Subject(
        root=root,
        chosen=root if is_whole else platforms[0][1],
        platforms=tuple(platforms),
    )


def _may_fit(descriptor: Descriptor, wanted: Platform | None) -> bool:
    p = descriptor.platform
    return wanted is None or p is None or same_platform(p, wanted)


def _platform(place: ImagePlace, descriptor: Descriptor, manifest: Manifest) -> Platform:
    """Return what a manifest is for: the index says so, or else its config."""
    if manifest.is_index:
        raise LayoutError(f"{place}: an index within an index")
    config = manifest.blobs[0]
    if config.media_type == MediaType.EMPTY or config.size > _MAX_CONFIG:
        raise LayoutError(f"{place}: {manifest.digest} is no image, but something said of one")
    if descriptor.platform is not None:
        return descriptor.platform
    raw = place.blob(config, max_length=_MAX_CONFIG)
    return Platform.from_dict(canonical_json.loads_object(raw, error=LayoutError))
