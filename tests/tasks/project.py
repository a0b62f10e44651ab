"""A project in a directory of its own, driven by `doit` as users drive it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fixtures.miniature.repository import write_repository

if TYPE_CHECKING:
    from fixtures.miniature.package import Package

ROOT = Path(__file__).resolve().parents[2]
MINIATURE = ROOT / "fixtures" / "miniature"

_UNSIGNED = """\
format = 1
[repositories.test]
url = "file:repository"
signature_type = "none"
allow_unsigned = true
[releases."15.0"]
architectures = ["amd64"]
repositories = ["test"]
[images.x]
"""

_EXECUTED = re.compile(r"(fetch|package|tree|layer|image|index|build)(?: +([0-9]\S*))?")


@dataclass(frozen=True, slots=True)
class Run:
    """What a call of doit printed, and how it ended."""

    status: int
    output: str
    errors: str

    @property
    def executed(self) -> list[str]:
        """The tasks whose actions ran, in order."""
        found = (_EXECUTED.fullmatch(line.strip()) for line in self.output.splitlines())
        return [f"{m[1]}:{m[2]}" if m[2] else m[1] for m in found if m]


@dataclass(frozen=True, slots=True)
class Project:
    """A declaration, its lock and a dodo.py."""

    path: Path

    def doit(self, *arguments: str, env: dict[str, str] | None = None, umask: int = 0o022) -> Run:
        """Run doit here."""
        done = subprocess.run(
            [sys.executable, "-m", "doit", *arguments],
            cwd=self.path,
            env=self.environment(env),
            umask=umask,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a run: ours without settings that would reach the build."""
        env = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
        return {**env, "PYTHONPATH": str(ROOT), **(extra or {})}

    def build(self, *arguments: str) -> Run:
        """Build, and insist on success."""
        run = self.doit(*(arguments or ("build",)))
        assert run.status == 0, run.output + run.errors
        return run

    @property
    def output(self) -> Path:
        """The layout."""
        return self.path / "build" / "oci"

    def digests(self, output: Path | None = None) -> dict[str, str]:
        """Return what the layout's index.json names."""
        index = json.loads(((output or self.output) / "index.json").read_bytes())
        name = "org.opencontainers.image.ref.name"
        return {m["annotations"][name]: m["digest"] for m in index["manifests"]}

    def blob(self, digest: str) -> Path:
        """Return where a blob of the layout is."""
        return self.output / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def edit(self, old: str, new: str) -> None:
        """Replace text in the declaration."""
        path = self.path / "images.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def embedded(path: Path) -> Project:
    """Make a project of the embedded declaration and lock, with the repositories where they are."""
    path.mkdir(parents=True, exist_ok=True)
    for name in ("images.toml", "images.lock.json", "dodo.py"):
        shutil.copy(ROOT / name, path / name)
    (path / "fixtures").symlink_to(ROOT / "fixtures")
    return Project(path)


def unsigned(path: Path, *packages: Package) -> Project:
    """Make a project with one image, `x`, of the packages of an unsigned repository."""
    write_repository(path / "repository", packages)
    shutil.copy(ROOT / "dodo.py", path / "dodo.py")
    names = ", ".join(f'"{package.name}"' for package in packages)
    (path / "images.toml").write_text(_UNSIGNED + f"packages = [{names}]\n")
    return Project(path)


def with_repositories(path: Path) -> Project:
    """Make the same project with a copy of the repositories, so that they can be changed."""
    project = embedded(path)
    (path / "fixtures").unlink()
    shutil.copytree(MINIATURE / "repositories", path / "fixtures/miniature/repositories")
    shutil.copytree(MINIATURE / "keys", path / "fixtures/miniature/keys")
    return project
