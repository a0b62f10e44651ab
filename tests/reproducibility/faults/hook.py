"""A project with a fault in every image, and interpreters that plant them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.tasks.project import ROOT

PLUGIN: Final = Path(__file__).resolve().parent / "plugin"
OTHER_VERSION: Final = "3.99.1"
DATA: Final = "".join(f"{n} {n * n * 2654435761 % 4294967296:x} bottles\\n" for n in range(4000))

_HEAD: Final = f"""\
format = 1

[repositories.FreeBSD-base]
url = "file:{ROOT}/fixtures/miniature/repositories/${{ABI}}/base_release_${{VERSION_MINOR}}"
fingerprints = "{ROOT}/fixtures/miniature/keys/pkgbase"

[releases."15.0"]
architectures = ["amd64"]
repositories = ["FreeBSD-base"]
"""
_IMAGE: Final = """
[images.{image}]
title = "FreeBSD {image}"
packages = [{packages}]
files = [{{ path = "/fault/{name}", text = "no fault\\n" }}{more}]
"""


_MORE: Final = {
    "zstd-level": f', {{ path = "/data", text = "{DATA}" }}',
    "tar-order": "".join(f', {{ path = "/{c}", text = "" }}' for c in "bdacfe"),
    "sbom-order": "".join(f', {{ path = "/{c}", text = "" }}' for c in "bdacfe"),
}
"""Files that a fault needs besides the one that every image has."""


def interpreter(path: Path, *, version: str = "") -> str:
    """Write an interpreter that plants faults; with a version, one that claims to be another."""
    lines = [
        "#!/bin/sh",
        f'PYTHONPATH={shlex.quote(str(PLUGIN))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "export PYTHONPATH",
        *([f"export FAULTS_PYTHON={version}"] if version else []),
        f'exec {shlex.quote(sys.executable)} "$@"',
    ]
    path.write_text("\n".join((*lines, "")))
    path.chmod(0o755)
    return str(path)


def declaration(names: tuple[str, ...]) -> str:
    """Return a declaration with an image for each fault, as small as the fault allows."""
    images = [
        _IMAGE.format(
            image=f"fault-{name}",
            name=name,
            packages='"FreeBSD-zoneinfo"' if name.startswith("sqlite") else "",
            more=_MORE.get(name, ""),
        )
        for name in names
    ]
    return "".join((_HEAD, *images))


def write_project(folder: Path, names: tuple[str, ...]) -> Path:
    """Write a project with some faults and lock it; return its declaration."""
    folder.mkdir(parents=True)
    path = folder / "images.toml"
    path.write_text(declaration(names))
    (folder / "dodo.py").write_text(
        "from pipeline.tasks.build import *\nfrom pipeline.tasks.config import DOIT_CONFIG\n"
    )
    subprocess.run(
        [sys.executable, "-m", "doit", "update"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    return path
