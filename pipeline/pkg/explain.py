"""Errors of a resolution that failed: the chain from the request to what is missing or excluded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import ConflictError, ResolutionError, UnsatisfiedError
from pipeline.pkg.depends import Requirement, RequirementKind
from pipeline.pkg.problem import Reason, close, conflicts_among
from pipeline.pkg.universe import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.pkg.problem import Closure, Expand, Problem
    from pipeline.pkg.universe import Candidate

_MOST: Final = 3
"""Further faults that a hint lists."""


def chain_to(reasons: Mapping[str, Reason], name: str) -> tuple[Reason, ...]:
    """Return the reasons that lead from the request to a package, the request first."""
    chain: list[Reason] = []
    step: str | None = name
    while step is not None:
        chain.append(reasons[step])
        step = reasons[step].parent
    return tuple(reversed(chain))


def _causes(chain: Sequence[Reason]) -> tuple[tuple[str, str | None], ...]:
    return tuple((reason.text, reason.parent) for reason in chain)


def describe_chain(problem: Problem, reasons: Mapping[str, Reason], name: str) -> str:
    """Write a chain out: `request 'a' -> a-1.0 -> b-1.0`."""
    if name in problem.installed:
        return f"{problem.installed[name].name_version} of the parent image"
    chain = chain_to(reasons, name)
    packages = [reason.parent for reason in chain if reason.parent is not None] + [name]
    steps = " -> ".join(problem.manifest(package).name_version for package in packages)
    return f"request {chain[0].text!r} -> {steps}"


def absent_error(problem: Problem, closure: Closure) -> UnsatisfiedError:
    """Explain requirements that nothing satisfies; the first one in full."""
    (name, requirement), *others = closure.absent
    hints = [_advice(problem, name, requirement)]
    if others:
        listed = ", ".join(
            f"{r.text} for {problem.manifest(n).name_version}" for n, r in others[:_MOST]
        )
        more = f" and {len(others) - _MOST} more" if len(others) > _MOST else ""
        hints.append(f"missing too: {listed}{more}")
    return UnsatisfiedError(
        f"{describe_chain(problem, closure.reasons, name)}:"
        f" {_ABSENCES[requirement.kind]} {requirement.text!r}",
        causes=[
            cause
            for package, missing in closure.absent
            for cause in (
                *_causes(chain_to(closure.reasons, package)),
                (missing.text, package),
            )
        ],
        hint="; ".join(filter(None, hints)) or None,
    )


_ABSENCES: Final = {
    RequirementKind.DEP: "no repository has package",
    RequirementKind.FORMULA: "nothing satisfies",
    RequirementKind.SHLIB: "nothing provides shared library",
    RequirementKind.REQUIRES: "nothing provides",
}


def conflict_error(
    problem: Problem, closure: Closure, pairs: Sequence[tuple[str, str]]
) -> ConflictError:
    """Explain the first of several conflicts, with why each of the two is there."""
    name, other = pairs[0]
    causes: list[tuple[str, str | None]] = []
    for side in (name, other):
        if side not in problem.installed:
            causes += _causes(chain_to(closure.reasons, side))
    more = f"{len(pairs) - 1} more conflicts; " if len(pairs) > 1 else ""
    return ConflictError(
        f"{problem.manifest(name).name_version} conflicts with"
        f" {problem.manifest(other).name_version}:"
        f" {describe_chain(problem, closure.reasons, name)};"
        f" {describe_chain(problem, closure.reasons, other)}",
        causes=causes,
        hint=f"{more}one of the two has to go from the declaration",
    )


def dead_end_error(problem: Problem, expand: Expand, closure: Closure) -> ResolutionError:
    """Explain why no choice of providers works: the nearest choice all of whose options fail."""
    fallback: ResolutionError | None = None
    for name, edge in closure.open:
        reason = Reason(name, edge.requirement.text, edge.requirement.kind)
        failures = [
            (provider, _failure(problem, expand, {**closure.reasons, provider: reason}))
            for provider in edge.providers
        ]
        error = _choice_error(problem, closure, (name, edge.requirement), failures)
        if all(failure is not None for _, failure in failures):
            return error
        fallback = fallback or error
    assert fallback is not None, "a closure without open requirements has no dead end"
    return fallback


def _failure(
    problem: Problem, expand: Expand, roots: Mapping[str, Reason]
) -> ResolutionError | None:
    """Return what goes wrong at once with these packages; None if it fails further on."""
    tried = close(problem, expand, roots)
    if tried.absent:
        return absent_error(problem, tried)
    pairs = list(conflicts_among(problem, tried.reasons))
    return conflict_error(problem, tried, pairs) if pairs else None


def _choice_error(
    problem: Problem,
    closure: Closure,
    choice: tuple[str, Requirement],
    failures: Sequence[tuple[str, ResolutionError | None]],
) -> ResolutionError:
    name, requirement = choice
    listed = "; ".join(
        f"{problem.manifest(provider).name_version}: {failure or 'leads to no answer'}"
        for provider, failure in failures
    )
    conflicts = all(isinstance(failure, ConflictError) for _, failure in failures)
    kind = ConflictError if conflicts else UnsatisfiedError
    causes = [
        *_causes(chain_to(closure.reasons, name)),
        (requirement.text, name),
        *(cause for _, failure in failures if failure for cause in failure.causes),
    ]
    return kind(
        f"{describe_chain(problem, closure.reasons, name)}: no way to provide"
        f" {requirement.text!r}: {listed}",
        causes=list(dict.fromkeys(causes)),
        hint="; ".join(dict.fromkeys(f.hint for _, f in failures if f and f.hint)) or None,
    )


# ---------------------------------------------------------------- advice


def _advice(problem: Problem, asking: str, requirement: Requirement) -> str:
    """Say why nothing satisfies a requirement, or what comes nearest."""
    excuse = f"allow_missing = [{_toml(requirement.text)}] does without it"
    if requirement.kind is RequirementKind.DEP:
        excuse = ""
    found = _unfit(problem, requirement) or _resembling(problem, asking, requirement)
    return "; ".join(filter(None, (found, excuse)))


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unfit(problem: Problem, requirement: Requirement) -> str:
    """Name a package that would satisfy the requirement if it could be chosen."""
    universe = problem.universe
    for name in universe.providers(requirement):
        for candidate in universe.candidates[name]:
            if requirement.is_satisfied_by(candidate.manifest):
                return f"{candidate} would do, but {_instead_of(problem, candidate)}"
    for alternative in requirement.alternatives:
        for candidate in universe.candidates.get(alternative.name, ()):
            return f"there is {candidate}"
    for candidates in universe.too_new.values():
        for candidate in candidates:
            if requirement.is_satisfied_by(candidate.manifest):
                return f"{candidate} is for a newer FreeBSD than {universe.osversion}"
    return ""


def _instead_of(problem: Problem, candidate: Candidate) -> str:
    """Say what stands for the name of a candidate that was passed over."""
    name, version = candidate.record.name, candidate.record.version
    taken = problem.manifest(name).name_version
    if name in problem.installed:
        return f"the parent image has {taken}"
    return f"{name} is {taken} here; {name}={version} would choose it"


def _resembling(problem: Problem, asking: str, requirement: Requirement) -> str:
    universe = problem.universe
    if requirement.kind in (RequirementKind.DEP, RequirementKind.FORMULA):
        wanted = [alternative.name for alternative in requirement.alternatives]
        near = universe.nearest_names(wanted[0] if wanted else requirement.text)
        listed = ", ".join(name for name in near if name != asking)
        return f"the nearest names are {listed}" if listed else ""
    provided = universe.shlibs if requirement.kind is RequirementKind.SHLIB else universe.features
    near = nearest(requirement.text, provided)
    listed = ", ".join(f"{text} of {provided[text][0]}" for text in near)
    return f"the nearest are {listed}" if listed else ""
