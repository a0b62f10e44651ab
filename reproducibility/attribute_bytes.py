"""Causes in contents that are not text: printable runs, binary times, where in an ELF file.

The heuristics are in the table of `attribute`; these are those for bytes.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.oci.image import rfc3339
from reproducibility.attribute import Tallies, explain_tokens
from reproducibility.causes import Cause
from reproducibility.elf import section_at
from reproducibility.moments import format_distance
from reproducibility.orders import explain_order
from reproducibility.patterns import tokenise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reproducibility.findings import Found
    from reproducibility.patterns import Hints

_CHUNK: Final = 4096
_JOIN: Final = 8
"""Differences with fewer equal bytes than this between them are one."""
_MAX_RANGES: Final = 256
_AROUND: Final = 64
_RUN_RE: Final = re.compile(rb"[\t\x20-\x7e]{4,}")
_MAX_RUNS: Final = 200_000

_EARLIEST: Final = 1_262_304_000
"""2010"""
_LATEST: Final = 2_208_988_800
"""2040"""
_NEAR: Final = 400 * 86_400


class Range(NamedTuple):
    """Bytes that differ, start included and end not."""

    start: int
    end: int


def attribute_bytes(
    a: bytes, b: bytes, *, hints: Hints, is_name: Callable[[str], bool]
) -> tuple[Found, ...]:
    """Explain the difference of two contents that are not text; arguments as `attribute_text`."""
    tallies = Tallies()
    if len(a) == len(b):
        ranges = list(differing_ranges(a, b))
        for found in ranges[:_MAX_RANGES]:
            _explain_range(a, b, found, hints, tallies)
        if len(ranges) > _MAX_RANGES:
            tallies.add(Cause.UNKNOWN, "", "", f"more than {_MAX_RANGES} places")
    else:
        _explain_runs(a, b, hints, is_name, tallies)
    return tallies.found()


def differing_ranges(a: bytes, b: bytes) -> Iterator[Range]:
    """Yield where two contents of equal length differ; at most a few more than are looked at."""
    start = end = -1
    count = 0
    for base in range(0, len(a), _CHUNK):
        x, y = a[base : base + _CHUNK], b[base : base + _CHUNK]
        if x == y:
            continue
        for offset, (p, q) in enumerate(zip(x, y, strict=True), base):
            if p == q:
                continue
            if start >= 0 and offset - end > _JOIN:
                yield Range(start, end)
                count += 1
                start = offset
            start = offset if start < 0 else start
            end = offset + 1
        if count > _MAX_RANGES:
            return
    if start >= 0:
        yield Range(start, end)


def _explain_range(a: bytes, b: bytes, r: Range, hints: Hints, tallies: Tallies) -> None:
    x, y = _line_around(a, r), _line_around(b, r)
    causes = explain_tokens(tokenise(x, hints.a), tokenise(y, hints.b))
    if causes is not None:
        for cause, left, right, evidence in causes:
            tallies.add(cause, left, right, f"{evidence}, {_where(a, r)}")
        return
    times = _binary_times(a, b, r)
    if times is not None:
        p, q = times
        evidence = f"a binary time {_where(a, r)}, {format_distance(q - p)} apart"
        tallies.add(Cause.CLOCK, rfc3339(p), rfc3339(q), evidence)
        return
    tallies.add(Cause.UNKNOWN, _hex(a, r), _hex(b, r), f"bytes {_where(a, r)}")


def _where(content: bytes, r: Range) -> str:
    section = section_at(content, r.start)
    return f"at byte {r.start}" + (f" in section {section}" if section else "")


def _line_around(content: bytes, r: Range) -> str:
    """Return the printable run around a range, with what is not printable as blanks."""
    start, end = max(r.start - _AROUND, 0), r.end + _AROUND
    window = content[start:end]
    left = max((m.end() for m in _UNPRINTABLE_RE.finditer(window, 0, r.start - start)), default=0)
    right = _UNPRINTABLE_RE.search(window, r.end - start)
    text = window[left : right.start() if right else len(window)]
    return _UNPRINTABLE_RE.sub(b"\1", text).decode("ascii")


_UNPRINTABLE_RE: Final = re.compile(rb"[^\t\x20-\x7e]")


def _binary_times(a: bytes, b: bytes, r: Range) -> tuple[int, int] | None:
    """Read the range as a time in either byte order, 32 or 64 bits wide."""
    for form, size in (("<q", 8), (">q", 8), ("<I", 4), (">I", 4)):
        if r.end - r.start > size:
            continue
        for start in range(max(r.end - size, 0), r.start + 1):
            if start + size > len(a) or start % 4:
                continue
            (p,), (q,) = struct.unpack_from(form, a, start), struct.unpack_from(form, b, start)
            if _EARLIEST <= p < _LATEST and _EARLIEST <= q < _LATEST and abs(p - q) <= _NEAR:
                return p, q
    return None


def _hex(content: bytes, r: Range) -> str:
    part = content[r.start : min(r.end, r.start + 16)]
    return part.hex(" ") + (" …" if r.end > r.start + 16 else "")


def _explain_runs(
    a: bytes, b: bytes, hints: Hints, is_name: Callable[[str], bool], tallies: Tallies
) -> None:
    """Compare the printable runs of contents of different length, then what is between them."""
    runs_a, rest_a = _runs(a)
    runs_b, rest_b = _runs(b)
    order = explain_order(runs_a, runs_b, is_name=is_name)
    explained = rest_a == rest_b
    if order is not None:
        tallies.add(order.cause, order.a, order.b, f"printable runs: {order.evidence}")
    elif len(runs_a) != len(runs_b):
        explained = False
    else:
        for x, y in zip(runs_a, runs_b, strict=True):
            if x == y:
                continue
            causes = explain_tokens(tokenise(x, hints.a), tokenise(y, hints.b))
            explained = explained and causes is not None
            for cause, left, right, evidence in causes or ():
                tallies.add(cause, left, right, evidence)
    if not explained:
        at = _first_difference(a, b)
        r = Range(at, at + 1)
        evidence = f"{len(a)} and {len(b)} bytes; the first difference {_where(a, r)}"
        tallies.add(Cause.UNKNOWN, _hex(a, Range(at, at + 8)), _hex(b, Range(at, at + 8)), evidence)


def _runs(content: bytes) -> tuple[list[str], bytes]:
    runs = [run.decode("ascii") for run in _RUN_RE.findall(content)]
    return runs[:_MAX_RUNS], _RUN_RE.sub(b"", content)


def _first_difference(a: bytes, b: bytes) -> int:
    for base in range(0, min(len(a), len(b)), _CHUNK):
        x, y = a[base : base + _CHUNK], b[base : base + _CHUNK]
        if x != y:
            return next(
                (base + i for i, (p, q) in enumerate(zip(x, y, strict=False)) if p != q),
                base + min(len(x), len(y)),
            )
    return min(len(a), len(b))
