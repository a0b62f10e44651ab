"""Universe: everything that the repositories of one release and architecture offer, by name.

1. A repository with a package for another ABI is refused as a whole, as pkg does.
2. A package whose `FreeBSD_version` exceeds the release's OSVERSION is no candidate; it is kept
   aside to explain why. Without an OSVERSION nothing is (pkg's IGNORE_OSVERSION).
3. Candidates of one name are sorted best first: the repository's priority, then the version, then
   the position of the repository in the declaration; versions that are equal although they are
   spelled differently (1.0 and 1.00), by their text, the greater first.
4. The same name and version twice in one repository is an error unless the records are equal.

Nothing depends on the order of records within a catalogue.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import PackagesiteError
from pipeline.pkg.abi import osversion_of
from pipeline.pkg.depends import RequirementKind
from pipeline.pkg.names import byte_order
from pipeline.pkg.version import PkgVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.pkg.abi import Abi
    from pipeline.pkg.catalogue import Catalogue
    from pipeline.pkg.depends import Requirement
    from pipeline.pkg.manifest import PackageManifest
    from pipeline.pkg.record import CatalogueRecord

_NEAREST: Final = 3
_CUTOFF: Final = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One package that a repository offers."""

    record: CatalogueRecord
    repository: str
    priority: int
    position: int
    """Place of the repository in the declaration, from 0."""

    @property
    def manifest(self) -> PackageManifest:
        """What the package says of itself."""
        return self.record.manifest

    def alone(self) -> Self:
        """Return the candidate without the catalogue around its record, which may be large."""
        return replace(self, record=self.record.alone())

    def __str__(self) -> str:
        return self.record.name_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """All candidates; build it once and resolve every image of the release from it."""

    abi: Abi
    osversion: int | None
    candidates: Mapping[str, tuple[Candidate, ...]]
    """Name to candidates, best first (rule 3)."""
    too_new: Mapping[str, tuple[Candidate, ...]]
    """What rule 2 sets aside."""
    shlibs: Mapping[str, tuple[str, ...]]
    """Library to the names of packages that provide it in any version, sorted."""
    features: Mapping[str, tuple[str, ...]]
    """What `provides` lists, to names of packages, sorted."""
    contested: frozenset[str]
    """Names that some package's `conflicts` lists."""

    @classmethod
    def build(
        cls, catalogues: Sequence[Catalogue], *, abi: Abi, osversion: int | None = None
    ) -> Self:
        """Index catalogues, which stand in the order of the declaration.

        Raises:
            PackagesiteError: for a package of another ABI, or two that claim one name and version.
            FormatError: for a `FreeBSD_version` that is no number.
        """
        offered: dict[str, list[Candidate]] = {}
        too_new: dict[str, list[Candidate]] = {}
        for position, catalogue in enumerate(catalogues):
            _check_abi(catalogue, abi)
            for record in catalogue.records:
                needed = osversion_of(record) if osversion is not None else None
                fits = osversion is None or needed is None or needed <= osversion
                candidate = Candidate(
                    record=record,
                    repository=catalogue.repository,
                    priority=catalogue.priority,
                    position=position,
                )
                (offered if fits else too_new).setdefault(record.name, []).append(candidate)
        candidates = {name: _best_first(items) for name, items in offered.items()}
        return cls(
            abi=abi,
            osversion=osversion,
            candidates=candidates,
            too_new={name: _best_first(items) for name, items in too_new.items()},
            shlibs=_providers(candidates, RequirementKind.SHLIB),
            features=_providers(candidates, RequirementKind.REQUIRES),
            contested=frozenset(
                other for c in catalogues for r in c.records for other in r.conflicts
            ),
        )

    def best(self, name: str) -> Candidate | None:
        """Return the candidate of a name that wins unless another version is pinned."""
        candidates = self.candidates.get(name)
        return candidates[0] if candidates else None

    def providers(self, requirement: Requirement) -> tuple[str, ...]:
        """Return the names of packages of which some version may satisfy a requirement."""
        if requirement.kind is RequirementKind.SHLIB:
            return self.shlibs.get(requirement.text, ())
        if requirement.kind is RequirementKind.REQUIRES:
            return self.features.get(requirement.text, ())
        if requirement.kind is RequirementKind.DEP:
            return (requirement.text,) if requirement.text in self.candidates else ()
        names = dict.fromkeys(alternative.name for alternative in requirement.alternatives)
        return tuple(name for name in names if name in self.candidates)

    def nearest_names(self, name: str) -> tuple[str, ...]:
        """Return package names that resemble `name`, the nearest first."""
        return nearest(name, self.candidates)


def nearest(word: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return the words that resemble `word` whatever their case, the nearest first."""
    folded: dict[str, list[str]] = {}
    for known in sorted(words):
        folded.setdefault(known.casefold(), []).append(known)
    found = difflib.get_close_matches(word.casefold(), folded, _NEAREST, _CUTOFF)
    return tuple(known for match in found for known in folded[match])[:_NEAREST]


def _check_abi(catalogue: Catalogue, abi: Abi) -> None:
    fits: dict[str, bool] = {}
    for record in catalogue.records:
        pattern = record.abi
        if pattern not in fits:
            fits[pattern] = abi.matches(pattern)
        if not fits[pattern]:
            raise PackagesiteError(
                f"repository {catalogue.repository}: {record.name_version} is for"
                f" {pattern[:40] or 'no ABI'}, want {abi}",
                hint="is ${ABI} missing in the repository's URL?",
            )


def _best_first(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    if len(candidates) == 1:
        return tuple(candidates)
    distinct: dict[tuple[int, str], Candidate] = {}
    for candidate in candidates:
        known = distinct.setdefault((candidate.position, candidate.record.version), candidate)
        if known.record != candidate.record:
            raise PackagesiteError(
                f"repository {candidate.repository}: {candidate} is listed twice, with different"
                " content"
            )
    ordered = sorted(distinct.values(), key=lambda c: byte_order(c.record.version), reverse=True)
    ordered.sort(key=attrgetter("position"))
    ordered.sort(key=lambda c: PkgVersion.parse(c.record.version), reverse=True)
    ordered.sort(key=attrgetter("priority"), reverse=True)
    return tuple(ordered)


def _providers(
    candidates: Mapping[str, tuple[Candidate, ...]], kind: RequirementKind
) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for name, versions in candidates.items():
        for candidate in versions:
            record = candidate.record
            provided = record.shlibs_provided if kind is RequirementKind.SHLIB else record.provides
            for text in provided:
                found.setdefault(text, {})[name] = None
    return {text: tuple(sorted(names, key=byte_order)) for text, names in found.items()}
