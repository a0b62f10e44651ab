"""Each variation is on its own switch, reaches the build, and changes nothing else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError
from pipeline.tasks.project import Project
from reproducibility.choices import apply, choose_round, held_recipe, select
from reproducibility.double_build import Builder
from reproducibility.interpreters import probe_interpreter
from reproducibility.machine import Ability, Isolation, Machine, probe_machine
from reproducibility.recipe import Order, Recipe, Stage, script
from reproducibility.variations import all_variations, base_recipe
from tests.programs import require_program, require_root
from tests.reproducibility import spy
from tests.tasks.project import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reproducibility.choices import Variation

PROGRAMS = ("unshare", "setpriv", "setarch", "taskset", "hostname", "disorderfs", "faketime")
LOCALES = {"et_ee.utf8", "tr_tr.utf8"}


@pytest.fixture(scope="module")
def spies(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("spies")
    return spy.interpreter(folder / "first"), spy.interpreter(folder / "other", name="other")


@pytest.fixture(scope="module")
def machine(spies: tuple[str, str]) -> Machine:
    """This machine, with another interpreter that claims to be of another version."""
    first, other = spies
    real = probe_machine(first, ())
    claimed = probe_interpreter(other)
    another = dataclasses.replace(claimed, path=other, version="3.99.1")
    return dataclasses.replace(real, interpreters=(*real.interpreters, another))


@pytest.fixture(scope="module")
def builder(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Builder, Project]]:
    folder = tmp_path_factory.mktemp("variations")
    made = embedded(folder / "p")
    project = Project(made.path / "images.toml", store=None, output=None)
    made.build()
    (folder / "work").mkdir()
    builder = Builder(
        project,
        machine,
        work=folder / "work",
        logs=folder / "logs",
        timeout=60,
        say=lambda _: None,
    )
    builder.prepare()
    return builder, project


TASKS = ("image:15.0:amd64:static", "image:15.0:amd64:runtime")
ALSO = {
    "hash-seed": {"hash"},
    "user": set(),
    "jobs": set(),
    "clock": set(),
    "terminal": {"processes"},
    "store": {"files"},
    "address-layout": set(),
}
"""What else a variation may be seen by."""
CHANGING = {"hash", "address-layout"}
"""What differs from run to run unless it is held."""


def test_every_variation_reaches_the_build_and_nothing_else_does(
    builder: tuple[Builder, Project], machine: Machine, spies: tuple[str, str]
) -> None:
    """Built with everything held but one setting, a build sees that setting and no other."""
    build, _ = builder
    variations = all_variations(machine, need=0)
    held = held_recipe(base_recipe(spies[0]), variations)
    before = spy.seen(build.build("held", held, TASKS))
    assert before == spy.seen(build.build("held-again", held, TASKS)), "held means repeatable"
    count = 0
    for variation in variations:
        for setting in variation.hostile:
            recipe = setting.change(held)
            if recipe == held:
                continue
            count += 1
            after = spy.seen(build.build(f"{count}-{variation.name}", recipe, TASKS))
            changed = {key for key in before if before[key] != after[key]}
            assert variation.name in changed, f"{variation.name} ({setting.name}) has no effect"
            assert changed <= {variation.name, *ALSO.get(variation.name, ())}, setting.name
    assert count > 25


def test_a_build_sees_the_lock_the_declaration_and_the_archives(
    builder: tuple[Builder, Project], machine: Machine, spies: tuple[str, str]
) -> None:
    build, project = builder
    recipe = held_recipe(base_recipe(spies[0]), all_variations(machine, need=0))
    files = spy.seen(build.build("files", recipe, TASKS))["files"]
    archives = {package.digest.hex for _, _, package in project.plan.packages()}
    stored = {name for name in files if name.startswith("project/build/store/blobs/")}
    assert {name.rpartition("/")[2] for name in stored} == archives
    assert {name for name in files if name.startswith("project/")} - stored == {
        "project/dodo.py",
        "project/images.toml",
        "project/images.lock.json",
    }
    others = {name for name in files if not name.startswith("project/")}
    assert all(name.startswith("code/pipeline/") and name.endswith(".py") for name in others)


def test_namespaces_hide_network_processes_and_the_first_build(
    builder: tuple[Builder, Project], machine: Machine, spies: tuple[str, str]
) -> None:
    if machine.isolation is Isolation.NONE:
        pytest.skip(f"no namespaces here: {machine.why_not(Ability.NAMESPACES)}")
    build, project = builder
    recipe = held_recipe(base_recipe(spies[0]), all_variations(machine, need=0))
    observed = spy.seen(build.build("hidden", recipe, TASKS))
    assert observed["interfaces"] in ([], ["lo"])
    assert observed["processes"] < 6
    text = (build._logs / "hidden" / "build.sh").read_text()
    for path in (project.output, project.store.root):
        assert f"mount -t tmpfs -o size=4k tmpfs {path}" in text


def test_this_machine_can_do_everything() -> None:
    """With the packages of docs/audit.md installed, root leaves nothing out."""
    require_root()
    for program in PROGRAMS:
        require_program(program)
    machine = probe_machine(base_recipe("python3").python, ()) if False else None
    assert machine is None


# ---------------------------------------------------------------- the table


def poor() -> Machine:
    """A machine that can do nothing, and has no other interpreter."""
    return Machine(
        isolation=Isolation.NONE,
        missing={ability: f"no {ability} here" for ability in Ability},
        locales=frozenset({"c", "posix"}),
        cpus=(0,),
        clock="",
        user_reads_all=False,
        memory=0,
        interpreters=(probe_interpreter(__import__("sys").executable),),
        dies_with_parent=False,
        unusable=(),
    )
