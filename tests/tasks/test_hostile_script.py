"""A package with a script that nobody knows: refused by the build, and never run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fixtures.miniature.entry import file
from fixtures.miniature.generate import ports_signer
from fixtures.miniature.package import Package
from fixtures.miniature.repository import build_repository
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


class Hostile:
    """A project whose only package plants a file at installation, if its script is ever run."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.project = Project(folder / "project")
        self.project.path.mkdir()
        self.planted = folder / "planted"
        self.kind = kind
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
        repository = build_repository([package], ports_signer())
        repository.write(self.project.path / "repository")
        (self.project.path / "dodo.py").write_text("from pipeline.tasks.graph import *\n")
        self.declare("")

    def declare(self, skip: str) -> None:
        """Write the declaration."""
        text = DECLARATION.format(key=MINIATURE / "keys/ports.pub", skip=skip)
        (self.project.path / "images.toml").write_text(text)

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
    hostile.declare(match[1])
    hostile.project.build("update")
    hostile.project.build()
    assert "freebsd-quill:15.0" in hostile.project.digests()
    assert hostile.planted_files() == []
