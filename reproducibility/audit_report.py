"""From what an audit has seen to its report: a matrix of variations by images, and sentences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from reproducibility.bisect import FAILURE
from reproducibility.findings import Cell, Matrix, Report, Row, Timing
from reproducibility.machine import Ability, Isolation
from reproducibility.outcomes import dependencies, is_said, needs, tasks_of
from reproducibility.verdict import Verdict
from reproducibility.wording import some_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.stages.plan import Plan
    from reproducibility.bisect import Bisection, Guilt
    from reproducibility.choices import Choice, Variation
    from reproducibility.double_build import Build
    from reproducibility.findings import Comparison
    from reproducibility.machine import Machine
    from reproducibility.made import Made

EVERYTHING: Final = "all of them"
REPETITION: Final = "repetition"
FIRST: Final = "first build"
"""Lines of the matrix that are no variations."""

_NOT_APPLIED: Final = Cell(verdict=None, text="not applied")
_IDENTICAL: Final = Cell(verdict=Verdict.REPRODUCIBLE, text="identical")
_INNOCENT: Final = Cell(verdict=Verdict.REPRODUCIBLE, text="not the reason")
_DIFFERS: Final = Cell(verdict=Verdict.DIFFERENT, text="differs")
_SAID_DIFFERS: Final = Cell(verdict=Verdict.DIFFERENT, text="documents differ")
_ANYWAY: Final = Cell(verdict=None, text="differs anyway")
_UNASKED: Final = Cell(verdict=Verdict.DIFFERENT, text="differs, with others")
_UNEXPLAINED: Final = Cell(verdict=Verdict.UNKNOWN, text="not explained")
_FAILED: Final = Cell(verdict=None, text="build failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileBuild:
    """A build with all variations at once."""

    choices: tuple[Choice, ...]
    build: Build
    made: Made


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that an audit has seen."""

    plan: Plan
    machine: Machine
    variations: tuple[Variation, ...]
    first: Made
    hostile: tuple[HostileBuild, ...]
    comparisons: tuple[Comparison, ...]
    bisection: Bisection | None
    is_stale: bool
    """Whether the first build is another one than all of the audit's, which agree."""
    notes: tuple[str, ...]
    builds: int
    milliseconds: int

    def differs(self, reference: str) -> bool:
        """Say whether an image, or what is said of it, is not in all builds that of the first."""
        return any(self.first.differs(h.made, reference) for h in self.hostile)

    def image_differs(self, reference: str) -> bool:
        """Say whether an image itself is not in all builds that of the first."""
        return any(self.first.image_differs(h.made, reference) for h in self.hostile)


def make_report(seen: Seen, *, title: str, generated: str | None, tools: tuple[str, ...]) -> Report:
    """Put an audit into a report."""
    return Report(
        title=title,
        comparisons=seen.comparisons,
        matrix=_Rows(seen).matrix(),
        notes=tuple(_notes(seen)),
        generated=generated,
        tools=tools,
        timings=(
            *(
                Timing(name=f"build {h.build.label}", milliseconds=h.build.milliseconds)
                for h in seen.hostile
            ),
            Timing(
                name=f"all {seen.builds} builds, and what was made of them",
                milliseconds=seen.milliseconds,
            ),
        ),
    )


# ---------------------------------------------------------------- the matrix


class _Rows:
    """Makes the lines of the matrix."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._references = tuple(seen.plan.references())
        graph = dependencies(seen.plan)
        self._needs = {
            reference: needs(tasks_of(plans), graph)
            for reference, plans in seen.plan.references().items()
        }
        bisection = seen.bisection
        self._guilty = bisection.guilty if bisection else ()
        self._unstable = self._affected(bisection.unstable if bisection else ())
        self._unexplained = self._affected(bisection.unexplained if bisection else ())

    def matrix(self) -> Matrix:
        """Return variations by images."""
        return Matrix(
            title="Variations",
            corner="Variation",
            columns=self._references,
            rows=(*self._others(), *map(self._variation, self._seen.variations)),
        )

    def _affected(self, tasks: Iterable[str]) -> frozenset[str]:
        """Return the images that tasks work for."""
        wanted = frozenset(tasks)
        return frozenset(name for name, needed in self._needs.items() if needed & wanted)

    def _others(self) -> Iterator[Row]:
        done = [h for h in self._seen.hostile if not h.build.failure]
        if done:
            cells = (self._whole(reference) for reference in self._references)
            detail = f"every variation at once, in {len(done)} builds"
            yield Row(name=EVERYTHING, detail=detail, guilty=False, cells=tuple(cells))
        if self._unstable:
            cells = (_DIFFERS if r in self._unstable else _IDENTICAL for r in self._references)
            detail = "the same build once more, with everything held that can be"
            yield Row(name=REPETITION, detail=detail, guilty=True, cells=tuple(cells))
        if self._seen.is_stale:
            cells = (self._whole(reference) for reference in self._references)
            detail = "the layout as it was, and any build of the audit"
            yield Row(name=FIRST, detail=detail, guilty=True, cells=tuple(cells))

    def _whole(self, reference: str) -> Cell:
        """Say of an image whether it differs, or only what is said of it."""
        if self._seen.image_differs(reference):
            return _DIFFERS
        return _SAID_DIFFERS if self._seen.differs(reference) else _IDENTICAL

    def _variation(self, variation: Variation) -> Row:
        applied = [
            h for h in self._seen.hostile if any(c.variation == variation.name for c in h.choices)
        ]
        guilty = [g for g in self._guilty if variation.name in {c.variation for c in g.choices}]
        return Row(
            name=variation.name,
            detail=_detail(variation),
            guilty=bool(guilty),
            cells=tuple(
                self._cell(reference, variation, guilty, applied) for reference in self._references
            ),
        )

    def _cell(
        self,
        reference: str,
        variation: Variation,
        guilty: list[Guilt],
        applied: list[HostileBuild],
    ) -> Cell:
        if not applied:
            return _NOT_APPLIED
        for guilt in guilty:
            others = [c.variation for c in guilt.choices if c.variation != variation.name]
            together = f" with {', '.join(others)}" if others else ""
            if FAILURE in guilt.tasks:
                return Cell(verdict=Verdict.UNKNOWN, text=f"build fails{together}")
            reached = self._needs[reference].intersection(guilt.tasks)
            if reached:
                cell = _SAID_DIFFERS if all(map(is_said, reached)) else _DIFFERS
                return replace(cell, text=f"{cell.text}{together}")
        if all(h.build.failure for h in applied):
            return _FAILED
        return self._innocent(reference) if self._seen.differs(reference) else _IDENTICAL

    def _innocent(self, reference: str) -> Cell:
        """Say of an image that differs, though not because of this variation, what that means."""
        if reference in self._unstable or self._seen.is_stale:
            return _ANYWAY
        if self._seen.bisection is None:
            return _UNASKED
        if reference in self._unexplained:
            return _UNEXPLAINED
        return _INNOCENT


def _detail(variation: Variation) -> str:
    """Say what was varied from what to what, or why not."""
    impossible = "; ".join(variation.impossible)
    if not variation.is_possible:
        return f"{variation.title}: not possible here: {impossible}"
    names = ", ".join(dict.fromkeys(setting.name for setting in variation.hostile))
    text = f"{variation.title}: {variation.held.name} → {names}"
    return f"{text} (not {impossible})" if impossible else text


# ---------------------------------------------------------------- sentences


def _notes(seen: Seen) -> Iterator[str]:
    yield from seen.notes
    yield from _accusations(seen)
    for h in seen.hostile:
        if h.build.failure:
            yield f"{h.build.label} failed: {h.build.failure}"
    for variation in seen.variations:
        if not variation.is_possible:
            yield f"{variation.name} was not varied: {'; '.join(variation.impossible)}"
    yield _isolation(seen.machine)


def _accusations(seen: Seen) -> Iterator[str]:
    bisection = seen.bisection
    if bisection is None:
        return
    for guilt in bisection.guilty:
        names = " and ".join(str(choice) for choice in guilt.choices)
        if FAILURE in guilt.tasks:
            yield f"the build fails with {names}: {guilt.build.failure}"
        else:
            yield f"guilty: {names}; it begins at {some_of(guilt.tasks)}"
    if bisection.unstable:
        yield (
            f"differs on every run, whatever is varied: {some_of(bisection.unstable)};"
            " something random, a race, or something that cannot be held here"
        )
    if bisection.unexplained:
        yield f"no variation could be blamed for {some_of(bisection.unexplained)}"
    if bisection.tasks:
        yield (
            f"built again to find that out, {bisection.builds} times: {some_of(bisection.tasks)};"
            " everything that these build on is the same in all builds"
        )


def _isolation(machine: Machine) -> str:
    if machine.isolation is Isolation.NONE:
        why = machine.why_not(Ability.NAMESPACES)
        return f"builds had no namespaces of their own ({why}): the network was within reach"
    return "each build had namespaces of its own: no network, and nothing of the first build"
