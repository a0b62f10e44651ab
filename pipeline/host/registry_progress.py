"""Progress of transfers to and from registries, by the means of `host.progress`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from pipeline.host.progress import Downloads
from pipeline.host.registry_download import wanted_blob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.oci.descriptor import Descriptor


class Transfers:
    """A `pipeline.stages.push.Progress`; a context manager around the push."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._stack = contextlib.ExitStack()
        self._downloads: Downloads | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def expect(self, blobs: Sequence[Descriptor], /) -> None:
        """Hear which blobs are going to be sent or mounted, and begin to show it."""
        if blobs:
            downloads = Downloads(self._what, len(blobs), sum(blob.size for blob in blobs))
            self._downloads = self._stack.enter_context(downloads)

    def advance(self, blob: Descriptor, size: int, /) -> None:
        """Hear that `size` bytes of a blob are there."""
        if self._downloads is not None:
            self._downloads(wanted_blob(blob), size)
