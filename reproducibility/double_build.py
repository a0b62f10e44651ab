"""One build in a place of its own, of which nothing else is known than what a lock may decide.

A build sees a copy of the program, the declaration, the lock and the archives; the first build's
layout and store are hidden from it where this machine has namespaces, and so is the network. It
runs as a process of its own, bounded in time and in what it may say. Its script and what it said
are kept.
"""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pipeline
from pipeline.errors import CommandError, PipelineError
from pipeline.host import command
from pipeline.host.layout import beside
from pipeline.host.store import copy_file
from pipeline.stages.fetch import fetch_archives, locked_archives
from reproducibility.attachments import FOLDERS, PROVENANCE, SBOM
from reproducibility.machine import namespace_argv, stage_environment
from reproducibility.outcomes import Outcomes, dependencies, is_said, needs, read_outcomes
from reproducibility.recipe import KEPT, STORE, Order, Recipe, Stage, script
from reproducibility.wording import some_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.tasks.project import Project
    from reproducibility.machine import Machine
    from reproducibility.progress import Progress

MAX_LOG: Final = 16 << 20
"""Bytes that a build may say."""
SCRIPT: Final = "build.sh"
_DODO: Final = """\
from pipeline.tasks.build import *
from pipeline.tasks.config import DOIT_CONFIG
from pipeline.tasks.trust import task_provenance, task_sbom
"""
_SEED: Final = 4711
_CODE: Final = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A build that has been done, or tried."""

    label: str
    recipe: Recipe
    tasks: tuple[str, ...]
    failure: str
    """Why it did not come to its end; empty if it did."""
    layout: Path
    """An OCI layout, if images were asked for; what was said of them is beside it."""
    outcomes: Outcomes
    milliseconds: int


class Builder:
    """Builds a project again and again, each time from nothing."""

    def __init__(
        self,
        project: Project,
        machine: Machine,
        *,
        work: Path,
        logs: Path,
        timeout: float,
        progress: Progress,
    ) -> None:
        self._project = project
        self._machine = machine
        self._work = work
        self._logs = logs
        self._timeout = timeout
        self._progress = progress
        self._stage = Stage(
            work=work,
            isolation=machine.isolation,
            hidden=_existing(project),
            public=_public(work, *(Path(i.path) for i in machine.interpreters)),
        )
        self.count = 0

    def prepare(self) -> None:
        """Have the code at hand, and the archives, as downloads; fetch those that the store lacks.

        Raises:
            PipelineError: an archive cannot be had.
        """
        project, plan = self._project, self._project.plan
        fetch_archives(plan, root=project.root, store=project.store, suspicious=True)
        self._work.chmod(0o755)
        shutil.copytree(
            Path(pipeline.__file__).parent,
            self._work / "code",
            ignore=_CODE,
            copy_function=shutil.copyfile,
        )
        (self._work / "archives").mkdir()
        for _, package in locked_archives(plan).values():
            copy_file(project.store.path(package.digest), self._archive(package.digest.hex))

    def _archive(self, digest: str) -> Path:
        return self._work / "archives" / digest

    def build(self, label: str, recipe: Recipe, tasks: Sequence[str]) -> Build:
        """Build some tasks, and all that they need; a failure is a result.

        Args:
            label: what to call it; a file name.
            recipe: how.
            tasks: doit's names.
        """
        self.count += 1
        start = time.monotonic()
        with self._progress.step(f"build {label}{_of(tasks)}") as step:
            result = self._work / "results" / label
            result.mkdir(parents=True)
            failure = self._attempt(label, recipe, tasks, result)
            outcomes: Outcomes = {}
            if not failure:
                try:
                    outcomes = self._outcomes(result)
                except (PipelineError, ValueError, LookupError, OSError) as e:
                    failure = f"left nothing that can be read: {e}"
            step.outcome = "failed" if failure else ""
        return Build(
            label=label,
            recipe=recipe,
            tasks=tuple(tasks),
            failure=failure,
            layout=result / "oci",
            outcomes=outcomes,
            milliseconds=int((time.monotonic() - start) * 1000),
        )

    def _attempt(self, label: str, recipe: Recipe, tasks: Sequence[str], result: Path) -> str:
        """Set the stage, build, and keep what was made; return why that failed, or nothing."""
        ordered = self._ordered(tasks, recipe.task_order)
        order = Order(
            config=self._project.path.name, tasks=ordered, before=_first_part(self._project)
        )
        try:
            self._fill(recipe)
            text = script(recipe, order, stage=self._stage, result=result)
            failure = self._run(label, text)
            self._keep(recipe, result)
        finally:
            self._clear(recipe)
        return failure

    def _outcomes(self, result: Path) -> Outcomes:
        plan = self._project.plan
        return read_outcomes(plan, memo=result / "memo", layout=result / "oci")

    # ------------------------------------------------------------ the stage

    def _fill(self, recipe: Recipe) -> None:
        """Put everything in place that the build may see."""
        root = self._stage.root(recipe)
        filled = self._stage.filled(recipe)
        for path in {root, self._stage.under(recipe), filled}:
            path.mkdir(parents=True)
        shutil.copytree(
            self._work / "code", filled / "code" / "pipeline", copy_function=shutil.copyfile
        )
        for name in ("home", "home 2", "tmp"):
            (filled / name).mkdir()
        project = filled / "project"
        project.mkdir()
        (project / "dodo.py").write_text(_DODO, "ascii")
        for path in (self._project.path, self._project.lock_path):
            shutil.copyfile(path, project / path.name)
        for archive in sorted((self._work / "archives").iterdir()):
            target = project / STORE / "blobs" / "sha256" / archive.name
            target.parent.mkdir(parents=True, exist_ok=True)
            _share(archive, target)
        if recipe.claimed_cpus is not None:
            (self._work / "cpus").write_text(f"{recipe.claimed_cpus}\n", "ascii")
        _let_read(filled)

    def _keep(self, recipe: Recipe, result: Path) -> None:
        """Move what is kept of a build out of its place; a tmpfs is gone, and has copied it."""
        project = self._stage.under(recipe) / "project"
        for source, name in KEPT:
            if (project / source).is_dir():
                (project / source).rename(result / name)

    def _clear(self, recipe: Recipe) -> None:
        paths = (self._stage.root(recipe), self._stage.under(recipe), self._stage.filled(recipe))
        for path in dict.fromkeys(paths):
            shutil.rmtree(path, ignore_errors=True)

    # ------------------------------------------------------------ the process

    def _run(self, label: str, text: str) -> str:
        """Run a build's script; return why it failed, or nothing."""
        logs = self._logs / label
        logs.mkdir(parents=True, exist_ok=True)
        path = logs / SCRIPT
        path.write_text(text, "utf-8")
        argv = [*namespace_argv(self._machine.isolation), "sh", str(path.absolute())]
        if self._machine.dies_with_parent:
            argv = ["setpriv", "--pdeathsig", "KILL", *argv]
        try:
            output = command.run(
                argv,
                environment=stage_environment(),
                timeout=self._timeout,
                limit=MAX_LOG,
                check=False,
            )
        except CommandError as e:
            (logs / "stderr").write_text(f"{e}\n", "utf-8")
            return str(e.stderr)
        (logs / "stdout").write_bytes(output.stdout)
        (logs / "stderr").write_bytes(output.stderr)
        if output.status == 0:
            return ""
        said = (output.stdout + b"\n" + output.stderr).decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "no message")
        return f"exit status {output.status}: {last}"

    # ------------------------------------------------------------ tasks

    def _ordered(self, tasks: Sequence[str], how: str) -> tuple[str, ...]:
        """Return tasks in another order, with all packages in front: doit keeps the order."""
        if how == "declared":
            return tuple(tasks)
        graph = dependencies(self._project.plan)
        groups = {"build": "index:", SBOM: f"{SBOM}:", PROVENANCE: f"{PROVENANCE}:"}
        for name, prefix in groups.items():
            graph[name] = tuple(task for task in graph if task.startswith(prefix))
        reached = needs(tasks, graph)
        needed = [task for task in graph if task in reached]
        packages = [task for task in needed if task.startswith("package:")]
        said = [task for task in needed if is_said(task) and task not in groups]
        wanted = [task for task in needed if task.startswith("image:")]
        wanted += [task for task in tasks if task not in {*packages, *said, *wanted, *groups}]
        generator = random.Random(_SEED)  # noqa: S311  - another order, always the same
        for some in (packages, wanted, said):
            if how == "reversed":
                some.reverse()
            else:
                generator.shuffle(some)
        return (*packages, *wanted, *said, *(task for task in tasks if task in groups))


def _of(tasks: Sequence[str]) -> str:
    """Name the tasks of a build that is not of everything."""
    parts = [task for task in tasks if ":" in task]
    return f", {some_of(parts)}" if parts else ""


def _share(source: Path, target: Path) -> None:
    """Let a file have a second name, or a copy where there are no hard links."""
    try:
        target.hardlink_to(source)
    except OSError:
        copy_file(source, target)
        target.chmod(0o444)


def _existing(project: Project) -> tuple[Path, ...]:
    said = (beside(project.output, name) for name in FOLDERS)
    paths = (project.output, project.store.root, *said)
    return tuple(path.absolute() for path in paths if path.is_dir())


def _public(*needed: Path) -> Path | None:
    """Return a directory that everybody may enter and that holds nothing that is needed."""
    paths = [path for each in needed for path in (each.absolute(), each.resolve())]
    for name in ("/media", "/mnt", "/srv", "/opt"):
        if Path(name).is_dir() and not any(path.is_relative_to(name) for path in paths):
            return Path(name)
    return None


def _first_part(project: Project) -> tuple[str, ...]:
    """Return every second tree, with its packages: what a warm store holds already."""
    images = [f"tree:{image}" for image in project.plan.images.values()]
    return tuple(images[::2])


def _let_read(root: Path) -> None:
    """Let everybody read what a build may see, whatever our own umask is."""
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        elif path.stat().st_nlink == 1:
            path.chmod(0o644)
