"""Content by digest: files of unpacked packages, and blobs of the store."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Final

from pipeline.formats.digest import CHUNK, Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from pipeline.formats.mtree import Entry
    from pipeline.host.store import Store
    from pipeline.stages.package import PackageResult

_OPEN_FILES: Final = 64


@functools.lru_cache(maxsize=4)
def _places(
    store: Store, packages: tuple[tuple[Digest, Digest], ...]
) -> Mapping[str, tuple[Digest, int]]:
    """Return blob and offset of each content; the layers of an image ask for the same ones.

    Args:
        store: has the blobs.
        packages: payload and extents of each.
    """
    result = {}
    for payload, extents in packages:
        for line in store.read(extents).decode().splitlines():
            digest, offset, _ = line.split(" ")
            result[digest] = (payload, int(offset))
    return result


class ContentSource:
    """Read file contents; a context manager that keeps some payloads open."""

    def __init__(self, packages: Iterable[PackageResult], *, store: Store) -> None:
        self._store = store
        self._where = _places(store, tuple((p.payload.digest, p.extents.digest) for p in packages))
        self._files: dict[Digest, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def _descriptor(self, blob: Digest) -> int:
        descriptor = self._files.get(blob)
        if descriptor is None:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            descriptor = os.open(self._store.path(blob), os.O_RDONLY)
            self._files[blob] = descriptor
        return descriptor

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """Yield the content of a file in pieces of bounded size."""
        return self._chunks(entry.digest, entry.size)

    def _chunks(self, digest: str, size: int) -> Iterator[bytes]:
        blob, offset = self._where.get(digest) or (Digest(digest), 0)
        left = size
        descriptor = self._descriptor(blob)
        while left:
            data = os.pread(descriptor, min(left, CHUNK), offset)
            if not data:
                return
            yield data
            offset += len(data)
            left -= len(data)

    def read(self, entry: Entry) -> bytes:
        """Return the content of a small file."""
        return b"".join(self.chunks(entry))

    def read_digest(self, digest: str, size: int) -> bytes:
        """Return a small content by its sha256 in hex."""
        return b"".join(self._chunks(digest, size))
