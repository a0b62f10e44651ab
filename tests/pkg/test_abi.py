"""ABIs, patterns of ABIs, and the OSVERSION rule."""

from __future__ import annotations

import pytest

from fixtures.resolve.small import record
from pipeline.errors import FormatError
from pipeline.pkg.abi import (
    Abi,
    highest_osversion,
    modern_spelling,
    osversion_of,
    parse_osversion,
)

AMD64 = Abi("FreeBSD", 15, "amd64")


@pytest.mark.parametrize(
    ("text", "legacy"),
    [
        ("FreeBSD:15:amd64", "freebsd:15:x86:64"),
        ("FreeBSD:14:aarch64", "freebsd:14:aarch64:64"),
        ("FreeBSD:15:i386", "freebsd:15:x86:32"),
        ("FreeBSD:15:armv7", "freebsd:15:armv7:32:el:eabi:hardfp"),
        ("FreeBSD:15:riscv64", "freebsd:15:riscv:64:hf"),
        ("FreeBSD:15:powerpc64le", "freebsd:15:powerpc:64:el"),
    ],
)
def test_both_spellings_are_read_and_written(text: str, legacy: str) -> None:
    """libpkg/pkg_abi.c, machine_arch_translation."""
    abi = Abi.parse(text)
    assert str(abi) == text
    assert abi.legacy == legacy
    assert Abi.parse(legacy) == abi


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FreeBSD",
        "FreeBSD:15",
        "FreeBSD:15:*",
        "FreeBSD:015:amd64",
        "FreeBSD:x:amd64",
        "FreeBSD:15:amd64:x",
        "FreeBSD:15:x86_64",
        "NetBSD:10:amd64",
        "freebsd:15:amd65",
    ],
)
def test_what_is_no_abi_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="ABI"):
        Abi.parse(text)


@pytest.mark.parametrize(
    "pattern",
    [
        "FreeBSD:15:amd64",
        "FreeBSD:15:*",
        "FreeBSD:*",
        "FreeBSD:1?:amd64",
        "*",
        "*:amd64",
        "FreeBSD",
        "FreeBSD:15",
        "freebsd:15:x86:64",
        "freebsd:15:*",
        "freebsd:*",
        "FREEBSD:15:AMD64",
    ],
)
def test_pattern_fits(pattern: str) -> None:
    assert AMD64.matches(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "FreeBSD:14:amd64",
        "FreeBSD:14:*",
        "FreeBSD:15:aarch64",
        "FreeBSD:15:amd6",
        "FreeBSD:1",
        "Free",
        "freebsd:15:x86:32",
        "freebsd:15:aarch64:64",
        "NetBSD:*",
    ],
)
def test_pattern_does_not_fit(pattern: str) -> None:
    """`FreeBSD:1` is a prefix, which pkg would accept; a component is whole or a glob here."""
    assert not AMD64.matches(pattern)


@pytest.mark.parametrize(
    ("pattern", "modern"),
    [
        ("freebsd:15:x86:64", "FreeBSD:15:amd64"),
        ("freebsd:15:*", "FreeBSD:15:*"),
        ("freebsd:*", "FreeBSD:*"),
        ("freebsd", "FreeBSD"),
        ("dragonfly:5.10:x86:64", "dragonfly:5.10:x86:64"),
        ("FreeBSD:15:amd64", "FreeBSD:15:amd64"),
    ],
)
def test_old_spelling_is_translated(pattern: str, modern: str) -> None:
    assert modern_spelling(pattern) == modern


@pytest.mark.parametrize(("text", "value"), [("1500068", 1500068), ("0001", 1)])
def test_osversion_is_read(text: str, value: int) -> None:
    assert parse_osversion(text) == value
    assert osversion_of(record("a", annotations={"FreeBSD_version": text})) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1500068 ", "15.0", str(2**31), "9" * 5000])
def test_what_is_no_osversion_is_refused(text: str) -> None:
    """strtonum(3) with 1 and INT_MAX."""
    with pytest.raises(FormatError, match="FreeBSD_version"):
        parse_osversion(text)


def test_osversion_may_be_absent() -> None:
    assert osversion_of(record("a", annotations={"flavor": "py311"})) is None


def test_highest_osversion_of_a_release() -> None:
    """sys/param.h: major * 100000 + minor * 1000 + a count of changes."""
    assert highest_osversion(15, 0) == 1500999
    assert highest_osversion(14, 3) == 1403999
