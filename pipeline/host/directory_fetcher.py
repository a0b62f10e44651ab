"""DirectoryFetcher: a repository in a directory of this machine (`file://`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.errors import ConfigurationError, FetchError, NotFoundError, TooLargeError
from pipeline.formats.digest import CHUNK
from pipeline.host.regular_file import open_regular

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from pipeline.host.fetch import Receiver


class DirectoryFetcher:
    """Read files below one directory, and only there.

    Symlinks are followed as long as they stay inside: a repository of `pkg repo -s` has them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return f"file://{self._root}" if self._root.is_absolute() else f"file:{self._root}"

    def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
        """Return a small file."""
        with self._open(path) as file:
            data = file.read(max_length + 1)
        if len(data) > max_length:
            raise TooLargeError(f"{self}/{path}", max_length)
        return data

    def fetch_into(self, path: str, receiver: Receiver) -> None:
        """Copy a file; what the receiver has is not trusted to be its beginning."""
        with self._open(path) as file:
            receiver.expect(os.fstat(file.fileno()).st_size)
            receiver.restart()
            while data := file.read(CHUNK):
                receiver.write(data)

    def _open(self, path: str) -> BinaryIO:
        if not self._root.is_dir():
            raise ConfigurationError(f"{self}: no such directory")
        what = f"{self}/{path[:200]}"
        try:
            root = self._root.resolve()
            target = (root / path).resolve(strict=True)
            if not target.is_relative_to(root):
                raise FetchError(f"{what}: leads out of the repository")
            return open_regular(target, what=what, follow=False, error=FetchError)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"{what}: not found") from None
        except OSError as e:
            raise FetchError(f"{what}: {(e.strerror or 'cannot be read').lower()}") from e
        except (RuntimeError, ValueError) as e:  # a loop of symlinks before Python 3.13; a NUL
            raise FetchError(f"{what}: no usable path") from e
