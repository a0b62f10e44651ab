"""The order of versions, against what `pkg version -t` of pkg 2.8.4 answered."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pipeline.errors import FormatError
from pipeline.pkg.version import PkgVersion

RECORDED = Path(__file__).parents[2] / "fixtures" / "versions"


def rows(name: str) -> list[list[str]]:
    """Return the rows of a recorded table, without its heading."""
    lines = (RECORDED / name).read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def order(first: str, second: str) -> str:
    """Compare as `pkg version -t` prints it."""
    a, b = PkgVersion.parse(first), PkgVersion.parse(second)
    assert a != b or hash(a) == hash(b)
    assert (a < b) + (a == b) + (a > b) == 1
    assert (a <= b, a >= b) == (not a > b, not a < b)
    return "<" if a < b else ">" if a > b else "="


def test_order_is_that_of_pkg() -> None:
    """All recorded pairs, in both directions."""
    recorded = rows("vectors.tsv")
    assert len(recorded) == 1500
    wrong = [row for row in recorded if order(row[0], row[1]) != row[2]]
    assert wrong == []
    flipped = {"<": ">", ">": "<", "=": "="}
    assert [row for row in recorded if order(row[1], row[0]) != flipped[row[2]]] == []


def test_where_versions_of_pkg_disagree_the_newest_counts() -> None:
    """The columns are pkg 2.4.2, 2.7.5 and 2.8.4."""
    recorded = rows("differences.tsv")
    assert len(recorded) == 19
    for first, second, *_, newest in recorded:
        assert order(first, second) == newest, (first, second)


@pytest.mark.parametrize(
    "ascending",
    [
        # pkgbase (FreeBSD-src, release/packages): snapshots and pre-releases before the release.
        ["15.a1.20250801", "15.b2.20250815", "15.rc1.20250901", "15.0", "15.0p1", "15.0p10"],
        ["15.0snap1", "15.0", "15.1"],
        ["16.snap20260101120000", "16.snap20260325035941", "16.0"],
        # libpkg/pkg_version.c, get_component: "2.* < 2pl1 < 2alpha3 < 2.9f7 < 3.*".
        ["2.*", "2pl1", "2alpha3", "2.9f7", "3.*"],
        ["10alpha", "10", "10a"],
        # Porter's Handbook, 5.2: PORTEPOCH over PORTVERSION over PORTREVISION.
        ["1.0", "1.0_1", "1.0_2", "1.1", "0.5,1", "0.5_1,1", "0.4,2"],
        ["1.0", "1.0+1", "1.0+2", "1.1"],
        ["1+a", "1", "1a"],
    ],
)
def test_ascending(ascending: list[str]) -> None:
    for first, second in itertools.combinations(ascending, 2):
        assert order(first, second) == "<", (first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1.0", "1.00"),
        ("1", "1.0.0"),
        ("1.0+0+0", "1"),
        ("1.DEV2", "1.d2"),
        ("1.0_0,0", "1"),
        ("name-1.0", "other-name-1.0"),
        ("1_ +7", "1_7"),
        ("1_x", "1"),
    ],
)
def test_equal_spellings_are_equal(first: str, second: str) -> None:
    assert order(first, second) == "="


def test_numbers_saturate() -> None:
    """strtol(3) answers LONG_MAX, strtoul(3) ULONG_MAX, however long the number is."""
    assert order("9" * 19, "9" * 20) == "="
    assert order(str(2**63 - 1), "9" * 5000) == "="
    assert order(f"1,{2**64 - 1}", "1," + "9" * 5000) == "="
    assert order("0" * 5000 + "7", "7") == "="
    assert order(f"1_{2**64 - 2}", f"1_{2**64 - 1}") == "<"


def test_text_is_kept() -> None:
    assert str(PkgVersion.parse("1.00_01")) == "1.00_01"
    assert repr(PkgVersion.parse("1.0")) == "PkgVersion(text='1.0')"


@pytest.mark.parametrize("text", ["", "1\0"])
def test_no_version_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="want text without NUL"):
        PkgVersion.parse(text)


def test_other_types_do_not_compare() -> None:
    version = PkgVersion.parse("1")
    assert version != "1"
    with pytest.raises(TypeError):
        assert version < "1"
