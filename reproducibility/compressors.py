"""How a blob is compressed, as far as its bytes tell.

Specifications: RFC 1952 (gzip), RFC 8878 (zstd). A compressor's level is written nowhere; what is
written is shown, and is what usually differs: algorithm, gzip's MTIME, OS and name, zstd's window,
content size and checksum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.formats.algorithm import Algorithm, detect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

HEAD: Final = 512
"""Bytes of a blob that are enough for `describe`."""

_FEXTRA: Final = 4
_FNAME: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """What the head of a compressed stream says."""

    algorithm: Algorithm
    fields: Mapping[str, str]


def describe(head: bytes) -> Compression:
    """Read the head of a stream."""
    algorithm = detect(head)
    fields: dict[str, str] = {}
    if algorithm is Algorithm.GZIP:
        fields = _gzip(head)
    elif algorithm is Algorithm.ZSTD:
        fields = _zstd(head)
    return Compression(algorithm=algorithm, fields=fields)


def describe_file(f: BinaryIO) -> Compression:
    """Read the head of a seekable file, and rewind it."""
    f.seek(0)
    head = f.read(HEAD)
    f.seek(0)
    return describe(head)


def gzip_mtime(head: bytes) -> int:
    """Return the MTIME of a gzip header, 0 if it has none."""
    return int.from_bytes(head[4:8], "little")


def _gzip(head: bytes) -> dict[str, str]:
    if len(head) < 10:  # noqa: PLR2004 - the fixed part of the header
        return {}
    flags = head[3]
    fields = {
        "gzip MTIME": str(gzip_mtime(head)),
        "gzip XFL": str(head[8]),
        "gzip OS": str(head[9]),
        "gzip FLG": str(flags),
    }
    if flags & _FNAME and not flags & _FEXTRA:
        name = head[10:].split(b"\0", 1)[0]
        fields["gzip FNAME"] = name.decode("latin-1")
    return fields


def _zstd(head: bytes) -> dict[str, str]:
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:  # noqa: PLR2004
        return {}
    descriptor = head[4]
    single = bool(descriptor & 0x20)
    fields = {
        "zstd checksum": "yes" if descriptor & 4 else "no",
        "zstd content size": "yes" if single or descriptor >> 6 else "no",
    }
    if not single:
        exponent, mantissa = head[5] >> 3, head[5] & 7
        base = 1 << (10 + exponent)
        fields["zstd window"] = str(base + base // 8 * mantissa)
    return fields


def different_fields(a: Compression, b: Compression) -> tuple[str, ...]:
    """Name what the two heads say differently, a sentence each."""
    found = []
    if a.algorithm != b.algorithm:
        return (f"algorithm: {a.algorithm} | {b.algorithm}",)
    for name in sorted({*a.fields, *b.fields}):
        left, right = a.fields.get(name, "absent"), b.fields.get(name, "absent")
        if left != right:
            found.append(f"{name}: {left} | {right}")
    return tuple(found)
