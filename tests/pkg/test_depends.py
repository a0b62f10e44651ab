"""What packages require and provide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.resolve.small import record
from pipeline.errors import ManifestError
from pipeline.pkg.depends import (
    Requirement,
    RequirementKind,
    parse_formula,
    requirements_of,
    shlibs_provided,
)

if TYPE_CHECKING:
    from pipeline.pkg.manifest import PackageManifest


def texts(**fields: object) -> list[str]:
    return [str(r) for r in requirements_of(record("self", "1.0", **fields).manifest)]


def test_requirements_stand_in_the_order_deps_formula_shlibs_requires() -> None:
    assert texts(
        requires=["mta"], shlibs_required=["libb.so", "liba.so"], dep_formula="x", deps=["z", "y"]
    ) == [
        "package y",
        "package z",
        "formula x",
        "shared library liba.so",
        "shared library libb.so",
        "requirement mta",
    ]


def test_version_of_a_dependency_is_no_condition() -> None:
    """Dependencies name a version for information only; pkg installs with any."""
    (requirement,) = requirements_of(record("a", deps=["fine"]).manifest)
    assert requirement.is_satisfied_by(record("fine", "0.1").manifest)


def test_what_a_package_provides_itself_it_does_not_require() -> None:
    assert (
        texts(
            deps=["self"],
            dep_formula="self >= 1",
            shlibs_required=["a.so", "b.so", "c.so"],
            shlibs_provided=["a.so"],
            shlibs_provided_ignore=["b.so"],
            shlibs_required_ignore=["c.so"],
            requires=["mta"],
            provides=["mta"],
        )
        == []
    )


def test_ignored_library_is_not_provided_to_others() -> None:
    manifest = record(
        "a", shlibs_provided=["a.so", "b.so"], shlibs_provided_ignore=["b.so"]
    ).manifest
    assert shlibs_provided(manifest) == ("a.so",)
    assert not Requirement(RequirementKind.SHLIB, "b.so").is_satisfied_by(manifest)


@pytest.mark.parametrize(
    ("requirement", "manifest"),
    [
        (Requirement(RequirementKind.DEP, "a"), record("a").manifest),
        (
            Requirement(RequirementKind.SHLIB, "a.so:32"),
            record("x", shlibs_provided=["a.so:32"]).manifest,
        ),
        (Requirement(RequirementKind.REQUIRES, "mta"), record("x", provides=["mta"]).manifest),
    ],
)
def test_requirement_is_satisfied_by_equal_text(
    requirement: Requirement, manifest: PackageManifest
) -> None:
    assert requirement.is_satisfied_by(manifest)
    assert not requirement.is_satisfied_by(record("y").manifest)


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    ("formula", "clauses"),
    [
        ("fine", ["fine"]),
        ("fine>=1", ["fine >= 1"]),
        (" libgreet >= 1.4, libgreet < 2 ", ["libgreet >= 1.4", "libgreet < 2"]),
        ("ghost >= 1 | fine >= 1", ["ghost >= 1 | fine >= 1"]),
        ("a = 1 != 2 == 3 ! 4 <= 5 > 6 < 7", ["a = 1 != 2 == 3 ! 4 <= 5 > 6 < 7"]),
        ("a >= 1.0_1,2, b", ["a >= 1.0_1,2", "b"]),
        ("a +X11 -DOCS|b", ["a +X11 -DOCS | b"]),
        ("a,", ["a"]),
        ("py311-greet > 1", ["py311-greet > 1"]),
    ],
)
def test_formula_is_read(formula: str, clauses: list[str]) -> None:
    assert [" | ".join(map(str, clause)) for clause in parse_formula(formula)] == clauses


@pytest.mark.parametrize(
    "formula",
    ["", " ", ",a", "a |", "a, , b", "a >= ", "a >= 1 b", "a =< 1", "a ; b", "a >> 1", "a +"],
)
def test_broken_formula_is_refused(formula: str) -> None:
    with pytest.raises(ManifestError, match="want"):
        parse_formula(formula)


def test_broken_formula_names_its_package() -> None:
    with pytest.raises(ManifestError, match=r"^a-1\.0\.dep_formula: got '\?'"):
        requirements_of(record("a", dep_formula="b ?").manifest)


@pytest.mark.parametrize(
    ("formula", "satisfied"),
    [
        ("fine", True),
        ("fine >= 0.9", True),
        ("fine >= 0.9 < 2", True),
        ("fine >= 2", False),
        ("fine = 1.0.0", True),
        ("fine != 1", False),
        ("fine ! 2", True),
        ("other", False),
        ("other | fine > 0", True),
        ("fine +TLS", True),
        ("fine -TLS", False),
        ("fine -DOCS", True),
        ("fine +DOCS", False),
        ("fine -NONE", True),
        ("fine +NONE", False),
        ("fine < 2 +TLS -DOCS", True),
    ],
)
def test_clause_is_satisfied(formula: str, satisfied: bool) -> None:
    """A version compares as everywhere, its epoch first."""
    fine = record("fine", "1.0", options={"TLS": "on", "DOCS": "off"}).manifest
    (clause,) = map(Requirement.of_clause, parse_formula(formula))
    assert clause.is_satisfied_by(fine) == satisfied


def test_portepoch_outranks_the_version_in_a_formula() -> None:
    clause = Requirement.of_clause(parse_formula("fine < 2")[0])
    assert not clause.is_satisfied_by(record("fine", "1.0,1").manifest)
