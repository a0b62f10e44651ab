"""The process that reads and builds what others have written: it is bounded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from reproducibility.verify_child import BUILD, CHECK, Order
from reproducibility.verify_claim import MAX_LOCK
from tests.built_images import Workshop
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.embedded(tmp_path_factory.mktemp("workshop"))


def child(mode: str, site: Path, *, before: str = "") -> tuple[int, dict[str, str]]:
    code = f"import sys; from reproducibility import verify_child as c; {before}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nsys.exit(c.main(sys.argv[1:]))", mode, str(site)],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert b"Traceback" not in done.stderr
    return done.returncode, json.loads((site / "result.json").read_bytes())


def site(path: Path, workshop: Workshop, *, limit: int) -> Path:
    """Make what a build gets."""
    path.mkdir()
    (path / "images.toml").write_bytes(workshop.raw_declaration)
    (path / "images.lock.json").write_bytes(workshop.raw_lock)
    order = Order(images=("15.0:amd64:static",), is_index=False, limit=limit)
    (path / "order.json").write_bytes(order.to_bytes())
    for package in workshop.plan.images["15.0:amd64:static"].sources:
        source = workshop.store.path(package.digest)
        target = path / "store" / source.relative_to(workshop.store.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    return path


def test_a_build_that_grows_too_much_is_ended(workshop: Workshop, tmp_path: Path) -> None:
    assert child(BUILD, site(tmp_path / "a", workshop, limit=1 << 30)) == (
        0,
        {"error": "", "hint": None},
    )
    status, result = child(BUILD, site(tmp_path / "b", workshop, limit=1000))
    assert status == 1
    assert result == {"error": "writes more than 1.0 kB", "hint": "allow more: --limit SIZE"}


def test_text_that_takes_all_memory_is_not_read_here(workshop: Workshop, tmp_path: Path) -> None:
    """Within the bounds on length, but not on what it becomes."""
    place = site(tmp_path / "a", workshop, limit=1000)
    (place / "images.lock.json").write_bytes(b'{"x":[' + b"{}," * (MAX_LOCK // 3 - 10) + b"{}]}")
    status, result = child(CHECK, place, before="c.CHECK_MEMORY >>= 1")
    assert (status, result["error"]) == (1, "takes too much memory")
    (place / "images.lock.json").write_bytes(b"nonsense")
    assert child(CHECK, place)[0] == 0, "reading it does no harm"
