"""Each variation is on its own switch, reaches the build, and changes nothing else."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError
from reproducibility import variations as table
from reproducibility.choices import choose_round, held_recipe, select
from reproducibility.machine import Ability, Isolation, Machine, probe_machine
from reproducibility.recipe import Order, Recipe, Stage, script
from reproducibility.variations import all_variations, base_recipe
from tests.programs import OPTIONAL, require_program, require_root
from tests.reproducibility import spy
from tests.reproducibility.laboratory import Laboratory, laboratory, poor_machine

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("unshare", "setpriv", "setarch", "taskset", "hostname", "disorderfs", "faketime")
TASKS = ("image:15.0:amd64:static", "image:15.0:amd64:runtime")
SIDE_EFFECTS = {"hash-seed": {"hash"}, "terminal": {"processes"}, "store": {"files"}}
"""What a variation may be seen by besides."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return laboratory(tmp_path_factory.mktemp("variations"))


@pytest.fixture(scope="module")
def rich() -> Machine:
    """A machine on which everything is possible, at least on paper."""
    machine = poor_machine()
    first = machine.interpreters[0]
    apsw = dataclasses.replace(first, path="/b", packages={**first.packages, "apsw": "9"})
    return dataclasses.replace(
        machine,
        isolation=Isolation.ROOT,
        missing={},
        locales=frozenset({"c.utf8", "et_ee.utf8", "tr_tr.utf8"}),
        cpus=(0, 1, 2, 3),
        clock="/lib/libfaketime.so",
        user_reads_all=True,
        memory=1 << 34,
        interpreters=(first, dataclasses.replace(first, path="/a", version="3.99"), apsw),
    )


@pytest.mark.slow
def test_every_variation_reaches_the_build_and_nothing_else_does(lab: Laboratory) -> None:
    """Built with everything held but one setting, a build sees that setting and no other."""
    before = spy.seen(lab.builder.build("held", lab.held, TASKS))
    again = spy.seen(lab.builder.build("held-again", lab.held, TASKS))
    possible = {v.name for v in lab.variations if v.is_possible}
    changed = {key for key in before if before[key] != again[key]}
    assert not changed & possible, "held means repeatable"
    count = 0
    for variation in lab.variations:
        for setting in variation.hostile:
            recipe = setting.change(lab.held)
            if recipe == lab.held:
                continue
            count += 1
            after = spy.seen(lab.builder.build(f"{count}-{variation.name}", recipe, TASKS))
            changed = {key for key in before if before[key] != after[key]}
            allowed = {variation.name, *SIDE_EFFECTS.get(variation.name, ())}
            what = f"{variation.name} ({setting.name})"
            assert variation.name in changed, f"{what} has no effect"
            assert changed <= allowed, f"{what} changes {changed - allowed}"
    assert count >= len(possible)


def test_this_machine_can_do_everything() -> None:
    """With the packages of docs/audit.md installed, root leaves nothing out."""
    require_root()
    for program in PROGRAMS:
        require_program(program)
    machine = probe_machine(sys.executable, ())
    assert machine.missing == {}
    if os.environ.get(OPTIONAL) != "missing-ok":
        assert {"et_ee.utf8", "tr_tr.utf8"} <= machine.locales


def test_what_cannot_be_done_has_a_reason() -> None:
    for variation in all_variations(poor_machine(), need=0):
        assert variation.is_possible or variation.impossible, variation.name
        assert all(reason.strip() for reason in variation.impossible)


def test_missing_programs_are_named_with_their_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("true", "sh"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    monkeypatch.setattr("reproducibility.machine.PATH", str(tmp_path))
    machine = probe_machine(sys.executable, ("/nonexistent/python",))
    assert machine.isolation is Isolation.NONE
    assert "apt install util-linux" in (machine.why_not(Ability.NAMESPACES) or "")
    assert "needs namespaces" in (machine.why_not(Ability.CLOCK) or "")
    assert machine.locales == frozenset()
    assert machine.unusable == ("/nonexistent/python: there is no such program",)


def test_poor_machine_still_varies_what_needs_nothing() -> None:
    possible = {v.name for v in all_variations(poor_machine(), need=0) if v.is_possible}
    assert possible == {
        *("time-zone", "locale", "umask", "build-path", "home", "temporary-directory"),
        *("hash-seed", "jobs", "task-order", "store", "search-path", "environment", "terminal"),
    }


def test_every_part_of_a_recipe_is_varied(rich: Machine) -> None:
    base = base_recipe("python")
    held = held_recipe(base, all_variations(rich, need=0))
    changed = set()
    for variation in all_variations(rich, need=0):
        for setting in variation.hostile:
            recipe = setting.change(held)
            for field in dataclasses.fields(Recipe):
                if getattr(recipe, field.name) != getattr(held, field.name):
                    changed.add(field.name)
    assert changed == {field.name for field in dataclasses.fields(Recipe)}


def test_names_are_unique_and_those_of_the_table_in_the_docstring(rich: Machine) -> None:
    names = [v.name for v in all_variations(rich, need=0)]
    assert len(set(names)) == len(names) == 24
    assert table.__doc__ is not None
    rows = [line.split("|")[1] for line in table.__doc__.splitlines() if line.startswith("| ")]
    documented = [name.strip() for row in rows[1:] for name in row.split(",")]
    assert documented == names


def test_three_rounds_take_every_setting(rich: Machine) -> None:
    """Python and apsw, which exclude each other, take turns."""
    variations = all_variations(rich, need=0)
    taken = {
        (choice.variation, choice.setting.name)
        for number in range(3)
        for choice in choose_round(variations, number)
    }
    assert taken == {(v.name, setting.name) for v in variations for setting in v.hostile}
    for number in range(4):
        names = [choice.variation for choice in choose_round(variations, number)]
        assert len({"python", "apsw"} & set(names)) == 1


def test_all_variations_but_the_asked_for_are_held(rich: Machine) -> None:
    variations = all_variations(rich, need=0)
    chosen = select(variations, only=("umask",), without=())
    assert [v.name for v in chosen if v.is_possible] == ["umask"]
    assert len(chosen) == len(variations)
    assert held_recipe(base_recipe("p"), chosen) == held_recipe(base_recipe("p"), variations)


def test_a_variation_that_is_left_out_is_neither_varied_nor_held(rich: Machine) -> None:
    variations = all_variations(rich, need=0)
    chosen = select(variations, only=(), without=("clock",))
    assert "clock" not in {v.name for v in chosen}
    assert "LD_PRELOAD" not in held_recipe(base_recipe("p"), chosen).environment
    assert "LD_PRELOAD" in held_recipe(base_recipe("p"), variations).environment


def test_unknown_variation_is_named_with_the_nearest(rich: Machine) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'time-zone'") as caught:
        select(all_variations(rich, need=0), only=("timezone",), without=())
    assert "umask" in (caught.value.hint or "")


def test_tmpfs_is_left_out_where_memory_is_short(rich: Machine) -> None:
    (variation,) = (v for v in all_variations(rich, need=1 << 34) if v.name == "file-system")
    assert not variation.is_possible
    assert "17.2 GB" in variation.impossible[0]


# ---------------------------------------------------------------- scripts

ORDER = Order(config="images.toml", tasks=("build",), before=("tree:a",))


def text_of(recipe: Recipe, isolation: Isolation, tmp_path: Path) -> str:
    stage = Stage(work=tmp_path, isolation=isolation, hidden=(tmp_path / "old",), public=None)
    return script(recipe, ORDER, stage=stage, result=tmp_path / "r")


def test_scripts_are_valid_shell(rich: Machine, tmp_path: Path) -> None:
    variations = all_variations(rich, need=0)
    for isolation, number in itertools.product(Isolation, range(3)):
        recipe = held_recipe(base_recipe("p"), variations)
        for choice in choose_round(variations, number):
            recipe = choice.setting.change(recipe)
        path = tmp_path / "build.sh"
        path.write_text(text_of(recipe, isolation, tmp_path), "utf-8")
        subprocess.run(["sh", "-n", str(path)], check=True)


def test_nothing_is_mounted_without_namespaces(tmp_path: Path) -> None:
    variations = all_variations(poor_machine(), need=0)
    recipe = held_recipe(base_recipe("p"), variations)
    for number in range(3):
        for choice in choose_round(variations, number):
            recipe = choice.setting.change(recipe)
        lines = text_of(recipe, Isolation.NONE, tmp_path).splitlines()
        words = {line.split()[0] for line in lines if line.strip()}
        assert not words & {"mount", "hostname", "disorderfs", "setpriv", "unshare", "echo"}


def test_another_user_keeps_no_capability_but_reading(rich: Machine, tmp_path: Path) -> None:
    (user,) = (v for v in all_variations(rich, need=0) if v.name == "user")
    text = text_of(user.hostile[0].change(base_recipe("p")), Isolation.ROOT, tmp_path)
    assert "--bounding-set=-all,+dac_read_search" in text
    assert "--no-new-privs" in text
    mapped = text_of(user.hostile[0].change(base_recipe("p")), Isolation.USER, tmp_path)
    assert "unshare --user --map-user=64321 --map-group=64322" in mapped
    assert "setpriv" not in mapped
