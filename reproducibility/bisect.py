"""Find the variations that a difference is due to.

Everything that can be held is held, and the smallest part of the graph that differs is built again
and again, with fewer and fewer variations let go: first all, then halves of what is left. One guilty
variation among 24 takes about six builds.

1. Two builds with everything held, and a third when somebody has been found guilty. What differs
   between them differs on every run: no variation is to blame, but chance (random names, a race),
   or what cannot be held on this machine.
2. A set of variations under which nothing differs is innocent, as a whole.
3. A set under which something differs, though under neither half, holds a combination: those of it
   are guilty, together, whose absence makes the difference go away.
4. The same for builds that fail, where the held one does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from reproducibility.outcomes import differing, frontier
from reproducibility.variations import apply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reproducibility.double_build import Build
    from reproducibility.recipe import Recipe
    from reproducibility.variations import Choice

FAILURE: Final = "failure"
"""Stands for a task where a build failed as a whole."""


class Builds(Protocol):
    """What builds: `double_build.Builder`."""

    def build(self, label: str, recipe: Recipe, tasks: Sequence[str]) -> Build:
        """Build some tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guilt:
    """Variations that make tasks give something else; several only do so together."""

    choices: tuple[Choice, ...]
    tasks: tuple[str, ...]
    build: Build
    """The build with these variations, and no others, let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection:
    """Who is guilty of what."""

    held: Build
    tasks: tuple[str, ...]
    """The smallest part of the graph that differs; it was built again."""
    unstable: tuple[str, ...]
    """Tasks that give something else on every run, everything held."""
    again: Build | None
    """A second held build that was different."""
    guilty: tuple[Guilt, ...]
    unexplained: tuple[str, ...]
    """Tasks that differ in a hostile build, and for which no variation could be blamed."""
    builds: int

    @property
    def names(self) -> tuple[str, ...]:
        """The guilty variations, each once."""
        found = (choice.variation for guilt in self.guilty for choice in guilt.choices)
        return tuple(dict.fromkeys(found))


@dataclass(slots=True)
class _Search:
    """What a search carries along."""

    builder: Builds
    held: Build
    stable: frozenset[str]
    count: int = 0
    guilty: list[Guilt] = field(default_factory=list)

    def differing(
        self, label: str, choices: Sequence[Choice], tasks: frozenset[str]
    ) -> tuple[frozenset[str], Build]:
        """Build with some variations let go; return which of the tasks differ from the held."""
        self.count += 1
        recipe = apply(self.held.recipe, (choice.setting for choice in choices))
        wanted = sorted(tasks - {FAILURE}) or list(self.held.tasks)
        build = self.builder.build(f"{self.count + 1:03d}-{label}", recipe, wanted)
        if build.failure:
            return tasks & {FAILURE}, build
        return differing(self.held.outcomes, build.outcomes) & tasks, build


    def acquit(self, tasks: frozenset[str]) -> None:
        """Forget what has been said about tasks."""
        kept = []
        for guilt in self.guilty:
            left = tuple(task for task in guilt.tasks if task not in tasks)
            if left:
                kept.append(replace(guilt, tasks=left))
        self.guilty = kept


def bisect(
    builder: Builds,
    held: Build,
    rounds: Iterable[tuple[tuple[Choice, ...], Build]],
    *,
    graph: Mapping[str, tuple[str, ...]],
) -> Bisection:
    """Find the guilty variations of some hostile builds.

    Args:
        builder: builds.
        held: a build of everything with everything held.
        rounds: hostile builds, and what was let go in each.
        graph: which task builds on which.
    """
    builds = list(rounds)
    found = {id(build): _differences(held, build) for _, build in builds}
    begins = frontier(frozenset().union(*found.values()) - {FAILURE}, graph)
    failed = any(FAILURE in tasks for tasks in found.values())
    search = _Search(builder, held, begins | ({FAILURE} if failed else frozenset()))
    again = None
    unstable: frozenset[str] = frozenset()
    if begins:
        # (1) does it differ by itself?
        unstable, build = search.differing("held-again", (), begins)
        again = build if unstable else None
        search.stable -= unstable
    # (2) and (3) what makes the rest differ, hostile build by hostile build
    explained: set[str] = set()
    for choices, build in builds:
        tasks = (found[id(build)] & search.stable) - explained
        if tasks:
            _halve(search, _effective(held, choices), frozenset(tasks), is_certain=True)
            explained.update(task for guilt in search.guilty for task in guilt.tasks)
    if explained - {FAILURE}:
        chance, build = search.differing("held-at-last", (), frozenset(explained))
        if chance:
            again = again or build
            unstable |= chance
            search.acquit(chance)
    left = frozenset().union(*found.values()) & search.stable - explained - unstable
    return Bisection(
        held=held,
        tasks=tuple(sorted(begins)),
        unstable=tuple(sorted(unstable)),
        again=again,
        guilty=tuple(search.guilty),
        unexplained=tuple(sorted(left)),
        builds=search.count,
    )


def _differences(held: Build, build: Build) -> frozenset[str]:
    if build.failure:
        return frozenset({FAILURE})
    return differing(held.outcomes, build.outcomes)


def _effective(held: Build, choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Return the choices that change anything: a hostile value may be the held one."""
    return tuple(c for c in choices if c.setting.change(held.recipe) != held.recipe)


def _halve(
    search: _Search, choices: Sequence[Choice], tasks: frozenset[str], *, is_certain: bool
) -> frozenset[str]:
    """Find the guilty among some variations; return the tasks that are explained.

    Args:
        search: what is known.
        choices: the suspects.
        tasks: what they may have done.
        is_certain: whether all of them together are known to make all of the tasks differ.
    """
    if not choices or not tasks:
        return frozenset()
    if len(choices) == 1 or not is_certain:
        label = choices[0].variation if len(choices) == 1 else f"{len(choices)}-variations"
        tasks, build = search.differing(label, choices, tasks)
        if len(choices) == 1 and tasks:
            guilt = Guilt(choices=(choices[0],), tasks=tuple(sorted(tasks)), build=build)
            search.guilty.append(guilt)
        if len(choices) == 1 or not tasks:
            return tasks
    middle = len(choices) // 2
    left = _halve(search, choices[:middle], tasks, is_certain=False)
    right = _halve(search, choices[middle:], tasks, is_certain=not left)
    alone = left | right
    if tasks - alone:
        alone |= _combination(search, choices, tasks - alone)
    return alone


def _combination(
    search: _Search, choices: Sequence[Choice], tasks: frozenset[str]
) -> frozenset[str]:
    """Find those of some variations that make tasks differ only together."""
    together, _ = search.differing("together", choices, tasks)
    if not together:
        return together
    tasks = together
    needed = list(choices)
    for choice in choices:
        fewer = [c for c in needed if c is not choice]
        without, _ = search.differing(f"without-{choice.variation}", fewer, tasks)
        if without == tasks:
            needed = fewer
    still, build = search.differing("together", needed, tasks)
    if still:
        guilt = Guilt(choices=tuple(needed), tasks=tuple(sorted(still)), build=build)
        search.guilty.append(guilt)
    return still
