"""Compare two Berkeley DB 1.85 hash files (pwd.db, services.db, login.conf.db …) by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats.db185_header import MAGIC as _MAGIC
from pipeline.formats.db185_read import parse_hash_file
from reproducibility.causes import Cause
from reproducibility.findings import Found, shown

if TYPE_CHECKING:
    from pipeline.formats.db185_read import HashFile

MAGIC: Final = _MAGIC.to_bytes(4, "big")
"""The first bytes of a file."""
_MAX_KEYS: Final = 500


def compare_hash_files(a: bytes, b: bytes) -> tuple[Found, ...] | None:
    """Compare two files; None if one cannot be read."""
    try:
        x, y = parse_hash_file(a), parse_hash_file(b)
    except FormatError:
        return None
    keys = [k for k in sorted({*x.pairs, *y.pairs}) if x.pairs.get(k) != y.pairs.get(k)]
    if not keys:
        return (_layout(x, y),)
    found = [
        Found(
            cause=Cause.DATABASE_ROW,
            inside=f"key {shown(key)}",
            package="",
            a=_shown(x.pairs.get(key)),
            b=_shown(y.pairs.get(key)),
            evidence=(),
        )
        for key in keys[:_MAX_KEYS]
    ]
    if len(keys) > _MAX_KEYS:
        more = f"{len(keys) - _MAX_KEYS} more keys"
        found.append(
            Found(cause=Cause.DATABASE_ROW, inside="", package="", a="", b="", evidence=(more,))
        )
    return tuple(found)


def _shown(value: bytes | None) -> str:
    return "absent" if value is None else shown(value)


def _layout(x: HashFile, y: HashFile) -> Found:
    order_a, order_b = list(x.pairs), list(y.pairs)
    if order_a != order_b:
        first = next(i for i, (p, q) in enumerate(zip(order_a, order_b, strict=True)) if p != q)
        return Found(
            cause=Cause.ORDER,
            inside="",
            package="",
            a=shown(order_a[first]),
            b=shown(order_b[first]),
            evidence=("equal pairs, put in another order",),
        )
    fields = [
        f"{name}: {getattr(x.header, name)} | {getattr(y.header, name)}"
        for name in ("lorder", "bsize", "ffactor", "max_bucket", "ovfl_point", "last_freed")
        if getattr(x.header, name) != getattr(y.header, name)
    ]
    return Found(
        cause=Cause.DATABASE_LAYOUT,
        inside="",
        package="",
        a="",
        b="",
        evidence=("equal pairs", *(fields or ["stale bytes in free space differ"])),
    )
