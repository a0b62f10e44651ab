"""Random access to the members of a tar on disk, without unpacking it."""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
import tempfile
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import LayoutError
from pipeline.formats.algorithm import MAGIC, Algorithm, detect
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.digest import copy_stream
from pipeline.host.regular_file import open_regular
from reproducibility.entries import normalise_path

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_MAX_MEMBERS: Final = 100_000
_MAX_LINKS: Final = 8
_BUFFER: Final = 1 << 18


class Archive:
    """Members by name; a context manager, and `Blobs`.

    Raises:
        LayoutError: it is no tar, or one that cannot hold an image.
    """

    def __init__(self, path: Path) -> None:
        self._file = _uncompressed(path)
        self._members: dict[str, tuple[int, int] | str] = {}
        try:
            self._read_members(path)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read_members(self, path: Path) -> None:
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                for member in archive:
                    name = normalise_path(member.name)
                    if member.isreg():
                        self._members[name] = (member.offset_data, member.size)
                    elif member.issym():
                        folder = posixpath.dirname(name)
                        self._members[name] = posixpath.normpath(f"{folder}/{member.linkname}")
                    elif member.islnk():
                        self._members[name] = normalise_path(member.linkname)
                    if len(self._members) > _MAX_MEMBERS:
                        raise LayoutError(f"more than {_MAX_MEMBERS} members", context=str(path))
        except tarfile.TarError as e:
            raise LayoutError(f"not a tar archive: {e}", context=str(path)) from None

    @property
    def names(self) -> frozenset[str]:
        """The members' names."""
        return frozenset(self._members)

    def open(self, name: str) -> BinaryIO:
        """Open a member; links are followed within the archive."""
        found: tuple[int, int] | str | None = normalise_path(name)
        for _ in range(_MAX_LINKS):
            if not isinstance(found, str):
                break
            found = self._members.get(found.lstrip("/"))
        if found is None or isinstance(found, str):
            raise FileNotFoundError(2, "not in the archive", name)
        return io.BufferedReader(_Window(self._file.fileno(), *found), _BUFFER)


def _uncompressed(path: Path) -> BinaryIO:
    """Open an archive; a compressed one becomes an unnamed temporary file."""
    f = open_regular(path)
    if detect(f.read(MAGIC)) is Algorithm.NONE:
        f.seek(0)
        return f
    with f:
        spool = tempfile.TemporaryFile(prefix="archive-")  # noqa: SIM115 - closed by the caller
        try:
            limit = expansion_limit(path.stat().st_size)
            copy_stream(
                open_decompressed(f, limit=limit, what=str(path)),
                spool,
                limit=limit,
                what=str(path),
            )
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return spool


class _Window(io.RawIOBase):
    """A part of a file, with a position of its own."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        base = (0, self._position, self._size)[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        wanted = max(min(len(buffer), self._size - self._position), 0)
        data = os.pread(self._descriptor, wanted, self._start + self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
