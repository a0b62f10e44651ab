"""An OCI image layout in a directory.

Specification: image-spec v1.1.1, image-layout.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from pipeline.formats.digest import Digest


class Layout:
    """Read access to a layout directory; a `LayoutSource`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Digest) -> Path:
        """Return where a blob is, or would be."""
        return self.root / "blobs" / "sha256" / digest.hex

    def read(self, name: str) -> bytes:
        """Return a file at the top of the layout."""
        return (self.root / name).read_bytes()

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob."""
        return self.path(digest).open("rb")
