"""The CI recipes hold to the schemas of their systems, and run what the documentation says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.elsewhere import ROOT
from tests.programs import require_program

if TYPE_CHECKING:
    from collections.abc import Sequence

RECIPES: Final = {
    "github-actions.yml": "vendor.github-workflows",
    "gitlab-ci.yml": "vendor.gitlab-ci",
}
FOLDER: Final = ROOT / "docs/ci"


def program(name: str) -> str:
    """Return a program of this Python installation, or of the system."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else require_program(name)


def run(argv: Sequence[str]) -> None:
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_recipe_is_forgotten() -> None:
    """Every file has its schema, and the documentation names it."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(RECIPES)
    text = (ROOT / "docs/ci.md").read_text()
    assert all(f"ci/{name}" in text for name in RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_follows_its_schema(name: str) -> None:
    """The schema that the system's own editor support uses, as check-jsonschema carries it."""
    run([program("check-jsonschema"), "--builtin-schema", RECIPES[name], str(FOLDER / name)])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_is_tidy_yaml(name: str) -> None:
    """No duplicate keys, no surprises of YAML 1.1."""
    rules = "{extends: default, rules: {line-length: {max: 100}}}"
    run([program("yamllint"), "--strict", "-d", rules, str(FOLDER / name)])


@pytest.mark.slow
def test_schema_check_can_fail(tmp_path: Path) -> None:
    """A recipe with a misspelled key is refused: the linter lints."""
    path = tmp_path / "broken.yml"
    shutil.copy(FOLDER / "github-actions.yml", path)
    path.write_text(path.read_text().replace("runs-on:", "run-on:"))
    schema = RECIPES["github-actions.yml"]
    argv = [program("check-jsonschema"), "--builtin-schema", schema, str(path)]
    assert subprocess.run(argv, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_lets_the_audit_vary_everything(name: str) -> None:
    """Programs and locales that variations need, as docs/audit.md lists them."""
    text = (FOLDER / name).read_text()
    for needed in ("disorderfs", "faketime", "locales", "et_EE.UTF-8", "tr_TR.UTF-8", "locale-gen"):
        assert needed in text
        assert needed in (ROOT / "docs/audit.md").read_text()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_does_what_the_documentation_says(name: str) -> None:
    """One command decides; the report is kept whatever it says."""
    text = (FOLDER / name).read_text()
    assert ".venv/bin/doit build audit\n" in text
    assert "continue-on-error" not in text
    assert "allow_failure" not in text
    assert "build/audit" in text
    assert "--require-hashes -r requirements.txt" in text
