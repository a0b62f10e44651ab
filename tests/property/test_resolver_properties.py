"""Answers hold what they promise, and there is one whenever there can be one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.resolve.small import record, requests, universe
from pipeline.errors import ResolutionError
from pipeline.pkg.depends import RequirementKind, requirements_of
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.record import CatalogueRecord
from pipeline.pkg.resolver import Resolution, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

pytestmark = pytest.mark.property

NAMES = "abcdef"
LIBRARIES = ("l1", "l2", "l3")
FEATURES = ("f1", "f2")


Problem = tuple[dict[str, CatalogueRecord], list[str], list[PackageManifest], frozenset[str]]
"""Records by name, requested names, installed packages, `allow_missing`."""


def some(items: Sequence[str], most: int = 2) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(items), max_size=most, unique=True)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    records = {}
    for name in names:
        fields: dict[str, object] = {
            "deps": draw(some(names, 1)),
            "shlibs_required": draw(some(LIBRARIES)),
            "shlibs_provided": draw(some(LIBRARIES)),
            "requires": draw(some(FEATURES, 1)),
            "provides": draw(some(FEATURES)),
            "conflicts": draw(some(names, 1)) if draw(st.booleans()) else [],
        }
        if draw(st.integers(0, 4)) == 0:
            fields["dep_formula"] = " | ".join(draw(some(names))) or name
        records[name] = record(name, "1.0", **fields)
    requested = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    installed = [n for n in draw(some(names)) if n not in requested]
    allow_missing = frozenset(draw(some(LIBRARIES + FEATURES, 1)))
    return records, requested, [records[n].manifest for n in installed], allow_missing


def is_answer(problem: Problem, new: set[str]) -> bool:
    """Say whether the packages `new` satisfy every rule, by trying each of them."""
    records, requested, installed, allow_missing = problem
    present = [*(records[name].manifest for name in new), *installed]
    names = {manifest.name for manifest in present}
    every = [r.manifest for r in records.values()]
    for name in new:
        manifest = records[name].manifest
        for requirement in requirements_of(manifest):
            if any(requirement.is_satisfied_by(other) for other in present):
                continue
            excused = (
                requirement.text in allow_missing and requirement.kind is not RequirementKind.DEP
            )
            if not excused or any(requirement.is_satisfied_by(other) for other in every):
                return False
    clashes = any(
        other in names and other != manifest.name and not {manifest.name, other}.isdisjoint(new)
        for manifest in present
        for other in manifest.conflicts
    )
    return not clashes and set(requested) <= set(new)


def answers(problem: Problem) -> Iterator[set[str]]:
    records, requested, installed, _ = problem
    fixed = {manifest.name for manifest in installed}
    free = [name for name in records if name not in fixed and name not in requested]
    for count in range(len(free) + 1):
        for more in itertools.combinations(free, count):
            if is_answer(problem, {*requested, *more}):
                yield {*requested, *more}


def solve(problem: Problem, *, turn: bool = False) -> Resolution | ResolutionError:
    """Return the resolution, or the error; `turn` puts everything in reverse order."""
    records, requested, installed, allow_missing = problem
    step = -1 if turn else 1
    try:
        return resolve(
            universe(*list(records.values())[::step]),
            requests(*requested[::step]),
            installed=installed[::step],
            allow_missing=allow_missing,
        )
    except ResolutionError as e:
        return e


@settings(max_examples=100, deadline=None)
@given(problems())
def test_answer_satisfies_every_requirement_and_is_minimal(problem: Problem) -> None:
    """Against every subset of the packages: an answer if there is one, and none within another."""
    resolution = solve(problem)
    if isinstance(resolution, ResolutionError):
        assert str(resolution)
        assert resolution.causes
        assert not list(answers(problem)), "there is an answer"
        return
    found = {package.name for package in resolution.packages}
    assert is_answer(problem, found)
    assert not [other for other in answers(problem) if other < found], "there is a smaller answer"


@settings(max_examples=60, deadline=None)
@given(problems())
def test_answer_does_not_depend_on_any_order(problem: Problem) -> None:
    """Records, requests and installed packages the other way round: the same answer, or error."""
    one, other = solve(problem), solve(problem, turn=True)
    if isinstance(one, ResolutionError):
        assert isinstance(other, type(one))
        assert (str(one), one.hint, one.causes) == (str(other), other.hint, other.causes)
    else:
        assert one == other


def reaches(deps: Mapping[str, list[str]], start: str, goal: str) -> bool:
    reached: set[str] = set()
    stack = [start]
    while stack:
        for name in set(deps[stack.pop()]) - reached:
            reached.add(name)
            stack.append(name)
    return goal in reached


@settings(max_examples=80, deadline=None)
@given(problems())
def test_answer_is_explained_and_in_order(problem: Problem) -> None:
    """Everything has a reason that is there, and follows its deps unless in a circle with them."""
    resolution = solve(problem)
    if isinstance(resolution, ResolutionError):
        return
    place = {package.name: i for i, package in enumerate(resolution.packages)}
    deps = {
        package.name: [d.name for d in package.candidate.manifest.deps if d.name in place]
        for package in resolution.packages
    }
    assert set(resolution.requested) == set(problem[1])
    for package in resolution.packages:
        assert package.reasons
        assert package.automatic == (package.name not in problem[1])
        for reason in package.reasons:
            assert reason.parent is None or reason.parent in place
            assert (reason.kind is None) == (reason.parent is None)
        for dep in deps[package.name]:
            assert place[dep] < place[package.name] or reaches(deps, dep, package.name)
