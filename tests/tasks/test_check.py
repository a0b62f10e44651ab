"""`doit check`, as users run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tasks.project import embedded

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_what_was_built_is_found_whole_and_damage_is_named(tmp_path: Path) -> None:
    """It finds a changed byte and a lost blob; a build mends both."""
    project = embedded(tmp_path / "p")
    before = project.doit("check")
    assert before.status == 1
    assert "build/oci: nothing is built" in before.output + before.errors

    project.build("index:15.0:static", "provenance:15.0:static")
    whole = project.doit("check")
    assert whole.status == 0
    assert "build/oci: 3 names, every byte as it should be" in whole.output
    assert "build/attest: 1 name, every byte as it should be" in whole.output

    manifest, other = list(project.digests().values())[:2]
    blob = project.blob(manifest)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b" ")
    project.blob(other).unlink()
    damaged = project.doit("check")
    assert damaged.status == 1
    assert f"want {manifest}" in damaged.output
    assert "is not in the layout" in damaged.output

    assert project.doit("forget", "build").status == 0
    project.build("index:15.0:static")
    assert project.doit("check").status == 0
