"""Resolution: which packages answer a request, in which order they go in, and why each is there.

Built on resolvelib, which searches only where there is a choice (`pipeline.pkg.search`). The rules:

Which package a name stands for
 1. An installed package (of the parent image) stands for its name and is never replaced. A request
    for another version of it is an error.
 2. Else: of the candidates that all requests for the name accept, those of the repositories with
    the highest priority; of these the highest version; of these the first repository declared.
    A dependency never makes an older version or another repository come in; only a pin does.

What has to hold
 3. Every `deps` name, clause of `dep_formula`, shared library and `requires` of a new package is
    satisfied by an installed or a new one. `allow_missing` excuses, by its text, anything but a
    `deps` name that no candidate satisfies. Installed packages are not asked again.
 4. No package is beside one that its `conflicts` names, whichever of the two is installed.
    Paths that two packages own are found later, when their manifests are at hand.

Which of several providers is chosen
 5. Everything without a choice is settled first; a requirement that is satisfied then brings
    nothing in. Open requirements are settled one after the other, those with the fewest providers
    left first, then by kind and text; what a provider brings in is settled before the next one.
 6. Of several providers: one that is there already; for a formula, the one written first; one
    from a repository of a package that asks; the one that provides the fewest libraries and
    features (a library's own package rather than a bundle that happens to hold a copy); the one
    that brings in the fewest packages by rule 5; the one of the higher priority; the lesser name.
 7. A choice that fails is taken back. In the end every package that choices brought in is dropped
    again, with what cannot do without it, if the rest can do without them; the last name first.

Order and flags
 8. Order of installation, as libpkg/pkg_jobs_schedule.c: a package after its `deps`, of several
    possible ones the least name (strcmp). Libraries, features and formulas do not order.
 9. Where packages depend on each other in a circle (pkg refuses to install these): of the packages
    whose outstanding `deps` all lie in their own circle, the least name goes first.
10. A package is automatic unless a request means it.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.pkg.explain import absent_error, conflict_error
from pipeline.pkg.names import byte_order
from pipeline.pkg.problem import Problem, Reason, close, conflicts_among
from pipeline.pkg.search import search_providers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pipeline.pkg.depends import Requirement
    from pipeline.pkg.manifest import PackageManifest
    from pipeline.pkg.problem import Expand
    from pipeline.pkg.request import Request
    from pipeline.pkg.universe import Candidate, Universe


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPackage:
    """One package that was chosen."""

    candidate: Candidate
    automatic: bool
    reasons: tuple[Reason, ...]
    """Everyone who asked for it: requests first, then packages by name."""

    @property
    def name(self) -> str:
        """The package's name."""
        return self.candidate.record.name

    @property
    def asked_by(self) -> tuple[str | None, ...]:
        """Names of the packages that asked for it, sorted; None, first, for the request itself."""
        return tuple(dict.fromkeys(reason.parent for reason in self.reasons))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The answer: what one image adds to what is installed."""

    packages: tuple[ResolvedPackage, ...]
    """In install order."""
    requested: tuple[str, ...]
    """All names that requests mean, sorted; an installed one among them ceases to be automatic."""
    excused: tuple[tuple[str, Requirement], ...]
    """Pairs of (package, what it does without because `allow_missing` names it), sorted by name."""


def resolve(
    universe: Universe,
    requests: Iterable[Request],
    *,
    installed: Iterable[PackageManifest] = (),
    allow_missing: frozenset[str] = frozenset(),
) -> Resolution:
    """Find the packages that answer the requests, beside those that are installed.

    The answer does not depend on the order of requests, of `installed`, or of records.

    Raises:
        UnsatisfiedError: if something is asked for or required that nothing provides.
        ConflictError: if two things that are asked for exclude each other.
        ResolutionError: if the search for providers was given up.
    """
    problem = Problem.of_requests(
        universe, requests, installed=installed, allow_missing=allow_missing
    )
    expand = functools.cache(problem.expand)
    settled = close(problem, expand, problem.roots)
    if settled.absent:
        raise absent_error(problem, settled)
    conflicts = tuple(conflicts_among(problem, settled.reasons))
    if conflicts:
        raise conflict_error(problem, settled, conflicts)
    needs = _needs_of(expand, settled.reasons)
    if settled.open:
        found = search_providers(problem, expand, settled)
        needs = _prune(_needs_of(expand, found.union(settled.reasons)), found)
    reasons = _all_reasons(problem, needs)
    return Resolution(
        packages=tuple(
            ResolvedPackage(
                candidate=candidate,
                automatic=name not in problem.wanted,
                reasons=tuple(reasons[name]),
            )
            for name in install_order({n: problem.manifest(n) for n in needs})
            if (candidate := problem.select(name)) is not None
        ),
        requested=tuple(sorted((*problem.satisfied, *problem.wanted), key=byte_order)),
        excused=tuple((name, n.requirement) for name in needs for n in needs[name] if not n.met_by),
    )


@dataclass(frozen=True, slots=True)
class _Need:
    """A requirement of a new package that no installed one satisfies."""

    requirement: Requirement
    met_by: tuple[str, ...]
    """New packages that satisfy it; empty if it is excused."""


_Needs = Mapping[str, tuple[_Need, ...]]
"""The needs of each new package, sorted by its name."""


def _needs_of(expand: Expand, names: Iterable[str]) -> _Needs:
    new = frozenset(names)
    return {
        name: tuple(
            _Need(edge.requirement, tuple(p for p in edge.providers if p in new))
            for edge in expand(name)
        )
        for name in sorted(new, key=byte_order)
    }


def _prune(needs: _Needs, chosen: Collection[str]) -> _Needs:
    """Drop chosen packages that the rest can do without (rule 7)."""
    dependants: dict[str, list[tuple[str, tuple[str, ...]]]] = {name: [] for name in needs}
    for name, own in needs.items():
        for need in own:
            for provider in need.met_by:
                dependants[provider].append((name, need.met_by))
    kept = set(needs)
    for name in sorted(chosen, key=byte_order, reverse=True):
        if name in kept:
            fallen = _fall_with(name, kept, dependants)
            if fallen.issubset(chosen):
                kept -= fallen
    return {
        name: tuple(_Need(n.requirement, tuple(p for p in n.met_by if p in kept)) for n in own)
        for name, own in needs.items()
        if name in kept
    }


def _fall_with(
    name: str,
    kept: Collection[str],
    dependants: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]],
) -> set[str]:
    """Return a package and all that cannot stand without it."""
    fallen = {name}
    stack = [name]
    while stack:
        for dependant, met_by in dependants[stack.pop()]:
            if dependant not in kept or dependant in fallen:
                continue
            if not any(other in kept and other not in fallen for other in met_by):
                fallen.add(dependant)
                stack.append(dependant)
    return fallen


def _all_reasons(problem: Problem, needs: _Needs) -> dict[str, list[Reason]]:
    """Return everyone who asked for each package: requests, then packages by name."""
    reasons = {
        name: [Reason(None, request.text, None) for request in problem.wanted.get(name, ())]
        for name in needs
    }
    for parent, own in needs.items():
        for need in own:
            for name in need.met_by:
                reason = Reason(parent, need.requirement.text, need.requirement.kind)
                reasons[name].append(reason)
    return reasons


# ---------------------------------------------------------------- order


def install_order(manifests: Mapping[str, PackageManifest]) -> tuple[str, ...]:
    """Return the names so that each follows its `deps` (rules 8 and 9)."""
    waiting = {
        name: {d.name for d in manifest.deps if d.name in manifests and d.name != name}
        for name, manifest in manifests.items()
    }
    dependants: dict[str, list[str]] = {name: [] for name in manifests}
    for name, deps in waiting.items():
        for dep in deps:
            dependants[dep].append(name)
    ready = [(byte_order(name), name) for name, deps in waiting.items() if not deps]
    heapq.heapify(ready)
    order: list[str] = []
    while waiting:
        name = heapq.heappop(ready)[1] if ready else _first_of_circle(waiting)
        order.append(name)
        del waiting[name]
        for dependant in dependants[name]:
            if dependant in waiting:
                waiting[dependant].discard(name)
                if not waiting[dependant]:
                    heapq.heappush(ready, (byte_order(dependant), dependant))
    return tuple(order)


def _first_of_circle(waiting: Mapping[str, set[str]]) -> str:
    """Return the least name whose outstanding deps all lie in its own circle (rule 9)."""

    @functools.cache
    def reached_from(start: str) -> frozenset[str]:
        reached: set[str] = set()
        stack = [start]
        while stack:
            for name in waiting[stack.pop()] - reached:
                reached.add(name)
                stack.append(name)
        return frozenset(reached)

    return min(
        (
            name
            for name in waiting
            if all(name in reached_from(other) for other in reached_from(name))
        ),
        key=byte_order,
    )
