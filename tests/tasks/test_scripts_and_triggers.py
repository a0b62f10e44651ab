"""Scripts that nobody knows and triggers, met by whole builds: neither is ever run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fixtures.miniature.entry import file
from fixtures.miniature.generate import ports_signer
from fixtures.miniature.package import Package
from fixtures.miniature.repository import build_repository
from pipeline.formats import tar
from tests.images import image_tree
from tests.tasks.project import MINIATURE, Project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # whole runs of doit

DECLARATION = """\
format = 1

[repositories.ports]
url = "file:repository"
signature_type = "pubkey"
pubkey = "{key}"

[releases."15.0"]
architectures = ["amd64"]
repositories = ["ports"]

[images.quill]
packages = ["quill"]
skip = [{skip}]
"""


def declare(project: Project, skip: str) -> None:
    """Write a declaration of one image of one package."""
    text = DECLARATION.format(key=MINIATURE / "keys/ports.pub", skip=skip)
    (project.path / "images.toml").write_text(text)


def project_of(folder: Path, package: Package) -> Project:
    """Make a project, and a repository of one package."""
    project = Project(folder / "project")
    project.path.mkdir()
    build_repository([package], ports_signer()).write(project.path / "repository")
    (project.path / "dodo.py").write_text("from pipeline.tasks.graph import *\n")
    declare(project, "")
    return project


class Hostile:
    """A project whose only package plants a file at installation, if its script is ever run."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.planted = folder / "planted"
        if kind == "lua":
            self.text = f'io.open("{self.planted}", "w"):close()\n'
        else:
            self.text = f"echo first\n: > {self.planted}\ntouch planted\n"
        package = Package(
            name="quill",
            entries=(file("/usr/local/share/quill", b"ink\n"),),
            scripts={} if kind == "lua" else {kind: self.text},
            lua_scripts={"post-install": (self.text,)} if kind == "lua" else {},
        )
        self.project = project_of(folder, package)

    def planted_files(self) -> list[Path]:
        """Return what the script would have made, wherever it ran."""
        return [
            *([self.planted] if self.planted.exists() else []),
            *self.project.path.rglob("planted"),
        ]


@pytest.mark.parametrize("kind", ["pre-install", "post-install", "install", "lua"])
def test_a_hostile_script_stops_the_build_and_never_runs(tmp_path: Path, kind: str) -> None:
    hostile = Hostile(tmp_path, kind)
    hostile.project.build("update")
    run = hostile.project.doit("build")
    assert run.status == 1
    assert "quill-1.0, " in run.output
    assert "not understood" in run.output
    assert all(f"| {line}" in run.output for line in hostile.text.splitlines())
    assert "leave out package quill" in run.output
    assert "Traceback" not in run.output + run.errors
    assert hostile.planted_files() == []
    # skipped as the message says, it is not run either
    match = re.search(
        r'skip = \[(\{ digest = "sha256:[0-9a-f]{64}", reason = "…" \})\]', run.output
    )
    assert match is not None
    declare(hostile.project, match[1])
    hostile.project.build("update")
    hostile.project.build()
    assert "freebsd-quill:15.0" in hostile.project.digests()
    assert hostile.planted_files() == []


# ---------------------------------------------------------------- triggers

TRIGGER = "/usr/local/share/pkg/triggers/quill.ucl"
TREE = "freebsd-quill:15.0-amd64"


def with_trigger(folder: Path, *, sandbox: str) -> Project:
    """Make a project of a package with a trigger that its own files set off."""
    text = (
        'description: "Sharpens"\npath: "/usr/local/share/quill"\n'
        f'trigger: {{ type: lua, sandbox: {sandbox}, script: "return 0" }}\n'
    )
    entries = (file(TRIGGER, text.encode()), file("/usr/local/share/quill/nib", b"nib\n"))
    return project_of(folder, Package(name="quill", entries=entries))


def deferred(project: Project) -> list[bytes]:
    """Return the contents of what pkg would find to run."""
    tree = image_tree(project.output, TREE)
    return [
        seen.content
        for path, seen in tree.items()
        if path.startswith("var/db/pkg/triggers/") and seen.member.kind != tar.DIRECTORY
    ]


def test_a_trigger_is_saved_as_pkg_saves_it(tmp_path: Path) -> None:
    project = with_trigger(tmp_path, sandbox="false")
    project.build("update")
    project.build()
    assert deferred(project) == [
        b"--begin args\n-- /usr/local/share/quill\n--end args\n--\nreturn 0\n"
    ]


def test_a_trigger_that_pkg_would_run_at_once_stops_the_build(tmp_path: Path) -> None:
    project = with_trigger(tmp_path, sandbox="true")
    project.build("update")
    run = project.doit("build")
    assert run.status == 1
    assert f"{TRIGGER}: pkg would run its script in a sandbox" in run.output
    match = re.search(r'skip = \[(\{ trigger = "[^"]+", reason = "…" \})\]', run.output)
    assert match is not None
    declare(project, match[1])
    project.build("update")
    project.build()
    assert deferred(project) == []
