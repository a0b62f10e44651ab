"""Numbers as C's `strtoul(3)` and `atol(3)` read them on a 64-bit system.

Specification: ISO C, `strtoul` and `strtol`, in the C locale with a 64-bit `long`.
"""

from __future__ import annotations

import re
from typing import Final

_ULONG_MAX: Final = (1 << 64) - 1
_LONG_MAX: Final = (1 << 63) - 1

_DECIMAL: Final = re.compile(rb"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_ANY_BASE: Final = re.compile(
    rb"[ \t\n\v\f\r]*([+-]?)"
    rb"(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*))"
)
_BASES: Final = {"hex": 16, "octal": 8, "decimal": 10}
_MAX_DIGITS: Final = 4000
"""Python refuses to convert more decimal digits; any such number is too big anyway."""


def strtoul_decimal(text: bytes) -> int | None:
    """Read the whole text as `strtoul` in base 10 does; None where it would stop before the end.

    A number that is too big gives the greatest value, as in C; a negative one wraps around.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    return _unsigned(match[1], _digits(match[2], 10))


def strtoul_any(text: bytes) -> int | None:
    """Read the whole text as `strtoul` in base 0 does: decimal, octal after 0, hexadecimal."""
    match = _ANY_BASE.fullmatch(text)
    if match is None:
        return None
    assert match.lastgroup is not None
    return _unsigned(match[1], _digits(match[match.lastgroup], _BASES[match.lastgroup]))


def atol(text: bytes) -> int:
    """Read a number at the start of a text; 0 if there is none."""
    match = _DECIMAL.match(text)
    if match is None:
        return 0
    value = _digits(match[2], 10)
    return max(-value, -_LONG_MAX - 1) if match[1] == b"-" else min(value, _LONG_MAX)


def _digits(text: bytes, base: int) -> int:
    return int(text, base) if len(text) <= _MAX_DIGITS else _ULONG_MAX + 1


def _unsigned(sign: bytes, value: int) -> int:
    if value > _ULONG_MAX:
        return _ULONG_MAX
    return -value & _ULONG_MAX if sign == b"-" else value
