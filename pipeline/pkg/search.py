"""The search among providers, by resolvelib: rules 5 to 7 of `pipeline.pkg.resolver`.

What follows without a choice is settled before the search starts. The keys of the search are the
requirements that several packages satisfy; their candidates are these packages, each with all that
it brings in without a choice. To find conflicts between what two choices bring in, a package that
some package's `conflicts` names is a key as well, with presence or absence as its candidate.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

from resolvelib import BaseReporter, Resolver
from resolvelib.providers import AbstractProvider
from resolvelib.resolvers import ResolutionImpossible, ResolutionTooDeep

from pipeline.errors import ResolutionError
from pipeline.pkg.depends import RequirementKind, shlibs_provided
from pipeline.pkg.explain import dead_end_error
from pipeline.pkg.names import byte_order
from pipeline.pkg.problem import Reason, close

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from resolvelib.structs import RequirementInformation, State

    from pipeline.pkg.depends import Requirement
    from pipeline.pkg.manifest import PackageManifest
    from pipeline.pkg.problem import Closure, Edge, Expand, Problem

MAX_ROUNDS: Final = 20_000
"""Steps after which the search gives up; real repositories need as many as there are choices."""


def search_providers(problem: Problem, expand: Expand, settled: Closure) -> frozenset[str]:
    """Return the packages that satisfy what is open in `settled`, in addition to it.

    Raises:
        ResolutionError: UnsatisfiedError or ConflictError if no choice of providers works; its base
            class if the search was given up.
    """
    provider = _Provider(problem, expand, settled)
    resolver = Resolver(provider, _Progress(provider))
    try:
        result = resolver.resolve(provider.wishes(settled.open), max_rounds=MAX_ROUNDS)
    except ResolutionImpossible:
        raise dead_end_error(problem, expand, settled) from None
    except ResolutionTooDeep:
        raise ResolutionError(
            f"no answer within {MAX_ROUNDS} steps",
            hint="name the providers that you want among the packages",
        ) from None
    return frozenset(
        name for choice in _choices_of(result.mapping) for name in provider.brought_by(choice)
    )


class _Key(NamedTuple):
    """What a wish is about."""

    kind: RequirementKind
    """DEP: whether the package of this name is there."""
    text: str


class _Pin(NamedTuple):
    """A decision."""

    key: _Key
    name: str | None
    """The package that satisfies the key; None: the package stays out."""


class _Wish(NamedTuple):
    """What the search has to satisfy."""

    key: _Key
    edge: Edge | None
    """The requirement with its providers; None for a package."""
    repository: str
    """Where the package comes from that asks."""
    is_absence: bool
    """The package is to stay out."""


def _choices_of(mapping: Mapping[_Key, _Pin]) -> list[str]:
    return [
        pin.name
        for key, pin in mapping.items()
        if key.kind is not RequirementKind.DEP and pin.name is not None
    ]


class _Provider(AbstractProvider[_Wish, _Pin, _Key]):
    """What resolvelib asks."""

    def __init__(self, problem: Problem, expand: Expand, settled: Closure) -> None:
        self._problem = problem
        self._here = settled.reasons.keys() | problem.installed.keys()
        self._excluded = {
            other for name in self._here for other in problem.manifest(name).conflicts
        }
        self.choices: Sequence[str] = ()
        """Providers that the search has chosen so far; `_Progress` keeps it."""

        @functools.cache
        def close_over(name: str) -> Closure:
            roots = {} if name in self._here else {name: Reason(None, name, None)}
            return close(problem, expand, roots, present=self._here)

        self._close_over = close_over

    def brought_by(self, name: str) -> Collection[str]:
        """Return a provider and what it brings in without a choice."""
        return self._close_over(name).reasons.keys()

    def wishes(self, edges: Iterable[tuple[str, Edge]]) -> list[_Wish]:
        """Return wishes for pairs of (package, what it requires)."""
        found = []
        for name, edge in edges:
            candidate = self._problem.select(name)
            assert candidate is not None, "installed packages are not asked again"
            key = _Key(edge.requirement.kind, edge.requirement.text)
            found.append(_Wish(key, edge, candidate.repository, is_absence=False))
        return found

    def identify(self, requirement_or_candidate: _Wish | _Pin) -> _Key:
        return requirement_or_candidate.key

    def get_preference(
        self,
        identifier: _Key,
        resolutions: Mapping[_Key, _Pin],  # noqa: ARG002 - resolvelib's signature
        candidates: Mapping[_Key, Iterator[_Pin]],
        information: Mapping[_Key, Iterator[RequirementInformation[_Wish, _Pin]]],  # noqa: ARG002
        backtrack_causes: Sequence[RequirementInformation[_Wish, _Pin]],  # noqa: ARG002
    ) -> tuple[int, str, bytes]:
        """Settle packages before choices, and choices among few before others (rule 5)."""
        is_package = identifier.kind is RequirementKind.DEP
        options = 0 if is_package else sum(1 for _ in candidates[identifier])
        return options, identifier.kind, byte_order(identifier.text)

    def find_matches(
        self,
        identifier: _Key,
        requirements: Mapping[_Key, Iterator[_Wish]],
        incompatibilities: Mapping[_Key, Iterator[_Pin]],
    ) -> Sequence[_Pin] | Callable[[], Iterable[_Pin]]:
        """Return the decisions that are left for a key, best first."""
        wishes = list(requirements[identifier])
        ruled_out = set(incompatibilities[identifier])
        edge = wishes[0].edge
        if edge is None:
            absences = {wish.is_absence for wish in wishes}
            names = [None if is_absence else identifier.text for is_absence in absences]
            pins = [_Pin(identifier, name) for name in names]
            return [pin for pin in pins if pin not in ruled_out] if len(pins) == 1 else []
        repositories = {wish.repository for wish in wishes}
        ranked = [_Pin(identifier, name) for name in self._ranked(edge, repositories)]
        left = [pin for pin in ranked if pin not in ruled_out]
        return lambda: sorted(left, key=lambda pin: not self._is_taken(pin.name))

    def is_satisfied_by(self, requirement: _Wish, candidate: _Pin) -> bool:
        return requirement.is_absence == (candidate.name is None)

    def get_dependencies(self, candidate: _Pin) -> Iterable[_Wish]:
        """Return what a decision brings with it: further choices, and grounds for conflicts."""
        if candidate.key.kind is RequirementKind.DEP or candidate.name is None:
            return []
        closure = self._close_over(candidate.name)
        wishes = self.wishes(closure.open)
        for name in closure.reasons:
            if name in self._problem.universe.contested:
                wishes.append(_Wish(_Key(RequirementKind.DEP, name), None, "", is_absence=False))
            for other in self._problem.manifest(name).conflicts:
                if other != name:
                    key = _Key(RequirementKind.DEP, other)
                    wishes.append(_Wish(key, None, "", is_absence=True))
        return wishes

    def _is_taken(self, name: str | None) -> bool:
        return any(name in self.brought_by(choice) for choice in self.choices)

    def _is_possible(self, name: str) -> bool:
        """Tell whether a provider can stand beside what is settled."""
        closure = self._close_over(name)
        return (
            not closure.absent
            and self._excluded.isdisjoint(closure.reasons)
            and not any(
                other != own and (other in self._here or other in closure.reasons)
                for own in closure.reasons
                for other in self._problem.manifest(own).conflicts
            )
        )

    def _ranked(self, edge: Edge, repositories: set[str]) -> list[str]:
        """Return the possible providers, best first whatever the search has chosen (rule 6)."""

        def rank(name: str) -> tuple[int, bool, int, int, int, bytes]:
            candidate = self._problem.select(name)
            assert candidate is not None, "providers are selectable"
            manifest = candidate.manifest
            return (
                _place_in_formula(edge.requirement, manifest),
                candidate.repository not in repositories,
                len(shlibs_provided(manifest)) + len(manifest.provides),
                len(self.brought_by(name)),
                -candidate.priority,
                byte_order(name),
            )

        return sorted(filter(self._is_possible, edge.providers), key=rank)


def _place_in_formula(requirement: Requirement, manifest: PackageManifest) -> int:
    satisfied = (a.is_satisfied_by(manifest) for a in requirement.alternatives)
    return next((place for place, found in enumerate(satisfied) if found), 0)


class _Progress(BaseReporter[_Wish, _Pin, _Key]):
    """Tells the provider what is chosen, so that it prefers what is there (rule 6)."""

    def __init__(self, provider: _Provider) -> None:
        self._provider = provider

    def ending_round(self, index: int, state: State[_Wish, _Pin, _Key]) -> None:  # noqa: ARG002
        self._provider.choices = _choices_of(state.mapping)
