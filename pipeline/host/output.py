"""Files that appear when they are whole, and scratch space beside them.

Whatever is in progress lies in the folder where the result will be, never elsewhere: there is the
room for it, and a rename is enough at the end.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import ConfigurationError
from pipeline.formats.algorithm import MAGIC, Algorithm, detect
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.digest import CHUNK, Digest, copy_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MODE: Final = 0o644


def check_folder(path: Path) -> Path:
    """Return the folder in which a file is to be; it must be there already."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such directory", hint="make it first")
    return folder


@contextlib.contextmanager
def replacing(path: Path, *, mtime: int | None = None, commit: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block has ended without an error.

    Args:
        path: the file's name; mode 0644, its owner stays if there is one.
        mtime: seconds since the epoch, None for now.
        commit: whether it takes its place at all.
    """
    folder = check_folder(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb", buffering=CHUNK) as f:
            yield f
            f.flush()
            _keep_owner(path, descriptor)
            os.fchmod(descriptor, MODE)
            if mtime is not None:
                os.utime(descriptor, (mtime, mtime))
            if commit:
                os.fsync(descriptor)
        if commit:
            _replace(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def _replace(scratch: Path, path: Path) -> None:
    """Give a file its name; whoever meets an error has never heard of the other one."""
    try:
        scratch.replace(path)
    except OSError as e:
        raise OSError(e.errno, e.strerror, str(path)) from None


def _keep_owner(path: Path, descriptor: int) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        old = path.stat()
        os.fchown(descriptor, old.st_uid, old.st_gid)


class Spool:
    """An archive without its compression, readable anywhere; a context manager."""

    def __init__(self, path: Path, folder: Path, *, what: str) -> None:
        """Open the archive, or a scratch file in `folder` with what it is when decompressed."""
        self._descriptor = -1
        self.file: BinaryIO = path.open("rb")
        self.algorithm = detect(self.file.read(MAGIC))
        self.file.seek(0)
        if self.algorithm is Algorithm.NONE:
            return
        with self.file as packed:
            self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  - closed by __exit__
            limit = expansion_limit(path.stat().st_size)
            try:
                stream = open_decompressed(packed, limit=limit, what=what)
                copy_stream(stream, self.file, limit=limit, what=what)
            except BaseException:
                self.file.close()
                raise
        self.file.seek(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def digest(self) -> Digest:
        """Compute the digest of the whole."""
        self.file.seek(0)
        digest = Digest.of_chunks(iter(lambda: self.file.read(CHUNK), b""))
        self.file.seek(0)
        return digest

    def stretch(self, position: int, size: int) -> Iterator[bytes]:
        """Yield a stretch of it in pieces of bounded size."""
        descriptor = self.file.fileno()
        while size:
            data = os.pread(descriptor, min(size, CHUNK), position)
            if not data:
                raise ConfigurationError("a file has become shorter while it was read")
            yield data
            position += len(data)
            size -= len(data)
