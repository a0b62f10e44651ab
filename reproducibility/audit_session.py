"""The steps of an audit, and what they share: builds, comparisons, bisection."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError, PipelineError
from pipeline.host.layout import Layout
from reproducibility.audit_report import HostileBuild
from reproducibility.bisect import Bisection, bisect
from reproducibility.choices import apply, choose_round, held_recipe
from reproducibility.compare import Options, compare
from reproducibility.diffoscope import Diffoscope
from reproducibility.double_build import SCRIPT, Builder
from reproducibility.outcomes import dependencies
from reproducibility.patterns import Hints, Surroundings
from reproducibility.report import ARTIFACTS
from reproducibility.variations import base_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.tasks.project import Project
    from reproducibility.choices import Variation
    from reproducibility.double_build import Build
    from reproducibility.findings import Comparison, Difference
    from reproducibility.machine import Machine
    from reproducibility.recipe import Recipe

ROUNDS: Final = 3
TIMEOUT: Final = 1800.0
BUILDS: Final = "builds"
"""Folder beside the report: the script and the output of each build."""
_BUILD: Final = ("build",)


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to audit."""

    report: Path
    """Folder of the report."""
    work: Path
    """Folder to build in; it is emptied before and after."""
    python: str = sys.executable
    """Interpreter that builds."""
    others: tuple[str, ...] = ()
    """More interpreters, for the variations python and apsw."""
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    """Names of variations, as in `variations.select`."""
    rounds: int = ROUNDS
    """Hostile builds."""
    timeout: float = TIMEOUT
    """Seconds for one build."""
    is_fresh: bool = False
    """Whether to make the first build as well, instead of taking the project's layout."""
    diffoscope: Diffoscope | None = field(default_factory=Diffoscope)
    generated: str | None = None
    """When this is, for the report."""
    say: Callable[[str], None] = _silent
    """Told what is going on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The build that the others are measured by."""

    layout: Path
    digests: Mapping[str, str]
    """Name in the layout -> digest."""
    surroundings: Surroundings


class Session:
    """The steps of an audit, and what they share."""

    def __init__(
        self,
        project: Project,
        settings: Settings,
        machine: Machine,
        variations: Sequence[Variation],
    ) -> None:
        self._project = project
        self._settings = settings
        self._machine = machine
        self._variations = variations
        self._held = held_recipe(base_recipe(settings.python), variations)
        logs = settings.report / BUILDS
        for script in sorted(logs.glob(f"*/{SCRIPT}")):
            shutil.rmtree(script.parent)
        self.builder = Builder(
            project,
            machine,
            work=settings.work.absolute(),
            logs=logs,
            timeout=settings.timeout,
            say=lambda label: settings.say(f"build {label}"),
        )
        self.builder.prepare()
        self.notes: list[str] = []
        self._held_build: Build | None = None

    # ------------------------------------------------------------ builds

    def first_build(self) -> First:
        """Return the project's own layout, or build one with everything held.

        Raises:
            ConfigurationError: the layout lacks images, or a held build already fails.
        """
        project = self._project
        names = set(project.plan.references())
        digests = {} if self._settings.is_fresh else digests_of(project.output)
        if digests.keys() >= names:
            return First(
                layout=project.output, digests=digests, surroundings=_own_surroundings(project)
            )
        if digests:
            missing = ", ".join(sorted(names - digests.keys()))
            raise ConfigurationError(f"{project.output} lacks {missing}", hint="run `doit build`")
        if not self._settings.is_fresh:
            self.notes.append("there was no layout: the audit has made the first build as well")
        build = self._build_held()
        return First(
            layout=build.layout,
            digests=digests_of(build.layout),
            surroundings=self._surroundings(build.recipe),
        )

    def _build_held(self) -> Build:
        if self._held_build is None:
            build = self.builder.build("held", self._held, _BUILD)
            if build.failure:
                raise ConfigurationError(
                    f"a build with nothing varied fails: {build.failure}",
                    hint=f"see {self._settings.report / BUILDS / build.label}",
                )
            self._held_build = build
        return self._held_build

    def hostile_builds(self) -> tuple[HostileBuild, ...]:
        """Build with every variation at once, several times, each time at other values."""
        builds = []
        for number in range(self._settings.rounds):
            choices = choose_round(self._variations, number)
            if not choices:
                break
            recipe = apply(self._held, (choice.setting for choice in choices))
            build = self.builder.build(f"hostile-{number + 1}", recipe, _BUILD)
            digests = {} if build.failure else digests_of(build.layout)
            builds.append(HostileBuild(choices=choices, build=build, digests=digests))
        return tuple(builds)

    def _surroundings(self, recipe: Recipe) -> Surroundings:
        root = self._settings.work.absolute() / recipe.place
        paths = (str(root), str(root / recipe.home), str(root / recipe.temporary))
        names = (recipe.host or "", *map(str, recipe.user or ()))
        versions = [i.version for i in self._machine.interpreters if i.path == recipe.python]
        user = recipe.environment.get("USER", "")
        return Surroundings(paths=paths, identities=tuple(filter(None, (*names, user, *versions))))

    # ------------------------------------------------------------ comparing

    def compare(self, first: First, hostile: Sequence[HostileBuild]) -> tuple[Comparison, ...]:
        """Compare the first build with each hostile one that has something new to say."""
        comparisons: list[Comparison] = []
        digests: list[Mapping[str, str]] = []
        known: set[tuple[object, ...]] = set()
        for one in hostile:
            if one.build.failure or one.digests in digests:
                continue
            digests.append(one.digests)
            try:
                comparison = self._compare(first, one, is_deep=not known)
            except (PipelineError, OSError) as e:
                self.notes.append(f"{one.build.label} could not be compared: {e}")
                continue
            found = {_key(difference) for difference in comparison.differences}
            if not comparisons or found - known:
                comparisons.append(comparison)
            known |= found
        return tuple(comparisons)

    def _compare(self, first: First, one: HostileBuild, *, is_deep: bool) -> Comparison:
        label = f"first build and {one.build.label}"
        self._settings.say(f"compare {label}")
        options = Options(
            label=label,
            hints=Hints(a=first.surroundings, b=self._surroundings(one.build.recipe)),
            diffoscope=self._settings.diffoscope if is_deep else None,
            artifacts=self._settings.report / ARTIFACTS if is_deep else None,
            progress=self._settings.say,
        )
        return compare(f"oci:{first.layout}", f"oci:{one.build.layout}", options)

    # ------------------------------------------------------------ bisecting

    def bisect(self, first: First, hostile: Sequence[HostileBuild]) -> Bisection | None:
        """Find the guilty variations, if anything differs; a failure of that is only a note."""
        names = self._project.plan.references()
        if not any(
            one.build.failure or any(one.digests.get(n) != first.digests[n] for n in names)
            for one in hostile
        ):
            return None
        try:
            held = self._build_held()
            graph = dependencies(self._project.plan)
            rounds = [(one.choices, one.build) for one in hostile]
            return bisect(self.builder, held, rounds, graph=graph)
        except (PipelineError, OSError) as e:
            self.notes.append(f"no variation could be blamed: {e}")
            return None

    def is_stale(self, first: First, bisection: Bisection | None) -> bool:
        """Say whether the first build is another than all builds of the audit, which agree."""
        if bisection is None or bisection.tasks or bisection.held.failure:
            return False
        own = digests_of(bisection.held.layout)
        if all(own.get(name) == digest for name, digest in first.digests.items()):
            return False
        self.notes.append(
            "all builds of the audit agree, and the first build is another: it was made by other"
            " code or from another lock, or it has been altered; run `doit build`"
        )
        return True


def _key(d: Difference) -> tuple[object, ...]:
    return (d.place, d.level, d.inside, d.cause)


def digests_of(layout: Path) -> dict[str, str]:
    """Return the digest of each name in a layout."""
    return {name: str(d.digest) for name, d in Layout(layout).references().items()}


def _own_surroundings(project: Project) -> Surroundings:
    """Return what is known of where the project itself was built: here, by us."""
    paths = (str(project.root.absolute()), str(Path.home()))
    names = (os.uname().nodename, os.environ.get("USER", ""), platform.python_version())
    return Surroundings(paths=paths, identities=tuple(filter(None, names)))
