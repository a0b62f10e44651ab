"""An OCI layout in a tar file, `oci-archive` to podman and skopeo: writing and reading.

Specification: image-spec v1.1.1, image-layout.md; containers-transports(5).

1. Members are sorted by name; directories 0755, files 0644, owner 0:0, one time for all
   (docs/FORMAT.md, section Tar). The same images give the same bytes.
2. index.json lists the images that were asked for, with the annotations they have in the layout,
   and what refers to them (SBOMs, signatures), without names.
3. An image that has a full name gets the annotation `io.containerd.image.name`, which is what
   docker and containerd call it when they load the archive.
4. A reader takes uncompressed archives only: blobs are read where they lie.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ArchiveError, DigestMismatchError, LayoutError
from pipeline.formats import tar
from pipeline.formats.algorithm import MAGIC, Algorithm, detect
from pipeline.formats.digest import CHUNK, HashingWriter
from pipeline.host.layout import Layout
from pipeline.host.registry_manifest import Contents, distinct
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.image import LAYOUT_BYTES, ImageIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from pipeline.formats.digest import Digest, Sink
    from pipeline.oci.validate import LayoutSource

IMAGE_NAME: Final = "io.containerd.image.name"

_BLOBS: Final = "blobs/sha256/"
_MAX_FILE: Final = 8 << 20
"""Bytes of oci-layout or index.json."""


# ---------------------------------------------------------------- writing


def write_archive(
    source: LayoutSource, images: Mapping[str, str | None], path: Path, *, mtime: int
) -> None:
    """Write images of a layout into an archive; it appears when it is whole.

    Args:
        source: the layout.
        images: names in the layout, and for each the full name of the image, or None (3).
        path: of the archive.
        mtime: of every member, seconds since the epoch.

    Raises:
        LayoutError: an image is not in the layout, or not whole.
        DigestMismatchError: the layout has been altered.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as f:
            _write(source, images, f, mtime)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _write(source: LayoutSource, images: Mapping[str, str | None], sink: Sink, mtime: int) -> None:
    listed: list[Descriptor] = []
    blobs: list[Descriptor] = []
    contents = Contents(source)
    for name, full_name in sorted(images.items()):
        manifests = contents.walk(name)
        referrers = contents.attached(m.digest for m in manifests)
        listed.append(_listed(contents.named(name), full_name))
        listed.extend(m.descriptor for m in referrers)
        for manifest in (*manifests, *referrers):
            blobs.extend((manifest.descriptor, *manifest.blobs))
    index = ImageIndex(manifests=_once(listed), annotations={}).to_bytes()
    for folder in ("blobs/", _BLOBS):
        sink.write(_header(folder, tar.DIRECTORY, 0, mtime))
    for blob in sorted(distinct(blobs), key=lambda b: b.digest):
        _copy(source, blob, sink, mtime)
    for name, data in (("index.json", index), ("oci-layout", LAYOUT_BYTES)):
        sink.write(_header(name, tar.REGULAR, len(data), mtime))
        sink.write(data + tar.padding(len(data)))
    sink.write(tar.END)


def _listed(descriptor: Descriptor, full_name: str | None) -> Descriptor:
    extra = {} if full_name is None else {IMAGE_NAME: full_name}
    return Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        platform=descriptor.platform,
        annotations={**descriptor.annotations, **extra},
        artifact_type=descriptor.artifact_type,
    )


def _once(listed: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Return every entry once; the same content may be there under several names."""
    found: list[Descriptor] = []
    for descriptor in listed:
        if descriptor not in found:
            found.append(descriptor)
    return tuple(found)


def _header(name: str, kind: bytes, size: int, mtime: int) -> bytes:
    mode = 0o755 if kind == tar.DIRECTORY else 0o644
    return tar.header(name.encode(), kind, mode=mode, uid=0, gid=0, mtime=mtime, size=size)


def _copy(source: LayoutSource, blob: Descriptor, sink: Sink, mtime: int) -> None:
    what = f"blob {blob.digest}"
    try:
        f = source.open(blob.digest)
    except FileNotFoundError:
        raise LayoutError("is not in the layout", context=what) from None
    writer = HashingWriter(sink)
    with f:
        sink.write(_header(_BLOBS + blob.digest.hex, tar.REGULAR, blob.size, mtime))
        while writer.size <= blob.size and (data := f.read(CHUNK)):
            writer.write(data)
    if writer.size != blob.size or writer.digest != blob.digest:
        raise DigestMismatchError(
            what, got=f"{writer.size} bytes of {writer.digest}", want=f"{blob.size} bytes"
        )
    sink.write(tar.padding(blob.size))


# ---------------------------------------------------------------- reading


class ArchiveSource:
    """Read access to an archive; a `LayoutSource`."""

    def __init__(self, path: Path) -> None:
        """Find the members.

        Raises:
            ArchiveError: it is no uncompressed tar file, or has a member twice.
        """
        self.path = path
        self._members = dict(self._scan())

    def _scan(self) -> Iterator[tuple[str, tuple[int, int]]]:
        seen = set()
        with self.path.open("rb") as f:
            if detect(f.read(MAGIC)) is not Algorithm.NONE:
                raise ArchiveError(
                    "is compressed, want a plain tar", context=str(self.path), hint="unpack it"
                )
            f.seek(0)
            for member in tar.TarReader(f):
                name = member.name.removeprefix("./")
                if member.kind != tar.REGULAR:
                    continue
                if name in seen:
                    raise ArchiveError(f"member {name[:200]!r} twice", context=str(self.path))
                seen.add(name)
                yield name, (f.tell(), member.size)

    def read(self, name: str) -> bytes:
        """Return a file at the top of the layout."""
        with self._open(name) as f:
            return f.read(_MAX_FILE)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob."""
        return self._open(_BLOBS + digest.hex)

    def _open(self, name: str) -> BinaryIO:
        if name not in self._members:
            raise FileNotFoundError(2, "no such member", name)
        return io.BufferedReader(_Part(self.path.open("rb"), *self._members[name]))


class _Part(io.RawIOBase):
    """A stretch of a file, as a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        self._file.seek(self._start + self._position)
        wanted = min(len(buffer), max(self._size - self._position, 0))
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_layout(path: Path) -> LayoutSource:
    """Return what a path holds: a layout directory, or an archive of one.

    Raises:
        LayoutError: there is nothing.
        ArchiveError: it is neither.
    """
    if path.is_dir():
        return Layout(path)
    if not path.is_file():
        raise LayoutError("there is no such layout or archive", context=str(path))
    return ArchiveSource(path)
