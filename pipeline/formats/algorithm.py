"""Algorithm: the compressions there are, and what of them belongs to output format 1."""

from __future__ import annotations

import enum
from typing import Final

ZSTD_VERSION: Final = (1, 5, 7)
"""libzstd of output format 1."""
GZIP_ENCODER: Final = "deflate 0.9.0"
"""The Python binding whose bundled libdeflate is that of output format 1."""

ZSTD_JOB_SIZE: Final = 4 << 20
"""Bytes of input that one worker of zstd compresses at a time."""
GZIP_MEMBER: Final = 1 << 20
"""Bytes of input in each member of a gzip stream."""


class Algorithm(enum.StrEnum):
    """How a stream is compressed; values as images.toml spells them."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    BZIP2 = "bzip2"


LEVELS: Final = {Algorithm.ZSTD: (1, 19), Algorithm.GZIP: (1, 12), Algorithm.NONE: (0, 0)}
"""Lowest and highest level that a declaration may ask for."""


MAGIC: Final = 6
"""Bytes that tell an algorithm."""


def detect(head: bytes) -> Algorithm:
    """Tell the algorithm from the first `MAGIC` bytes."""
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return Algorithm.ZSTD
    if head.startswith(b"\xfd7zXZ\x00"):
        return Algorithm.XZ
    if head.startswith(b"\x1f\x8b"):
        return Algorithm.GZIP
    if head.startswith(b"BZh"):
        return Algorithm.BZIP2
    return Algorithm.NONE
