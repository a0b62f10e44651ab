"""What a source holds, whatever its form: images, their platforms, documents and layers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from pipeline.formats.digest import Digest

if TYPE_CHECKING:
    from typing import BinaryIO

    from reproducibility.layers import Layer


@dataclass(frozen=True, slots=True)
class Document:
    """An index, a manifest or a config: its bytes, and what they are called."""

    raw: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        """The digest of the bytes."""
        return Digest.of(self.raw)

    def parse(self) -> object:
        """Return the JSON value, None if the bytes are not JSON."""
        return parse_json(self.raw)


def parse_json(raw: bytes) -> object:
    """Decode JSON as others write it (floats, repeated keys); None if it is none."""
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformImage:
    """An image for one platform, or a root file system."""

    platform: str
    """`freebsd/amd64`; empty where nobody says."""
    manifest: Document | None
    config: Document | None
    layers: tuple[Layer, ...]
    """Lowest first."""
    diff_ids: tuple[str, ...]
    """As the config claims them."""
    is_readable: bool = True
    """False if it is known to be there, but its manifest cannot be read."""

    @property
    def is_rootfs(self) -> bool:
        """Whether this is only files, without any document."""
        return self.is_readable and self.manifest is None and self.config is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image under a name."""

    name: str
    index: Document | None
    platforms: tuple[PlatformImage, ...]


class Source(Protocol):
    """Something opened for comparison; a context manager."""

    @property
    def name(self) -> str:
        """As the user wrote it."""

    @property
    def kind(self) -> str:
        """What it is, in words."""

    @property
    def images(self) -> tuple[Image, ...]:
        """The images in it."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What of it could not be read."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Blobs(Protocol):
    """Named files of an image archive or directory."""

    def open(self, name: str) -> BinaryIO:
        """Open a file, seekable; FileNotFoundError if there is none."""
