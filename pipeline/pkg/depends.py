"""What a package requires, and what it provides.

Source: freebsd/pkg 2.8.4, libpkg/pkg_solve.c (pkg_solve_process_universe_variable),
libpkg/pkg_deps.c (pkg_deps_parse_formula) and libpkg/pkg_abi.c (pkg_cleanup_shlibs_required).

1. `deps`: packages by name. The version beside a name is what the package was built with; it is
   information, not a condition.
2. `dep_formula`: clauses separated by `,`, each of which has to hold; a clause is one or more
   alternatives separated by `|`; an alternative is a name, then any number of version conditions
   (`= == != ! >= > <= <` and a version) and options (`+OPT` is on, `-OPT` is off or absent).
   pkg reads formulas of installed packages only and skips a clause that nothing satisfies;
   here a clause is a requirement. A formula that cannot be read is an error.
3. `shlibs_required` without `shlibs_required_ignore`, against `shlibs_provided` without
   `shlibs_provided_ignore`, and `requires` against `provides`: equal text. What a package provides
   itself it does not require.
4. pkg also compares a provider's ABI with that of the package that requires the library. All
   packages of one resolution fit one ABI, so there is nothing left to compare.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import ManifestError
from pipeline.pkg.version import PkgVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.pkg.manifest import PackageManifest

_COMPARISONS: Final[Mapping[str, Callable[[PkgVersion, PkgVersion], bool]]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!": operator.ne,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}

_NAME_RE: Final = re.compile(r"\s*([A-Za-z0-9_][A-Za-z0-9_.+@~-]*)\s*")
_CONDITION_RE: Final = re.compile(r"([<>=!]{1,2})\s*((?:[A-Za-z0-9._-]|,(?=[0-9]))+)\s*")
_OPTION_RE: Final = re.compile(r"([+-])([A-Za-z0-9_-]+)\s*")


class RequirementKind(StrEnum):
    """Where in a manifest a requirement stands."""

    DEP = "dep"
    FORMULA = "formula"
    SHLIB = "shlib"
    REQUIRES = "requires"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One way to satisfy a clause of a formula."""

    name: str
    conditions: tuple[tuple[str, PkgVersion], ...]
    """Pairs of (operator, version); all have to hold."""
    options: tuple[tuple[str, bool], ...]
    """Pairs of (option, whether it is to be on)."""

    def is_satisfied_by(self, manifest: PackageManifest) -> bool:
        """Tell whether a package is the one that is meant."""
        if manifest.name != self.name:
            return False
        version = PkgVersion.parse(manifest.version)
        options = dict(manifest.options)
        return all(_COMPARISONS[sign](version, bound) for sign, bound in self.conditions) and all(
            (options.get(option) == "on") == wanted for option, wanted in self.options
        )

    def __str__(self) -> str:
        conditions = "".join(f" {sign} {version}" for sign, version in self.conditions)
        options = "".join(f" {'+' if on else '-'}{option}" for option, on in self.options)
        return f"{self.name}{conditions}{options}"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a package cannot do without."""

    kind: RequirementKind
    text: str
    """A name, a clause, a library or a feature; what `allow_missing` names."""
    alternatives: tuple[Alternative, ...] = ()
    """Of a clause, in its order; empty for the other kinds."""

    @classmethod
    def of_clause(cls, alternatives: tuple[Alternative, ...]) -> Self:
        """Make the requirement of one clause of a formula."""
        text = " | ".join(str(alternative) for alternative in alternatives)
        return cls(RequirementKind.FORMULA, text, alternatives)

    def is_satisfied_by(self, manifest: PackageManifest) -> bool:
        """Tell whether a package provides what is required."""
        if self.kind is RequirementKind.DEP:
            return manifest.name == self.text
        if self.kind is RequirementKind.SHLIB:
            return self.text in shlibs_provided(manifest)
        if self.kind is RequirementKind.REQUIRES:
            return self.text in manifest.provides
        return any(alternative.is_satisfied_by(manifest) for alternative in self.alternatives)

    def __str__(self) -> str:
        return f"{_LABELS[self.kind]} {self.text}"


_LABELS: Final = {
    RequirementKind.DEP: "package",
    RequirementKind.FORMULA: "formula",
    RequirementKind.SHLIB: "shared library",
    RequirementKind.REQUIRES: "requirement",
}


def shlibs_provided(manifest: PackageManifest) -> tuple[str, ...]:
    """Return the shared libraries that a package provides to others (rule 3)."""
    if not manifest.shlibs_provided_ignore:
        return manifest.shlibs_provided
    return tuple(s for s in manifest.shlibs_provided if s not in manifest.shlibs_provided_ignore)


def requirements_of(manifest: PackageManifest) -> tuple[Requirement, ...]:
    """Return everything that a package requires of others: deps, formula, shlibs, requires.

    Raises:
        ManifestError: if the formula cannot be read.
    """
    own = {*manifest.shlibs_provided, *manifest.shlibs_provided_ignore}
    return (
        *(
            Requirement(RequirementKind.DEP, d.name)
            for d in manifest.deps
            if d.name != manifest.name
        ),
        *(
            clause
            for clause in map(Requirement.of_clause, _formula_of(manifest))
            if not clause.is_satisfied_by(manifest)
        ),
        *(
            Requirement(RequirementKind.SHLIB, shlib)
            for shlib in manifest.shlibs_required
            if shlib not in own and shlib not in manifest.shlibs_required_ignore
        ),
        *(
            Requirement(RequirementKind.REQUIRES, feature)
            for feature in manifest.requires
            if feature not in manifest.provides
        ),
    )


# ---------------------------------------------------------------- formulas


def _formula_of(manifest: PackageManifest) -> tuple[tuple[Alternative, ...], ...]:
    if manifest.dep_formula is None:
        return ()
    try:
        return parse_formula(manifest.dep_formula)
    except ManifestError as e:
        raise e.within(f"{manifest.name_version}.dep_formula") from None


def parse_formula(text: str) -> tuple[tuple[Alternative, ...], ...]:
    """Read a `dep_formula`: clauses of alternatives (rule 2).

    Raises:
        ManifestError: with the offset of the first fault.
    """
    clauses: list[tuple[Alternative, ...]] = []
    alternatives: list[Alternative] = []
    position = 0
    while True:
        alternative, position = _alternative(text, position)
        alternatives.append(alternative)
        mark = text[position : position + 1]
        if mark not in ("", ",", "|"):
            raise ManifestError(f"got {text[position:][:40]!r} at {position}, want , or |")
        position += 1
        if mark != "|":
            clauses.append(tuple(alternatives))
            alternatives = []
        if not mark or (mark == "," and not text[position:].strip()):
            return tuple(clauses)


def _alternative(text: str, position: int) -> tuple[Alternative, int]:
    name = _NAME_RE.match(text, position)
    if name is None:
        raise ManifestError(f"got {text[position:][:40]!r} at {position}, want a package name")
    position = name.end()
    conditions: list[tuple[str, PkgVersion]] = []
    options: list[tuple[str, bool]] = []
    while True:
        if condition := _CONDITION_RE.match(text, position):
            if condition[1] not in _COMPARISONS:
                raise ManifestError(
                    f"got operator {condition[1]!r} at {position}, want a comparison"
                )
            conditions.append((condition[1], PkgVersion.parse(condition[2])))
            position = condition.end()
        elif option := _OPTION_RE.match(text, position):
            options.append((option[2], option[1] == "+"))
            position = option.end()
        else:
            break
    alternative = Alternative(name=name[1], conditions=tuple(conditions), options=tuple(options))
    return alternative, position
