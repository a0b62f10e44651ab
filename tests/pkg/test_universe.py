"""Candidates of a release: which fit, which wins."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from fixtures.resolve.small import AMD64, catalogue, record, universe
from pipeline.errors import FormatError, PackagesiteError
from pipeline.pkg.abi import Abi
from pipeline.pkg.depends import Requirement, RequirementKind, parse_formula
from pipeline.pkg.universe import Universe, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.pkg.universe import Candidate


def names_of(candidates: Iterable[Candidate]) -> list[str]:
    return [f"{candidate}@{candidate.repository}" for candidate in candidates]


def test_best_is_by_priority_then_version_then_declaration() -> None:
    first = catalogue(record("a", "1.0"), record("a", "2.0"), repository="first", priority=5)
    second = catalogue(record("a", "2.0"), record("a", "3.0,1"), repository="second", priority=5)
    third = catalogue(record("a", "9"), repository="third", priority=0)
    built = Universe.build([first, second, third], abi=AMD64)
    assert names_of(built.candidates["a"]) == [
        "a-3.0,1@second",
        "a-2.0@first",
        "a-2.0@second",
        "a-1.0@first",
        "a-9@third",
    ]
    assert built.best("a") == built.candidates["a"][0]
    assert built.best("b") is None


def test_order_of_records_does_not_matter() -> None:
    """1.0 and 1.00 are equal in order; their text decides."""
    records = [record("a", v, shlibs_provided=["l"]) for v in ("1.0", "1.00", "0.9", "1.1")]
    records += [record("b", shlibs_provided=["l"])]
    expected = universe(*records)
    assert names_of(expected.candidates["a"]) == [
        "a-1.1@main",
        "a-1.00@main",
        "a-1.0@main",
        "a-0.9@main",
    ]
    for permutation in itertools.permutations(records):
        assert universe(*permutation) == expected


def test_repository_with_a_package_of_another_abi_is_refused() -> None:
    foreign = catalogue(record("a"), record("b", abi="FreeBSD:14:amd64"), repository="old")
    with pytest.raises(
        PackagesiteError,
        match=r"^repository old: b-1\.0 is for FreeBSD:14:amd64, want FreeBSD:15:amd64$",
    ):
        Universe.build([catalogue(), foreign], abi=AMD64)
    nothing = catalogue(record("a", abi=""))
    with pytest.raises(PackagesiteError, match=r"a-1\.0 is for no ABI, want"):
        Universe.build([nothing], abi=AMD64)


def test_packages_for_any_architecture_fit() -> None:
    offered = catalogue(record("a", abi="FreeBSD:14:*"), record("b", abi="*"))
    built = Universe.build([offered], abi=Abi.parse("FreeBSD:14:aarch64"))
    assert sorted(built.candidates) == ["a", "b"]


def test_package_for_a_newer_release_is_no_candidate() -> None:
    newer = record("a", "2.0", annotations={"FreeBSD_version": "1500100"})
    same = record("a", "1.0", annotations={"FreeBSD_version": "1500068"})
    built = Universe.build([catalogue(newer, same)], abi=AMD64, osversion=1500068)
    assert names_of(built.candidates["a"]) == ["a-1.0@main"]
    assert names_of(built.too_new["a"]) == ["a-2.0@main"]
    unchecked = Universe.build([catalogue(newer, same)], abi=AMD64)
    assert names_of(unchecked.candidates["a"]) == ["a-2.0@main", "a-1.0@main"]
    assert not unchecked.too_new


def test_osversion_that_is_no_number_is_refused() -> None:
    with pytest.raises(FormatError, match=r"^a-1\.0\.annotations: got FreeBSD_version 'soon'"):
        Universe.build(
            [catalogue(record("a", annotations={"FreeBSD_version": "soon"}))],
            abi=AMD64,
            osversion=1500068,
        )


def test_equal_records_are_one_and_different_ones_an_error() -> None:
    assert names_of(universe(record("a"), record("a")).candidates["a"]) == ["a-1.0@main"]
    with pytest.raises(PackagesiteError, match=r"a-1\.0 is listed twice"):
        universe(record("a"), record("a", comment="other"))


def test_providers_are_names_in_order() -> None:
    built = universe(
        record("b", shlibs_provided=["l.so"], provides=["mta"]),
        record("a", "1", shlibs_provided=["l.so"]),
        record("a", "2"),
        record("B", shlibs_provided=["l.so"]),
    )
    assert built.providers(Requirement(RequirementKind.SHLIB, "l.so")) == ("B", "a", "b")
    assert built.providers(Requirement(RequirementKind.SHLIB, "m.so")) == ()
    assert built.providers(Requirement(RequirementKind.REQUIRES, "mta")) == ("b",)
    assert built.providers(Requirement(RequirementKind.DEP, "a")) == ("a",)
    assert built.providers(Requirement(RequirementKind.DEP, "c")) == ()
    clause = Requirement.of_clause(parse_formula("b | c | a >= 2 | a")[0])
    assert built.providers(clause) == ("b", "a")


def test_nearest_ignores_case_and_order() -> None:
    words = ["libac", "LibAC", "libab", "zzz"]
    assert (
        nearest("LIBAC", words) == nearest("LIBAC", reversed(words)) == ("LibAC", "libac", "libab")
    )
    assert nearest("nothing-like-it", words) == ()
    assert universe(record("FreeBSD-runtime")).nearest_names("freebsd-runtme") == (
        "FreeBSD-runtime",
    )
