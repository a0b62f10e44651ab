"""A built project and everything that builds it again, for tests."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tasks.project import Project
from reproducibility.choices import held_recipe
from reproducibility.double_build import Builder
from reproducibility.interpreters import probe_interpreter
from reproducibility.machine import Ability, Isolation, Machine, probe_machine
from reproducibility.progress import Progress
from reproducibility.variations import all_variations, base_recipe
from tests.reproducibility import spy
from tests.tasks.project import embedded

if TYPE_CHECKING:
    from reproducibility.choices import Variation
    from reproducibility.recipe import Recipe


@dataclass(frozen=True)
class Laboratory:
    """What a test needs to build."""

    builder: Builder
    project: Project
    machine: Machine
    variations: tuple[Variation, ...]
    held: Recipe
    logs: Path
    work: Path


def laboratory(
    folder: Path, *, then: str = "", timeout: float = 60, isolation: Isolation | None = None
) -> Laboratory:
    """Make a laboratory in which builds look around, or do something else instead."""
    made = embedded(folder / "p")
    made.build("index:15.0:static")
    project = Project(made.path / "images.toml", store=None, output=None)
    first = spy.interpreter(folder / "first", then=then)
    other = spy.interpreter(folder / "other", name="other")
    machine = probe_machine(first, ())
    another = dataclasses.replace(probe_interpreter(other), version="3.99.1")
    machine = dataclasses.replace(
        machine,
        interpreters=(*machine.interpreters, another),
        isolation=isolation or machine.isolation,
    )
    work = folder / "work"
    work.mkdir()
    builder = Builder(
        project,
        machine,
        work=work,
        logs=folder / "logs",
        timeout=timeout,
        progress=Progress(),
    )
    builder.prepare()
    variations = all_variations(machine, need=0)
    held = held_recipe(base_recipe(first), variations)
    return Laboratory(builder, project, machine, variations, held, folder / "logs", work)


def poor_machine() -> Machine:
    """Return a machine that can do nothing, and has one interpreter."""
    return Machine(
        isolation=Isolation.NONE,
        missing={ability: f"no {ability} here" for ability in Ability},
        locales=frozenset({"c", "posix"}),
        cpus=(0,),
        clock="",
        user_reads_all=False,
        memory=0,
        interpreters=(probe_interpreter(sys.executable),),
        dies_with_parent=False,
        unusable=(),
    )


def processes_with(text: str) -> list[str]:
    """Return the command lines of processes that mention something, there or in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes()
            environment = (path / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in line + environment and int(path.name) != os.getpid():
            found.append(line.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


def mounts_below(folder: Path) -> list[str]:
    """Return the mounts in a directory."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if str(folder) in line]
