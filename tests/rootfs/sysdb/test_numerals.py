"""Numbers as C reads them; the cases of the databases are in their own tests."""

from __future__ import annotations

import pytest

from pipeline.rootfs.sysdb.numerals import atol, strtoul_any, strtoul_decimal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"\t\n\v\f\r 12", 12),
        (b"-1", (1 << 64) - 1),
        (b"-18446744073709551615", 1),
        (b"18446744073709551615", (1 << 64) - 1),
        (b"18446744073709551616", (1 << 64) - 1),
        (b"-18446744073709551616", (1 << 64) - 1),
        (b"9" * 10_000, (1 << 64) - 1),
        (b"", None),
        (b"-", None),
        (b"1 ", None),
        (b"- 1", None),
        (b"1\n", None),
        ("\u0661".encode(), None),
    ],
)
def test_strtoul_of_a_decimal(text: bytes, value: int | None) -> None:
    """Too big gives the greatest value, negative wraps; what is not read whole is no number."""
    assert strtoul_decimal(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"010", 8), (b"0", 0), (b"00", 0), (b"0xff", 255), (b"-0x1", (1 << 64) - 1), (b"10", 10)]
    + [(text, None) for text in (b"09", b"0x", b"x", b"0b1", b"1_0", b"")],
)
def test_strtoul_of_any_base(text: bytes, value: int | None) -> None:
    assert strtoul_any(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"12x", 12),
        (b" -12", -12),
        (b"x", 0),
        (b"", 0),
        (b"9223372036854775808", (1 << 63) - 1),
        (b"-9223372036854775809", -(1 << 63)),
        (b"9" * 10_000, (1 << 63) - 1),
    ],
)
def test_atol_reads_a_prefix(text: bytes, value: int) -> None:
    assert atol(text) == value
