"""Pythons that can build: with the packages that the pipeline needs."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pipeline
from pipeline.errors import PipelineError
from pipeline.host import command

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT: Final = 20.0

MODULES: Final = (
    "pipeline.tasks.build",
    "pipeline.tasks.config",
    "pipeline.formats.compression",
    "pipeline.host.fetch",
    "pipeline.oci.layer",
    "pipeline.rootfs.compose",
    "pipeline.stages.parts",
)
"""What a build imports, and with it everything that it needs of others."""

ASK: Final = f"""
import {", ".join(MODULES)}
import importlib.metadata, json, os, platform, sys
import apsw
names = ("apsw", "cryptography", "deflate", "doit", "msgspec", "zstandard")
packages = {{name: importlib.metadata.version(name) for name in names}}
packages["sqlite"] = apsw.sqlite_lib_version()
print(json.dumps([platform.python_version(), packages, sys.version, os.__file__]))
"""
"""The last two tell whether another user really gets the same Python."""


def code_environment() -> dict[str, str]:
    """Return the environment in which Python finds this program."""
    return {"PYTHONPATH": str(Path(pipeline.__file__).parent.parent)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python with the packages that the pipeline needs."""

    path: str
    version: str
    packages: Mapping[str, str]
    """Distribution -> version of those that may matter to bytes, and `sqlite`."""

    def __str__(self) -> str:
        return f"Python {self.version}, apsw {self.packages['apsw']}"


def probe_interpreter(path: str) -> Interpreter:
    """Ask an interpreter for its version and its packages.

    Raises:
        ConfigurationError: there is none.
        CommandError: it lacks a package.
    """
    output = command.run(
        [path, "-c", ASK],
        environment={
            **command.inherited("PATH", "HOME", "LD_LIBRARY_PATH"),
            **code_environment(),
        },
        timeout=_TIMEOUT,
    )
    version, packages, _, _ = json.loads(output.stdout)
    return Interpreter(path=path, version=version, packages=packages)


def found_interpreters() -> tuple[str, ...]:
    """Return other Pythons on PATH that have all packages; the search says nothing of failures."""
    own = ".".join(platform.python_version_tuple()[:2])
    found = []
    for minor in range(11, 20):
        path = shutil.which(f"python3.{minor}") if own != f"3.{minor}" else None
        if path is not None:
            try:
                probe_interpreter(path)
            except PipelineError:
                continue
            found.append(path)
    return tuple(found)
