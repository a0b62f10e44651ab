"""A built project and everything that builds it again, for tests."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.tasks.project import Project
from reproducibility.choices import held_recipe
from reproducibility.double_build import Builder
from reproducibility.interpreters import probe_interpreter
from reproducibility.machine import Ability, Isolation, Machine, probe_machine
from reproducibility.variations import all_variations, base_recipe
from tests.reproducibility import spy
from tests.tasks.project import embedded

if TYPE_CHECKING:
    from pathlib import Path

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


def laboratory(folder: Path, *, then: str = "", timeout: float = 60) -> Laboratory:
    """Make a laboratory in which builds look around, or do something else instead."""
    made = embedded(folder / "p")
    made.build("index:15.0:static")
    project = Project(made.path / "images.toml", store=None, output=None)
    first = spy.interpreter(folder / "first", then=then)
    other = spy.interpreter(folder / "other", name="other")
    machine = probe_machine(first, ())
    another = dataclasses.replace(probe_interpreter(other), version="3.99.1")
    machine = dataclasses.replace(machine, interpreters=(*machine.interpreters, another))
    work = folder / "work"
    work.mkdir()
    builder = Builder(
        project,
        machine,
        work=work,
        logs=folder / "logs",
        timeout=timeout,
        say=lambda _: None,
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
