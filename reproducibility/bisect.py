"""Find the variations that a difference is due to.

Everything that can be held is held, and the smallest part of the graph that differs is built again
and again, with fewer and fewer variations let go: first all, then halves of what is left. One
guilty variation among 24 takes at most eleven builds.

1. Two builds with everything held, and a third when somebody has been found guilty. What differs
   between them differs on every run: no variation is to blame, but chance (random names, a race),
   or what cannot be held on this machine.
   A task that gives something else only because other tasks are not built beside it is built with
   all of them from then on.
2. A set of variations under which nothing differs is innocent, as a whole.
   A variation that consists of parts (variables of the environment) is taken apart in the same way.
3. A set under which something differs, though under neither half, holds a combination: those of it
   are guilty, together, whose absence makes the difference go away.
4. The same for builds that fail, where the held one does not. Where a build fails that was to show
   something else, it shows nothing: its variations are tried in smaller groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from reproducibility.choices import apply
from reproducibility.outcomes import differing, frontier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reproducibility.choices import Choice
    from reproducibility.double_build import Build
    from reproducibility.recipe import Recipe

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
    guilty: tuple[Guilt, ...]
    unexplained: tuple[str, ...]
    """Tasks that differ in a hostile build, and for which no variation could be blamed."""
    builds: int

    @property
    def names(self) -> tuple[str, ...]:
        """The guilty variations, each once."""
        found = (choice.variation for guilt in self.guilty for choice in guilt.choices)
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Try:
    """What a build with some variations let go has shown."""

    build: Build
    tasks: frozenset[str]
    """Those that differ; if the build failed, those that may."""
    is_certain: bool


@dataclass(slots=True)
class _Search:
    """What a search carries along."""

    builder: Builds
    held: Build
    stable: frozenset[str]
    wide: frozenset[str] = frozenset()
    """Tasks that depend on what else is built."""
    count: int = 0
    guilty: list[Guilt] = field(default_factory=list)
    done: list[tuple[tuple[Choice, ...], Build]] = field(default_factory=list)

    def attempt(self, label: str, choices: Sequence[Choice], tasks: frozenset[str]) -> _Try:
        """Build with some variations let go, and see which of the tasks differ from the held."""
        build = self._known(tuple(choices), tasks) or self._build(label, choices, tasks)
        if build.failure:
            return _Try(build, tasks, is_certain=FAILURE in tasks)
        found = differing(self.held.outcomes, build.outcomes) & tasks
        return _Try(build, found, is_certain=True)

    def _known(self, choices: tuple[Choice, ...], tasks: frozenset[str]) -> Build | None:
        """Return a build that has been done already; not one of held variations alone."""
        for done, build in self.done if choices else ():
            if done == choices and (tasks <= set(build.tasks) or tasks <= build.outcomes.keys()):
                return build
        return None

    def _build(self, label: str, choices: Sequence[Choice], tasks: frozenset[str]) -> Build:
        self.count += 1
        recipe = apply(self.held.recipe, (choice.setting for choice in choices))
        is_wide = FAILURE in tasks or tasks & self.wide
        wanted = self.held.tasks if is_wide else tuple(sorted(tasks))
        build = self.builder.build(f"{self.count + 1:03d}-{label}", recipe, wanted)
        self.done.append((tuple(choices), build))
        return build

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
    unstable: frozenset[str] = frozenset()
    if begins:
        # (1) does it differ by itself?
        changed = search.attempt("held-again", (), begins).tasks
        search.wide = changed
        if changed:
            unstable = search.attempt("held-once-more", (), changed).tasks
            search.wide -= unstable
            search.stable -= unstable
    # (2) and (3) what makes the rest differ, hostile build by hostile build
    explained: set[str] = set()
    for choices, build in builds:
        tasks = (found[id(build)] & search.stable) - explained
        if tasks:
            _halve(search, _effective(held, choices), frozenset(tasks), is_certain=True)
            explained.update(task for guilt in search.guilty for task in guilt.tasks)
    if explained - {FAILURE}:
        chance = search.attempt("held-at-last", (), frozenset(explained) - {FAILURE}).tasks
        unstable |= chance
        search.acquit(chance)
    left = frozenset().union(*found.values()) & search.stable - explained - unstable
    return Bisection(
        held=held,
        tasks=tuple(sorted(begins)),
        unstable=tuple(sorted(unstable)),
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
    if len(choices) == 1:
        return _try_one(search, choices[0], tasks)
    if not is_certain:
        tried = search.attempt(f"{len(choices)}-variations", choices, tasks)
        tasks, is_certain = tried.tasks, tried.is_certain
        if not tasks:
            return tasks
    middle = len(choices) // 2
    left = _halve(search, choices[:middle], tasks, is_certain=False)
    right = _halve(search, choices[middle:], tasks, is_certain=is_certain and not left)
    alone = left | right
    if is_certain and tasks - alone:
        alone |= _combination(search, choices, tasks - alone)
    return alone


def _try_one(search: _Search, choice: Choice, tasks: frozenset[str]) -> frozenset[str]:
    tried = search.attempt(choice.variation, (choice,), tasks)
    if not tried.is_certain or not tried.tasks:
        return frozenset()
    parts = [replace(choice, setting=part) for part in choice.setting.parts]
    left = tried.tasks - _halve(search, parts, tried.tasks, is_certain=True)
    if left:
        names = tuple(sorted(left))
        search.guilty.append(Guilt(choices=(choice,), tasks=names, build=tried.build))
    return tried.tasks


def _combination(
    search: _Search, choices: Sequence[Choice], tasks: frozenset[str]
) -> frozenset[str]:
    """Find those of some variations that make tasks differ only together."""
    together = search.attempt("together", choices, tasks)
    if not together.is_certain or not together.tasks:
        return frozenset()
    tasks = together.tasks
    needed = list(choices)
    for choice in choices:
        fewer = [c for c in needed if c is not choice]
        without = search.attempt(f"without-{choice.variation}", fewer, tasks)
        if without.is_certain and without.tasks == tasks:
            needed = fewer
    last = search.attempt("together", needed, tasks)
    if last.is_certain and last.tasks:
        names = tuple(sorted(last.tasks))
        search.guilty.append(Guilt(choices=tuple(needed), tasks=names, build=last.build))
    return last.tasks if last.is_certain else frozenset()
