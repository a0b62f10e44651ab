"""A build in a place of its own: what it can see, what is kept, what is left."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reproducibility.attachments import read_attachments, wanted_keys
from reproducibility.choices import apply, choose_round
from reproducibility.machine import Ability, Isolation, namespace_argv
from reproducibility.outcomes import dependencies
from tests.reproducibility import spy
from tests.reproducibility.laboratory import (
    Laboratory,
    laboratory,
    mounts_below,
    processes_with,
)
from tests.tasks.project import ROOT

pytestmark = pytest.mark.slow

TASKS = ("image:15.0:amd64:static",)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return laboratory(tmp_path_factory.mktemp("double"))


def test_a_build_sees_code_lock_declaration_and_archives(lab: Laboratory) -> None:
    files = spy.seen(lab.builder.build("files", lab.held, TASKS))["files"]
    archives = {package.digest.hex for _, _, package in lab.project.plan.packages()}
    stored = {name for name in files if name.startswith("project/build/store/blobs/")}
    assert {name.rpartition("/")[2] for name in stored} == archives
    assert {name for name in files if name.startswith("project/")} - stored == {
        "project/dodo.py",
        "project/images.toml",
        "project/images.lock.json",
    }
    rest = {name for name in files if not name.startswith("project/")}
    code = {f"code/{p.relative_to(ROOT)}" for p in (ROOT / "pipeline").rglob("*.py")}
    assert rest == code


def test_namespaces_hide_network_processes_and_the_first_build(lab: Laboratory) -> None:
    if lab.machine.isolation is Isolation.NONE:
        pytest.skip(f"no namespaces here: {lab.machine.why_not(Ability.NAMESPACES)}")
    observed = spy.seen(lab.builder.build("hidden", lab.held, TASKS))
    assert set(observed["interfaces"]) <= {"lo"}
    assert observed["processes"] < 8
    text = (lab.logs / "hidden" / "build.sh").read_text()
    for path in (lab.project.output, lab.project.store.root):
        assert path.is_dir()
        assert f"mount -t tmpfs -o size=4k tmpfs {path}" in text


def test_user_namespaces_do_what_root_does(tmp_path: Path) -> None:
    """As anybody has them who may make any; root may as well."""
    program, *arguments = namespace_argv(Isolation.USER)
    if subprocess.run([program, *arguments, "true"], check=False).returncode:
        pytest.skip("no user namespaces here")
    lab = laboratory(tmp_path, isolation=Isolation.USER)
    before = spy.seen(lab.builder.build("held", lab.held, TASKS))
    wanted = {"user", "host-name", "file-system", "directory-order", "cpus", "process-ids"}
    choices = [c for c in choose_round(lab.variations, 0) if c.variation in wanted]
    recipe = apply(lab.held, (c.setting for c in choices))
    after = spy.seen(lab.builder.build("hostile", recipe, TASKS))
    changed = {key for key in wanted if before[key] != after[key]}
    assert changed == {c.variation for c in choices}
    assert before["user"][:2] == [os.getuid(), os.getgid()] or os.getuid() != 0
    assert after["interfaces"] in ([], ["lo"])


def test_the_environment_is_what_the_recipe_says(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_FIRST_BUILD", "x")
    observed = spy.seen(lab.builder.build("environment", lab.held, TASKS))
    assert observed["environment"] == ["LOGNAME", "USER"]


def test_own_umask_does_not_reach_the_build(lab: Laboratory) -> None:
    before = os.umask(0o077)
    try:
        choices = [c for c in choose_round(lab.variations, 0) if c.variation == "user"]
        recipe = apply(lab.held, (c.setting for c in choices))
        assert spy.seen(lab.builder.build("umask", recipe, TASKS))["umask"] == 0o022
    finally:
        os.umask(before)


def test_archives_of_the_store_are_out_of_reach(lab: Laboratory) -> None:
    """A build gets copies: what it does to them never happens to the store."""
    digest = next(iter(lab.project.plan.packages()))[2].digest
    copy = lab.work / "archives" / digest.hex
    assert copy.read_bytes() == lab.project.store.read(digest)
    assert not copy.samefile(lab.project.store.path(digest))


def test_failure_is_a_result_with_its_last_words(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, then="echo said; echo 'no space left' >&2; exit 7")
    build = lab.builder.build("fails", lab.held, TASKS)
    assert build.failure == "exit status 7: no space left"
    assert build.outcomes == {}
    assert (tmp_path / "logs/fails/stdout").read_text() == "said\n"
    assert (tmp_path / "logs/fails/stderr").read_text() == "no space left\n"


def test_a_build_that_hangs_is_ended_with_everything_it_started(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, then="sleep 4711 & sleep 4711", timeout=1.5)
    start = time.monotonic()
    build = lab.builder.build("hangs", lab.held, TASKS)
    assert build.failure == "not ready after 1.5 s"
    assert time.monotonic() - start < 10
    assert not processes_with("sleep 4711")
    assert not mounts_below(tmp_path)


def test_a_build_that_says_too_much_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reproducibility.double_build.MAX_LOG", 100_000)
    lab = laboratory(tmp_path, then="yes 'on and on'")
    assert "more than 100000 bytes" in lab.builder.build("talks", lab.held, TASKS).failure
    assert not processes_with("yes on and on")


def test_what_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    line = "mkdir -p build/store/memo/tree; echo nonsense > build/store/memo/tree/a.json"
    lab = laboratory(tmp_path, then=line)
    assert "left nothing that can be read" in lab.builder.build("bad", lab.held, TASKS).failure


def test_nothing_is_left_of_a_stage(lab: Laboratory) -> None:
    for number in range(2):
        recipe = apply(lab.held, (c.setting for c in choose_round(lab.variations, number)))
        lab.builder.build(f"clean-{number}", recipe, TASKS)
        left = {path.name for path in lab.work.iterdir()}
        assert left <= {"archives", "code", "results", "cpus"}
    assert not mounts_below(lab.work)
    assert not processes_with(str(lab.work))


def test_archives_are_copied_where_there_are_no_hard_links(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    files = spy.seen(lab.builder.build("copied", lab.held, TASKS))["files"]
    assert any(name.startswith("project/build/store/blobs/") for name in files)


def test_tasks_are_asked_for_in_another_order(lab: Laboratory) -> None:
    orders = {}
    for how in ("declared", "reversed", "shuffled"):
        recipe = dataclasses.replace(lab.held, task_order=how)
        build = lab.builder.build(f"order-{how}", recipe, ("build",))
        orders[how] = spy.seen(build)["task-order"]
    assert orders["declared"] == ["build"]
    assert sorted(orders["reversed"]) == sorted(orders["shuffled"])
    assert orders["reversed"] != orders["shuffled"]
    assert orders["reversed"][-1] == orders["shuffled"][-1] == "build"
    recipe = dataclasses.replace(lab.held, task_order="reversed")
    everything = lab.builder.build("order-said", recipe, ("build", "sbom", "provenance"))
    order = spy.seen(everything)["task-order"]
    assert order[-3:] == ["build", "sbom", "provenance"]
    graph = dependencies(lab.project.plan)
    groups = (("package:",), ("image:",), ("sbom:", "provenance:"))
    backwards = [[t for t in reversed(graph) if t.startswith(group)] for group in groups]
    assert order[:-3] == [task for group in backwards for task in group]
    recipe = dataclasses.replace(lab.held, task_order="shuffled")
    again = lab.builder.build("order-again", dataclasses.replace(recipe), ("build",))
    assert spy.seen(again)["task-order"] == orders["shuffled"]


def test_outcomes_name_every_task_that_made_something(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    recipe = dataclasses.replace(lab.held, python=sys.executable)
    build = lab.builder.build("real", recipe, ("build", "sbom", "provenance"))
    assert not build.failure
    graph = dependencies(lab.project.plan)
    empty = {task for task in graph if task.startswith("layer:")} - build.outcomes.keys()
    assert build.outcomes.keys() == graph.keys() - empty
    said = read_attachments(lab.project.plan, build.layout)
    keys = [attachment.key for attachment in said]
    assert len(set(keys)) == len(keys)
    assert set(keys) == wanted_keys(lab.project.plan, ("sbom", "provenance"))
    assert {attachment.task for attachment in said} <= build.outcomes.keys()
    assert all(task.endswith((":packages", ":directories", ":state")) for task in empty)
    part = lab.builder.build("part", recipe, ("tree:15.0:amd64:dynamic",))
    kinds = {task.partition(":")[0] for task in part.outcomes}
    assert kinds == {"package", "tree"}
    assert part.outcomes.items() <= build.outcomes.items()
    other = lab.builder.build("sbom", recipe, ("sbom:15.0:amd64:static",))
    kinds = {task.partition(":")[0] for task in other.outcomes}
    assert kinds == {"package", "tree", "layer", "image", "sbom"}
    assert other.outcomes.items() <= build.outcomes.items()
