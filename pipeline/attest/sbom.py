"""Sbom: what is in an image, before it is written as SPDX or CycloneDX.

Pure values; the stage fills them from the lock, the packages and the image's tree. Nothing in them
depends on who builds, or when.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.formats import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.attest.license import License
    from pipeline.formats.digest import Digest

TOOL: Final = "pkgbase-oci"
"""Named in the documents, with the output format as its version: other versions of the program
that write the same format write the same documents."""


_URL_RE: Final = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomFile:
    """A file with content: its name in the image and its sums."""

    path: str
    """Relative; undecodable bytes are surrogates."""
    sha1: str
    """SPDX 2.3 demands it (8.4)."""
    sha256: str

    @property
    def shown(self) -> str:
        """The path as text that JSON can hold."""
        return self.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    @property
    def key(self) -> bytes:
        """Sort key: the path's bytes."""
        return self.path.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomLayer:
    """A layer, and the files in it that no package owns."""

    name: str
    """`static packages`: the image that added it, and its name there."""
    digest: Digest
    diff_id: Digest
    files: tuple[SbomFile, ...]
    """Sorted by path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomPackage:
    """A package in the image, or one that only gave files to it."""

    name: str
    version: str
    purl: str
    origin: str
    repository: str
    comment: str
    description: str
    homepage: str
    maintainer: str
    license: License | None
    download: str
    """URL of the archive; empty where it is no public one."""
    digest: Digest
    """Of the archive."""
    layer: str
    """Name of its layer; empty where it brings no file."""
    is_installed: bool
    """Otherwise only the files named here were taken out of it."""
    files: tuple[SbomFile, ...]
    """Sorted by path."""
    depends_on: tuple[str, ...]
    """Names of packages in the image, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """An image for one platform."""

    name: str
    """In the layout, without the tag: `freebsd-runtime`."""
    tag: str
    release: str
    architecture: str
    """As OCI calls it."""
    purl: str
    manifest: Digest
    created: str
    """RFC 3339: source_date_epoch."""
    format: int
    vendor: str
    license: str
    """As the declaration says; empty where it does not."""
    layers: tuple[SbomLayer, ...]
    """Lowest first."""
    packages: tuple[SbomPackage, ...]
    """Sorted by name."""


def is_url(text: str) -> bool:
    """Say whether both formats take a text as a URL."""
    return _URL_RE.fullmatch(text) is not None


def content_uuid(document: Mapping[str, object]) -> str:
    """Return a UUID that names a document by its content (RFC 9562, version 8)."""
    digest = bytearray(hashlib.sha256(canonical_json.dumps(document)).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
