"""JoinedLayout: several layouts read as one, e.g. images and what is said of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pipeline.formats import canonical_json
from pipeline.host.registry_manifest import entries
from pipeline.oci.media_type import MediaType

if TYPE_CHECKING:
    from typing import BinaryIO

    from pipeline.formats.digest import Digest
    from pipeline.oci.validate import LayoutSource

_INDEX = "index.json"


class JoinedLayout:
    """Read access to several layouts; a `LayoutSource`."""

    def __init__(self, *sources: LayoutSource) -> None:
        """Join layouts.

        Args:
            sources: the first has the header; one that is not there yet counts as empty.
        """
        self._sources = sources

    def read(self, name: str) -> bytes:
        """Return a file at the top; of `index.json`, all entries of all layouts."""
        if name != _INDEX:
            return self._sources[0].read(name)
        return canonical_json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MediaType.INDEX.value,
                "manifests": [d.to_dict() for source in self._sources for d in entries(source)],
            }
        )

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob of whichever layout has it."""
        for source in self._sources:
            with contextlib.suppress(FileNotFoundError):
                return source.open(digest)
        raise FileNotFoundError(str(digest))
