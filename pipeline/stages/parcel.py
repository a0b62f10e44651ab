"""Parcel: everything that goes with an image wherever it goes, and the tags that it has there.

1. The image's manifests and their blobs.
2. Whatever in the layout has one of these manifests as its subject, or what has: SBOMs, provenance,
   bundles.
3. Signatures under cosign's older tags, `sha256-<digest>.sig`, `.att` and `.sbom`. The layout has
   them under that name, perhaps with a repository before it (`freebsd-static:sha256-….sig`); then
   they go with images of that repository only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.host.registry_manifest import distinct
from pipeline.oci.media_type import REF_NAME
from pipeline.oci.reference import Prefix, check_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.formats.digest import Digest
    from pipeline.host.registry_manifest import Contents, Manifest
    from pipeline.oci.descriptor import Descriptor

__all__ = ["Parcel", "Prefix", "Target", "locations", "pack", "tags_of"]

_COSIGN_RE: Final = re.compile(
    r"(?:(?P<repository>[^:]*):)?(?P<tag>sha256-(?P<hex>[0-9a-f]{64})\.(?:sig|att|sbom))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An image and where it goes."""

    name: str
    """In the layout."""
    path: str
    """Of the repository, within the registry."""
    tags: tuple[str, ...]
    """None: by digest only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Everything that goes into one repository for one image, in order."""

    target: Target
    root: Manifest
    manifests: tuple[Manifest, ...]
    referrers: tuple[Manifest, ...]
    cosign: Mapping[str, Manifest]
    """By tag."""

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configs, layers and whatever else the manifests need, each once."""
        everything = (*self.manifests, *self.referrers, *self.cosign.values())
        return distinct(blob for manifest in everything for blob in manifest.blobs)


def pack(contents: Contents, target: Target) -> Parcel:
    """Find what belongs to an image.

    Raises:
        LayoutError: it is not in the layout, or not whole.
        DigestMismatchError: the layout has been altered.
    """
    manifests = contents.walk(target.name)
    referrers = contents.attached(m.digest for m in manifests)
    signed = {m.digest.hex for m in (*manifests, *referrers)}
    cosign = {}
    for descriptor in contents.entries:
        match = _COSIGN_RE.fullmatch(descriptor.annotations.get(REF_NAME, ""))
        if match is None or match["hex"] not in signed:
            continue
        if match["repository"] in (None, target.name.rpartition(":")[0]):
            cosign[match["tag"]] = contents.read(descriptor)
    return Parcel(
        target=target,
        root=manifests[-1],
        manifests=manifests,
        referrers=referrers,
        cosign=cosign,
    )


def locations(contents: Contents, related: Iterable[Target]) -> dict[Digest, str]:
    """Return, for the blobs of images, a repository that may have each: the first one's."""
    found: dict[Digest, str] = {}
    for target in related:
        if target.name in contents:
            for manifest in contents.walk(target.name):
                for blob in manifest.blobs:
                    found.setdefault(blob.digest, target.path)
    return found


# ---------------------------------------------------------------- tags


def tags_of(release: str, releases: Iterable[str], moving: Iterable[str]) -> tuple[str, ...]:
    """Return the moving tags that a release of an image has now.

    Args:
        release: `<major>.<minor>`.
        releases: all releases that there are of the image.
        moving: patterns, `${RELEASE}`, `${MAJOR}` and `${MINOR}` replaced. A tag that several
            releases could have is the newest one's.
    """
    found: dict[str, None] = {}
    for pattern in moving:
        claims = [r for r in releases if _tag(pattern, r) == _tag(pattern, release)]
        if release == max(claims, key=_order, default=release):
            found[_tag(pattern, release)] = None
    return tuple(found)


def _tag(pattern: str, release: str) -> str:
    major, _, minor = release.partition(".")
    for name, value in (("RELEASE", release), ("MAJOR", major), ("MINOR", minor)):
        pattern = pattern.replace(f"${{{name}}}", value)
    return check_tag(pattern)


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))
