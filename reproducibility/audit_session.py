"""The steps of an audit, and what they share: builds, comparisons, bisection."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError, PipelineError
from reproducibility.attachments import read_attachments, said_digests, said_of, wanted_keys
from reproducibility.audit_report import HostileBuild
from reproducibility.bisect import Bisection, bisect
from reproducibility.choices import apply, choose_round, held_recipe
from reproducibility.compare import Options, compare
from reproducibility.compare_attachments import compare_attachments
from reproducibility.diffoscope import Diffoscope
from reproducibility.double_build import SCRIPT, Builder
from reproducibility.made import First, Made, digests_of, own_surroundings, relative_name
from reproducibility.outcomes import dependencies
from reproducibility.patterns import Hints, Surroundings
from reproducibility.progress import Progress
from reproducibility.report import ARTIFACTS
from reproducibility.variations import base_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.tasks.project import Project
    from reproducibility.attachments import Attachment
    from reproducibility.choices import Variation
    from reproducibility.double_build import Build
    from reproducibility.findings import Comparison, Difference
    from reproducibility.machine import Machine
    from reproducibility.recipe import Recipe

ROUNDS: Final = 3
TIMEOUT: Final = 1800.0
BUILDS: Final = "builds"
"""Folder beside the report: the script and the output of each build."""
_BUILD: Final = "build"


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
    progress: Progress = field(default_factory=Progress)
    """Told what is going on."""


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
            progress=settings.progress,
        )
        self.builder.prepare()
        self._said, why_not = said_of(project)
        self.notes = [why_not] if why_not else []
        self._held_build: Build | None = None

    # ------------------------------------------------------------ builds

    def first_build(self) -> First:
        """Return the project's own layout, or build one with everything held.

        Raises:
            ConfigurationError: the layout lacks images, or a held build already fails.
        """
        project, settings = self._project, self._settings
        names = set(project.plan.references())
        digests = {} if settings.is_fresh else digests_of(project.output)
        if digests.keys() >= names:
            return self._with_documents(project.output)
        if digests:
            missing = ", ".join(sorted(names - digests.keys()))
            raise ConfigurationError(f"{project.output} lacks {missing}", hint="run `doit build`")
        if not settings.is_fresh:
            self.notes.append("there was no layout: the audit has made the first build as well")
        build = self._build_held()
        surroundings = self._surroundings(build.recipe)
        return First(
            layout=build.layout,
            name=build.label,
            made=self._made(build),
            surroundings=surroundings,
            said=self._attachments(build.layout),
            said_surroundings=surroundings,
        )

    def _with_documents(self, layout: Path) -> First:
        """Return the project's own layout, with what is said of it; the audit says what is not."""
        plan, surroundings = self._project.plan, own_surroundings(self._project)
        said = self._attachments(layout)
        said_surroundings = surroundings
        if not {attachment.key for attachment in said} >= wanted_keys(plan, self._said):
            self.notes.append(
                "not everything was said of the first build's images (`doit sbom provenance`):"
                " the audit has said it"
            )
            build = self._build_held()
            own = {attachment.key: attachment for attachment in said}
            made = {attachment.key: attachment for attachment in self._attachments(build.layout)}
            said = tuple({**made, **own}.values())
            said_surroundings = self._surroundings(build.recipe)
        return First(
            layout=layout,
            name=relative_name(layout, self._project.root),
            made=Made(images=digests_of(layout), said=said_digests(said)),
            surroundings=surroundings,
            said=said,
            said_surroundings=said_surroundings,
        )

    def _attachments(self, layout: Path) -> tuple[Attachment, ...]:
        found = read_attachments(self._project.plan, layout)
        return tuple(attachment for attachment in found if attachment.kind.task in self._said)

    def _made(self, build: Build) -> Made:
        if build.failure:
            return Made(images={}, said={})
        said = self._attachments(build.layout)
        return Made(images=digests_of(build.layout), said=said_digests(said))

    def _build_held(self) -> Build:
        if self._held_build is None:
            build = self.builder.build("held", self._held, (_BUILD, *self._said))
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
            build = self.builder.build(f"hostile-{number + 1}", recipe, (_BUILD, *self._said))
            builds.append(HostileBuild(choices=choices, build=build, made=self._made(build)))
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
        seen: list[Made] = []
        known: set[tuple[object, ...]] = set()
        for one in hostile:
            if one.build.failure or one.made in seen:
                continue
            seen.append(one.made)
            label = f"first build and {one.build.label}"
            try:
                with self._settings.progress.step(f"compare {label}"):
                    comparison = self._compare(first, one, label, is_deep=not known)
            except (PipelineError, OSError) as e:
                self.notes.append(f"{one.build.label} could not be compared: {e}")
                continue
            found = {_key(difference) for difference in comparison.differences}
            if not comparisons or found - known:
                comparisons.append(comparison)
            known |= found
        return tuple(comparisons)

    def _compare(self, first: First, one: HostileBuild, label: str, *, is_deep: bool) -> Comparison:
        there = self._surroundings(one.build.recipe)
        options = Options(
            label=label,
            hints=Hints(a=first.surroundings, b=there),
            diffoscope=self._settings.diffoscope if is_deep else None,
            artifacts=self._settings.report / ARTIFACTS if is_deep else None,
            progress=self._settings.progress.detail,
        )
        layout = one.build.layout
        comparison = compare(f"oci:{first.layout}", f"oci:{layout}", options)
        hints = Hints(a=first.said_surroundings, b=there)
        comparison = compare_attachments(
            comparison, first.said, self._attachments(layout), hints=hints
        )
        a = replace(comparison.a, name=first.name)
        return replace(comparison, a=a, b=replace(comparison.b, name=one.build.label))

    # ------------------------------------------------------------ bisecting

    def bisect(self, first: First, hostile: Sequence[HostileBuild]) -> Bisection | None:
        """Find the guilty variations, if anything differs; a failure of that is only a note."""
        names = self._project.plan.references()
        if not any(
            one.build.failure
            or any(n not in one.made.images or first.made.differs(one.made, n) for n in names)
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
        held = self._made(bisection.held)
        if not any(first.made.differs(held, name) for name in self._project.plan.references()):
            return False
        self.notes.append(
            "all builds of the audit agree, and the first build is another: it was made by other"
            " code or from another lock, or it has been altered; run `doit build`"
        )
        return True


def _key(d: Difference) -> tuple[object, ...]:
    return (d.place, d.level, d.inside, d.cause)
