"""Compare the content of two files, as deep as their format is known.

| format, by its first bytes | compared by |
|---|---|
| SQLite | rows (`compare_sqlite`) |
| Berkeley DB 1.85 hash | keys (`compare_hash_file`) |
| gzip, zstd, xz, bzip2 | header, then what is inside |
| Python bytecode | the time in its header, then bytes |
| JSON | values by path (`compare_json`) |
| text | lines and words (`attribute`) |
| anything else | printable runs and binary times (`attribute_bytes`) |
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import PipelineError
from pipeline.formats.algorithm import MAGIC, Algorithm, detect
from pipeline.formats.decompression import open_decompressed
from pipeline.formats.digest import CHUNK
from pipeline.oci.image import rfc3339
from reproducibility import compare_hash_file, compare_sqlite
from reproducibility.attribute import attribute_text
from reproducibility.attribute_bytes import attribute_bytes
from reproducibility.causes import Cause
from reproducibility.compare_json import compare_json
from reproducibility.compressors import describe, different_fields, gzip_mtime
from reproducibility.findings import Found
from reproducibility.moments import format_distance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reproducibility.patterns import Hints

MAX_CONTENT: Final = 16 << 20
"""Bytes of a file that are looked into as a whole."""
_MAX_DATABASE: Final = 128 << 20
"""Likewise of a database."""
_WINDOW: Final = 32 << 10
_MAX_DEPTH: Final = 4
_TEXT_HEAD: Final = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known of where two contents come from."""

    hints: Hints
    is_name: Callable[[str], bool]
    """Says whether a word is the name of a file in the image."""


def compare_files(a: Path, b: Path, context: Context) -> tuple[Found, ...]:
    """Compare two files that are known to differ; of large ones only the first difference."""
    limit = _MAX_DATABASE if _is_database(a) and _is_database(b) else MAX_CONTENT
    if max(a.stat().st_size, b.stat().st_size) <= limit:
        return compare_content(a.read_bytes(), b.read_bytes(), context)
    return _compare_large(a, b, context)


def _is_database(path: Path) -> bool:
    with path.open("rb") as f:
        return f.read(len(compare_sqlite.MAGIC)) == compare_sqlite.MAGIC


def compare_content(a: bytes, b: bytes, context: Context, *, depth: int = 0) -> tuple[Found, ...]:
    """Compare two contents that are known to differ; at least one finding comes back."""
    found = _by_format(a, b, context, depth) or _plain(a, b, context)
    if found:
        return found
    return (
        Found(
            cause=Cause.UNKNOWN,
            inside="",
            package="",
            a=f"{len(a)} bytes",
            b=f"{len(b)} bytes",
            evidence=("they differ where nothing looked",),
        ),
    )


def _by_format(a: bytes, b: bytes, context: Context, depth: int) -> tuple[Found, ...] | None:
    if a.startswith(compare_sqlite.MAGIC) and b.startswith(compare_sqlite.MAGIC):
        return compare_sqlite.compare_sqlite(a, b)
    if a.startswith(compare_hash_file.MAGIC) and b.startswith(compare_hash_file.MAGIC):
        return compare_hash_file.compare_hash_files(a, b)
    if depth < _MAX_DEPTH and _is_compressed(a) and _is_compressed(b):
        return _compare_compressed(a, b, context, depth)
    if _is_bytecode(a) and _is_bytecode(b) and a[8:12] != b[8:12]:
        return _compare_bytecode(a, b, context)
    if a.lstrip()[:1] in (b"{", b"[") and b.lstrip()[:1] in (b"{", b"["):
        return compare_json(
            a, b, hints=context.hints, is_name=context.is_name, otherwise=Cause.UNKNOWN
        )
    return None


def _plain(a: bytes, b: bytes, context: Context) -> tuple[Found, ...]:
    text_a, text_b = _text(a), _text(b)
    if text_a is None or text_b is None:
        return attribute_bytes(a, b, hints=context.hints, is_name=context.is_name)
    x, encoding_a = text_a
    y, encoding_b = text_b
    if x == y:
        return (
            Found(
                cause=Cause.LOCALE,
                inside="",
                package="",
                a=encoding_a,
                b=encoding_b,
                evidence=("the same text in two encodings",),
            ),
        )
    return attribute_text(x, y, hints=context.hints, is_name=context.is_name)


def _text(content: bytes) -> tuple[str, str] | None:
    """Decode a text; None if it looks like none."""
    head = content[:_TEXT_HEAD]
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        printable = sum(1 for byte in head if byte >= 0x20 or byte in b"\t\n\r\f")  # noqa: PLR2004
        if printable < len(head) - len(head) // 20:
            return None
        return content.decode("latin-1"), "ISO 8859-1"


# ---------------------------------------------------------------- compressed


def _is_compressed(content: bytes) -> bool:
    return detect(content[:MAGIC]) is not Algorithm.NONE


def _decompressed(content: bytes) -> bytes | None:
    try:
        stream = open_decompressed(io.BytesIO(content), limit=MAX_CONTENT, what="content")
        pieces = []
        while piece := stream.read(CHUNK):
            pieces.append(piece)
    except PipelineError:
        return None
    return b"".join(pieces)


def _compare_compressed(
    a: bytes, b: bytes, context: Context, depth: int
) -> tuple[Found, ...] | None:
    heads = describe(a), describe(b)
    found = []
    times = gzip_mtime(a), gzip_mtime(b)
    both_gzip = heads[0].algorithm is heads[1].algorithm is Algorithm.GZIP
    if both_gzip and times[0] != times[1]:
        found.append(
            Found(
                cause=Cause.CLOCK,
                inside="gzip header",
                package="",
                a=rfc3339(times[0]),
                b=rfc3339(times[1]),
                evidence=(f"gzip MTIME, {format_distance(times[1] - times[0])} apart",),
            )
        )
    x, y = _decompressed(a), _decompressed(b)
    if x is None or y is None:
        return tuple(found) or None
    if x != y:
        inner = compare_content(x, y, context, depth=depth + 1)
        found += [replace(f, inside=f"decompressed {f.inside}".rstrip()) for f in inner]
    elif not found:
        fields = different_fields(*heads)
        found.append(
            Found(
                cause=Cause.COMPRESSOR,
                inside="",
                package="",
                a=f"{heads[0].algorithm}, {len(a)} bytes",
                b=f"{heads[1].algorithm}, {len(b)} bytes",
                evidence=("equal when decompressed", *fields),
            )
        )
    return tuple(found)


# ---------------------------------------------------------------- bytecode


def _is_bytecode(content: bytes) -> bool:
    """Say whether this is a .pyc that is checked by time (PEP 552)."""
    return content[2:4] == b"\r\n" and content[4:8] == bytes(4) and len(content) > 16  # noqa: PLR2004


def _compare_bytecode(a: bytes, b: bytes, context: Context) -> tuple[Found, ...]:
    times = [int.from_bytes(content[8:12], "little") for content in (a, b)]
    found = [
        Found(
            cause=Cause.CLOCK,
            inside="bytecode header",
            package="",
            a=rfc3339(times[0]),
            b=rfc3339(times[1]),
            evidence=(f"time of the source, {format_distance(times[1] - times[0])} apart",),
        )
    ]
    rest = a[:8] + b[8:12] + a[12:]
    if rest != b:
        found += attribute_bytes(rest, b, hints=context.hints, is_name=context.is_name)
    return tuple(found)


# ---------------------------------------------------------------- large files


def _compare_large(a: Path, b: Path, context: Context) -> tuple[Found, ...]:
    """Look at what is around the first difference."""
    with a.open("rb") as x, b.open("rb") as y:
        offset = 0
        while True:
            left, right = x.read(CHUNK), y.read(CHUNK)
            if left != right:
                break
            if not left:
                return ()
            offset += len(left)
        pairs = zip(left, right, strict=False)
        shorter = min(len(left), len(right))
        at = offset + next((i for i, (p, q) in enumerate(pairs) if p != q), shorter)
        start = max(at - _WINDOW, 0)
        x.seek(start)
        y.seek(start)
        windows = x.read(2 * _WINDOW), y.read(2 * _WINDOW)
    note = f"looked only around the first difference, at byte {at}"
    return tuple(
        replace(found, evidence=(*found.evidence, note)) for found in _plain(*windows, context)
    )
