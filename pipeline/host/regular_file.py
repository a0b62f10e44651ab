"""Files that others have named: regular ones, and nothing that keeps who opens it waiting."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from pipeline.errors import PipelineError


def open_regular(
    path: Path,
    *,
    what: str | None = None,
    follow: bool = True,
    error: type[PipelineError] = ConfigurationError,
) -> BinaryIO:
    """Open a file for reading; a FIFO has nobody at its other end, a device never ends.

    Args:
        path: its name.
        what: how an error calls it.
        follow: whether the last component may be a symlink.
        error: raised for anything but a regular file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise error(f"{what or path}: is {kind}")
    return os.fdopen(descriptor, "rb")
