"""Problem: one image's requests against a universe; what follows from them without any choice.

A name stands for exactly one package: the installed one, else the best candidate that every
request for the name accepts. So `deps` and requirements that one package alone can satisfy are
followed blindly (`close`); only where several packages would do is there anything to decide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pipeline.errors import ConflictError, UnsatisfiedError
from pipeline.pkg.depends import Requirement, RequirementKind, requirements_of, shlibs_provided
from pipeline.pkg.names import byte_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pipeline.pkg.manifest import PackageManifest
    from pipeline.pkg.request import Request
    from pipeline.pkg.universe import Candidate, Universe


@dataclass(frozen=True, slots=True)
class Reason:
    """Who asked for a package, and by which words."""

    parent: str | None
    """The package that requires it; None is the request itself."""
    text: str
    """The request, or the requirement: a name, a library, a feature, a clause of a formula."""
    kind: RequirementKind | None
    """What sort of requirement; None for a request."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A requirement of a new package that no installed package satisfies."""

    requirement: Requirement
    providers: tuple[str, ...]
    """Names of the packages that satisfy it as they are selected; sorted, or in formula order."""


Expand = Callable[[str], tuple[Edge, ...]]
"""`Problem.expand`, cached for the time of one resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """What a set of packages brings with it."""

    reasons: Mapping[str, Reason]
    """Every package and the reason that was found first, in the order of finding."""
    open: tuple[tuple[str, Edge], ...]
    """Pairs of (package, what it requires): several others would do, none of them is here."""
    absent: tuple[tuple[str, Requirement], ...]
    """Pairs of (package, what it requires): nothing would do, and `allow_missing` does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Requests applied to a universe."""

    universe: Universe
    installed: Mapping[str, PackageManifest]
    allow_missing: frozenset[str]
    wanted: Mapping[str, tuple[Request, ...]]
    """Names that requests mean and that are not installed, sorted, with those requests."""
    satisfied: tuple[str, ...]
    """Names that requests mean and that are installed, sorted."""
    pins: Mapping[str, Candidate]
    """The candidate of each wanted name."""
    installed_shlibs: frozenset[str]
    installed_features: frozenset[str]

    @classmethod
    def of_requests(
        cls,
        universe: Universe,
        requests: Iterable[Request],
        *,
        installed: Iterable[PackageManifest],
        allow_missing: frozenset[str],
    ) -> Self:
        """Find what the requests mean.

        Raises:
            UnsatisfiedError: if a request means nothing that there is.
            ConflictError: if a request asks for another version than is installed, or two for
                different versions of one package.
        """
        present = {manifest.name: manifest for manifest in installed}
        by_text = {request.text: request for request in requests}
        ordered = [by_text[text] for text in sorted(by_text, key=byte_order)]
        meant: dict[str, list[Request]] = {}
        unknown: list[Request] = []
        for request in ordered:
            names = _meant_by(request, universe, present)
            if not names:
                unknown.append(request)
            for name in names:
                meant.setdefault(name, []).append(request)
        if unknown:
            raise _unknown(unknown, universe)
        for name, manifest in present.items():
            _check_installed(manifest, meant.get(name, ()))
        wanted = {
            name: tuple(meant[name])
            for name in sorted(meant, key=byte_order)
            if name not in present
        }
        return cls(
            universe=universe,
            installed=present,
            allow_missing=allow_missing,
            wanted=wanted,
            satisfied=tuple(sorted(meant.keys() & present.keys(), key=byte_order)),
            pins={name: _pin(name, asked, universe) for name, asked in wanted.items()},
            installed_shlibs=frozenset(s for m in present.values() for s in shlibs_provided(m)),
            installed_features=frozenset(f for m in present.values() for f in m.provides),
        )

    @property
    def roots(self) -> dict[str, Reason]:
        """The wanted names, each with the first request that means it."""
        return {name: Reason(None, asked[0].text, None) for name, asked in self.wanted.items()}

    def select(self, name: str) -> Candidate | None:
        """Return the candidate that a name stands for; None if it is installed or unknown."""
        if name in self.installed:
            return None
        return self.pins.get(name) or self.universe.best(name)

    def manifest(self, name: str) -> PackageManifest:
        """Return the manifest of a name that is known to be selectable or installed."""
        candidate = self.select(name)
        return self.installed[name] if candidate is None else candidate.manifest

    def _is_installed(self, requirement: Requirement) -> bool:
        if requirement.kind is RequirementKind.DEP:
            return requirement.text in self.installed
        if requirement.kind is RequirementKind.SHLIB:
            return requirement.text in self.installed_shlibs
        if requirement.kind is RequirementKind.REQUIRES:
            return requirement.text in self.installed_features
        return any(
            alternative.is_satisfied_by(self.installed[alternative.name])
            for alternative in requirement.alternatives
            if alternative.name in self.installed
        )

    def expand(self, name: str) -> tuple[Edge, ...]:
        """Return what a new package still needs."""
        return tuple(
            Edge(requirement, self._providers(requirement))
            for requirement in requirements_of(self.manifest(name))
            if not self._is_installed(requirement)
        )

    def _providers(self, requirement: Requirement) -> tuple[str, ...]:
        found = []
        for name in self.universe.providers(requirement):
            candidate = self.select(name)
            if candidate is not None and requirement.is_satisfied_by(candidate.manifest):
                found.append(name)
        return tuple(found)

    def is_excused(self, requirement: Requirement) -> bool:
        """Tell whether a requirement may stay unsatisfied; a package by name never may."""
        return (
            requirement.kind is not RequirementKind.DEP and requirement.text in self.allow_missing
        )


def close(
    problem: Problem,
    expand: Expand,
    roots: Mapping[str, Reason],
    *,
    present: Collection[str] = frozenset(),
) -> Closure:
    """Follow every requirement that leaves no choice, breadth first, but not into `present`."""
    reasons = dict(roots)
    queue = deque(reasons)
    choices: list[tuple[str, Edge]] = []
    absent: list[tuple[str, Requirement]] = []
    while queue:
        name = queue.popleft()
        for edge in expand(name):
            if len(edge.providers) > 1:
                choices.append((name, edge))
            elif not edge.providers:
                if not problem.is_excused(edge.requirement):
                    absent.append((name, edge.requirement))
            elif (provider := edge.providers[0]) not in reasons and provider not in present:
                reasons[provider] = Reason(name, edge.requirement.text, edge.requirement.kind)
                queue.append(provider)
    return Closure(
        reasons=reasons,
        open=tuple(
            (name, edge)
            for name, edge in choices
            if not any(provider in reasons or provider in present for provider in edge.providers)
        ),
        absent=tuple(absent),
    )


def conflicts_among(problem: Problem, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of (package, package that its `conflicts` name), at least one of them new."""
    new = set(names)
    for name in sorted(new, key=byte_order):
        for other in problem.manifest(name).conflicts:
            if other != name and (other in new or other in problem.installed):
                yield name, other
    for name, manifest in sorted(problem.installed.items()):
        for other in manifest.conflicts:
            if other in new:
                yield name, other


# ---------------------------------------------------------------- requests


def _meant_by(
    request: Request, universe: Universe, installed: Mapping[str, PackageManifest]
) -> tuple[str, ...]:
    """Return the names that a request means: installed, or with a candidate that it accepts."""
    if request.name is not None:
        if request.name in installed:
            return (request.name,)
        candidates = universe.candidates.get(request.name, ())
        found = any(request.matches(request.name, c.record.version) for c in candidates)
        return (request.name,) if found else ()
    names = {
        name
        for name, candidates in universe.candidates.items()
        if any(request.matches(name, candidate.record.version) for candidate in candidates)
    }
    names.update(n for n, m in installed.items() if request.matches(n, m.version))
    return tuple(sorted(names, key=byte_order))


def _check_installed(manifest: PackageManifest, asked: Iterable[Request]) -> None:
    for request in asked:
        if not request.matches(manifest.name, manifest.version):
            raise ConflictError(
                f"request {request.text!r} asks for another version than the parent image has:"
                f" {manifest.name_version}",
                causes=((request.text, None),),
                hint="a child image starts with its parent's packages as they are; ask for the"
                " version in the parent",
            )


def _pin(name: str, asked: tuple[Request, ...], universe: Universe) -> Candidate:
    """Return the best candidate that all requests accept."""
    for candidate in universe.candidates[name]:
        if all(request.matches(name, candidate.record.version) for request in asked):
            return candidate
    texts = " and ".join(repr(request.text) for request in asked)
    raise ConflictError(
        f"requests {texts} ask for different versions of {name}",
        causes=tuple((request.text, None) for request in asked),
    )


def _unknown(requests: list[Request], universe: Universe) -> UnsatisfiedError:
    texts = ", ".join(repr(request.text) for request in requests)
    return UnsatisfiedError(
        f"no repository has a package for {texts}",
        causes=tuple((request.text, None) for request in requests),
        hint="; ".join(filter(None, (_advice(request, universe) for request in requests))) or None,
    )


def _advice(request: Request, universe: Universe) -> str:
    """Say what comes nearest to one request."""
    name = request.name or request.text
    if name in universe.candidates:
        versions = ", ".join(c.record.version for c in universe.candidates[name])
        return f"{name} is there in version {versions}"
    for candidate in universe.too_new.get(name, ()):
        return f"{candidate} is for a newer FreeBSD than {universe.osversion}"
    stem, _, version = name.rpartition("-")
    if any(c.record.version == version for c in universe.candidates.get(stem, ())):
        return f"a version is asked for as {stem}={version}"
    near = universe.nearest_names(name)
    return f"the nearest to {name} are {', '.join(near)}" if near else ""
