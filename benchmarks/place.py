"""Where a benchmark runs: a generated repository, projects that build images of it, yardsticks.

    DIRECTORY/repository     the packages
    DIRECTORY/single/        a project: one layer for all packages, zstd at level 3
    DIRECTORY/package/       layering = "package", level 3
    DIRECTORY/release/       layering = "package", level 9, which is what a declaration gets unasked
    DIRECTORY/tree/          what the packages unpack to, for the yardsticks
    DIRECTORY/trash/         what was built before

A build that is to be forgotten is moved away, and deleted only at the end: ext4 looks at every
inode that was deleted in the last minutes before it gives one to a new file.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fixtures.miniature import synthetic

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]

DECLARATION = """\
format = 1

[compression]
level = {level}

[repositories.synthetic]
url = "file:../repository"
signature_type = "none"
allow_unsigned = true

[releases."15.0"]
architectures = ["amd64"]
repositories = ["synthetic"]

[images.all]
packages = ["*"]
layering = "{layering}"
"""

PROJECTS = {"single": ("single", 3), "package": ("package", 3), "release": ("package", 9)}
"""Layering and level of each."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took, in seconds."""

    wall: float
    cpu: float
    """User and system, of all processes."""


def timed(action: Callable[[], None]) -> Cost:
    """Return what an action's child processes took."""
    os.sync()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    action()
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def shell(command: str, directory: Path) -> None:
    """Run a pipeline of programs, output thrown away."""
    argv = ["bash", "-o", "pipefail", "-c", command]
    subprocess.run(argv, cwd=directory, check=True, stdout=subprocess.DEVNULL)


def environment() -> dict[str, str]:
    """Return the environment that users have: modules are compiled and kept."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True, slots=True)
class Project:
    """A declaration in a directory of its own."""

    directory: Path

    def doit(self, *arguments: str) -> None:
        """Run doit."""
        subprocess.run(
            [sys.executable, "-m", "doit", *arguments],
            cwd=self.directory,
            env=environment(),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def python(self, *arguments: str) -> str:
        """Run Python in the project; return what it prints."""
        argv = [sys.executable, *arguments]
        done = subprocess.run(
            argv, cwd=self.directory, env=environment(), check=True, capture_output=True, text=True
        )
        return done.stdout

    def declare(self, layering: str, level: int) -> None:
        """Write the declaration and its lock."""
        self.directory.mkdir(parents=True, exist_ok=True)
        text = DECLARATION.format(layering=layering, level=level)
        (self.directory / "images.toml").write_text(text)
        shutil.copy(ROOT / "dodo.py", self.directory / "dodo.py")
        self.forget()
        self.doit("update")

    def forget(self) -> None:
        """Move everything away that has been made."""
        discard(self.directory / "build", self.directory.parent)
        for path in self.directory.glob(".doit.*"):
            path.unlink()


def discard(path: Path, directory: Path) -> None:
    """Move something into the trash."""
    trash = directory / "trash"
    trash.mkdir(exist_ok=True)
    if path.exists():
        path.rename(trash / str(time.monotonic_ns()))


@dataclass(frozen=True, slots=True)
class Bench:
    """A directory with all of it."""

    directory: Path

    @property
    def repository(self) -> Path:
        """Where the packages are."""
        return self.directory / "repository"

    def project(self, name: str) -> Project:
        """Return a project."""
        return Project(self.directory / name)

    def write_repository(self, plan: synthetic.Plan) -> None:
        """Write the packages anew."""
        discard(self.repository, self.directory)
        synthetic.write_synthetic(self.repository, plan, None)

    def prepare(self, plan: synthetic.Plan, *names: str) -> None:
        """Write the repository, and some projects."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.write_repository(plan)
        for name in names:
            layering, level = PROJECTS[name]
            self.project(name).declare(layering, level)

    def archives(self) -> list[str]:
        """Return the package files, not the catalogues."""
        found = self.repository.rglob("*.pkg")
        return sorted(str(p) for p in found if p.parent != self.repository)

    def unpack(self, name: str) -> Path:
        """Unpack every package with bsdtar into a new directory, metadata left out."""
        target = self.directory / name
        discard(target, self.directory)
        target.mkdir()
        for path in self.archives():
            argv = ["bsdtar", "-xf", path, "--exclude", "+*", "-C", str(target)]
            subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)
        return target

    def clean(self) -> None:
        """Empty the trash."""
        shutil.rmtree(self.directory / "trash", ignore_errors=True)
