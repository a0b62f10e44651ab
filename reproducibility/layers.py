"""Layers as they can be read: a tar blob, or a blob of another kind (directories: see there).

A layer is read in two passes. The first fills an `EntryTable` and computes every digest; the second
writes out only the files that differ. Neither holds more than a chunk of content in memory.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.errors import PipelineError
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.digest import CHUNK, Digest, copy_stream
from reproducibility.compressors import Compression, describe_file
from reproducibility.entries import Entry, Kind, normalise_path
from reproducibility.tarstream import TarStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from pipeline.formats.digest import Source
    from reproducibility.entry_table import EntryTable

ENDLESS: Final = 1 << 62
"""For streams whose length is bounded elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """What reading a whole layer tells."""

    digest: str
    size: int
    diff_id: str
    """Of the uncompressed tar, computed; empty for a directory."""
    tar_size: int
    compression: Compression | None
    entries: int
    trailer: str
    problems: tuple[str, ...]


class Layer(Protocol):
    """Something that holds entries."""

    @property
    def name(self) -> str:
        """What to call it: `layer 3`."""

    @property
    def is_tar(self) -> bool:
        """Whether it has an order, an encoding and a diff_id of its own."""

    def read(self, table: EntryTable) -> LayerFacts:
        """Read all of it."""

    def extract(self, wanted: Mapping[int, Path]) -> None:
        """Write the content of entries, by their ordinal, to files."""


class HashingStream(io.RawIOBase):
    """Hash a stream while it is read; wrap it in a BufferedReader."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._state = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fill a buffer."""
        data = self._source.read(len(buffer))
        self._state.update(data)
        self.size += len(data)
        buffer[: len(data)] = data
        return len(data)

    @property
    def digest(self) -> Digest:
        """The digest of what was read."""
        return Digest(self._state.hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class TarLayer:
    """A tar, compressed or not."""

    name: str
    open: Callable[[], BinaryIO]
    """Opens the blob, seekable."""
    claimed: Digest | None
    """Digest that a manifest gives it."""
    media_type: str

    @property
    def is_tar(self) -> bool:
        """Always."""
        return True

    def blob_digest(self) -> tuple[Digest, int]:
        """Hash the blob as it is stored."""
        with self.open() as f:
            return copy_stream(f, None, limit=ENDLESS, what=self.name)

    def read(self, table: EntryTable) -> LayerFacts:
        """Hash the blob, its tar and every content; a damaged tar is read as far as it goes."""
        problems = []
        links: list[Entry] = []
        digest, size = self.blob_digest()
        with self.open() as f:
            compression = describe_file(f)
            stream, hashing = _tar_stream(f, size, self.name)
            reader = TarStream(stream)
            try:
                for entry in reader:
                    table.add(replace(entry, digest=_content_digest(entry, reader)))
                    if entry.kind is Kind.HARDLINK:
                        links.append(entry)
                while stream.read(CHUNK):
                    pass
            except (PipelineError, OSError) as e:
                problems.append(f"{self.name}: {e}")
        resolve_links(links, table)
        return LayerFacts(
            digest=str(digest),
            size=size,
            diff_id="" if problems else str(hashing.digest),
            tar_size=hashing.size,
            compression=compression,
            entries=table.added,
            trailer=reader.trailer,
            problems=tuple(problems),
        )

    def extract(self, wanted: Mapping[int, Path]) -> None:
        """Write the content of entries; stop after the last of them."""
        left = len(wanted)
        with self.open() as f:
            stream, _ = _tar_stream(f, f.seek(0, 2), self.name)
            reader = TarStream(stream)
            for entry in reader:
                path = wanted.get(entry.ordinal)
                if path is None:
                    continue
                with path.open("wb") as sink:
                    sink.writelines(reader.chunks())
                left -= 1
                if not left:
                    return


def _tar_stream(f: BinaryIO, size: int, what: str) -> tuple[BinaryIO, HashingStream]:
    hashing = HashingStream(open_decompressed(f, limit=expansion_limit(size), what=what))
    return io.BufferedReader(hashing, CHUNK), hashing


def resolve_links(links: list[Entry], table: EntryTable) -> None:
    """Give hard links the content of the file that they are names of."""
    for link in links:
        target, current = table.get(link.link), table.get(link.path)
        is_current = current is not None and current.entry.ordinal == link.ordinal
        if is_current and target is not None and target.entry.kind is Kind.FILE:
            file = target.entry
            table.replace(replace(link, digest=file.digest, size=file.size, content=file.ordinal))


def _content_digest(entry: Entry, reader: TarStream) -> str:
    if entry.kind is not Kind.FILE:
        return ""
    state = hashlib.sha256()
    for chunk in reader.chunks():
        state.update(chunk)
    return state.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLayer:
    """A blob that is no tar, as the layers of artifacts are: one file."""

    name: str
    open: Callable[[], BinaryIO]
    claimed: Digest | None
    title: str

    @property
    def is_tar(self) -> bool:
        """Never."""
        return False

    def blob_digest(self) -> tuple[Digest, int]:
        """Hash it."""
        with self.open() as f:
            return copy_stream(f, None, limit=ENDLESS, what=self.name)

    def read(self, table: EntryTable) -> LayerFacts:
        """Hash it; it is one entry."""
        digest, size = self.blob_digest()
        table.add(_plain_file(self.title, size, digest))
        return LayerFacts(
            digest=str(digest),
            size=size,
            diff_id=str(digest),
            tar_size=size,
            compression=None,
            entries=1,
            trailer="",
            problems=(),
        )

    def extract(self, wanted: Mapping[int, Path]) -> None:
        """Copy it."""
        for path in wanted.values():
            with self.open() as source, path.open("wb") as sink:
                copy_stream(source, sink, limit=ENDLESS, what=self.name)


def _plain_file(path: str, size: int, digest: Digest) -> Entry:
    return Entry(
        path=normalise_path(path) or "content",
        kind=Kind.FILE,
        mode=0,
        uid=0,
        gid=0,
        uname="",
        gname="",
        mtime=0,
        fraction="",
        size=size,
        link="",
        flags="",
        device="",
        attributes=(),
        dialect="",
        form="",
        raw=b"",
        ordinal=0,
        digest=digest.hex,
        content=0,
    )
