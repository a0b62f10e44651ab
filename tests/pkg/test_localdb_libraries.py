"""The same bytes from SQLite libraries of several years and from every Python that is supported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.elsewhere import ROOT

pytestmark = pytest.mark.slow

LIBRARIES = ("3.42.0.1", "3.46.1.0", "3.50.4.0", "3.54.1.0")
"""Wheels of apsw of 2023, 2024, 2025 and 2026; each brings its own SQLite."""

PYTHONS = ("3.11", "3.12", "3.13")

_CODE = """
import apsw
from fixtures.localdb.small import installed, many
from pipeline.formats.digest import Digest
from pipeline.pkg.localdb import build_localdb
from pipeline.pkg.localdb_schema import SCHEMAS

packages = [
    *many(150, files=60),
    installed("odd", comment="\\u65e5\\u672c", files={"/%ff": "", "/" + "x" * 200: "1$" + "y" * 9000},
              scripts={"install": "z" * 100_000}, licenses=[str(i) for i in range(3000)]),
]
for schema in SCHEMAS:
    print(schema, Digest.of(build_localdb(packages, schema=schema, source_date_epoch=2**31)))
"""


def _run(python: Path | str) -> str:
    result = subprocess.run(
        [python, "-c", _CODE],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def expected() -> str:
    """What this process' own library gives."""
    return _run(sys.executable)


def _python(version: str) -> str:
    """Return an interpreter of a version, from the path or from pyenv."""
    name = f"python{version}"
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for path in (shutil.which(name), *sorted(versions.glob(f"{version}.*/bin/{name}"))):
        if path is None:
            continue
        done = subprocess.run([path, "-c", "import sys, venv"], check=False, capture_output=True)
        if done.returncode == 0:
            return str(path)
    pytest.skip(f"no {name} here")


def _venv(python: str, library: str, folder: Path) -> Path:
    """Make a throw-away environment that has nothing but apsw and msgspec; needs PyPI."""
    subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
    made = folder / "bin" / "python"
    command = [str(made), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    installed = subprocess.run(
        [*command, f"apsw=={library}", "msgspec"], check=False, capture_output=True, text=True
    )
    if installed.returncode != 0:
        pytest.skip(f"apsw {library} cannot be installed: {installed.stderr.strip()[-200:]}")
    return made


@pytest.mark.parametrize("library", LIBRARIES)
def test_library_does_not_matter(library: str, expected: str, tmp_path: Path) -> None:
    """Pages are split and laid out the same since 3.42."""
    assert _run(_venv(sys.executable, library, tmp_path / "venv")) == expected


@pytest.mark.parametrize("version", PYTHONS)
def test_python_does_not_matter(version: str, expected: str, tmp_path: Path) -> None:
    """Every supported Python, with the newest of the libraries."""
    assert _run(_venv(_python(version), LIBRARIES[-1], tmp_path / "venv")) == expected


def test_older_library_is_refused(tmp_path: Path) -> None:
    """3.41 would write other bytes, so it may not write any."""
    made = _venv(sys.executable, "3.41.2.0", tmp_path / "venv")
    with pytest.raises(AssertionError, match=r"got SQLite 3.41.2, want at least 3.42"):
        _run(made)
