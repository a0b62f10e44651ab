"""Deliberate faults: the audit finds each, says why, and blames the right variations."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from reproducibility.machine import probe_machine
from reproducibility.verdict import Verdict
from tests.programs import OPTIONAL, require_program, require_root
from tests.reproducibility.faults.catalogue import FAULTS
from tests.reproducibility.faults.hook import PLUGIN, write_project
from tests.reproducibility.faults.table import DOCUMENT, Found, document, findings, run_audit
from tests.tasks.project import ROOT, embedded

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("unshare", "setpriv", "setarch", "taskset", "hostname", "disorderfs", "faketime")
COMMAND = "python -m tests.reproducibility.faults.table"


def complain(found: Found) -> str:
    """Say what is wrong with what the audit says of a fault; nothing if all is well."""
    name = found.fault.name
    if not found.is_caught:
        return f"{name}: not caught"
    if found.fault.causes and not found.is_right:
        return f"{name}: cause {found.cause}, want one of {', '.join(found.fault.causes)}"
    if not found.is_blamed:
        blamed = "nobody, it differs on every run" if found.is_unstable else found.variations
        return f"{name}: blamed {blamed}, want {found.fault.variations or 'nobody'}"
    return ""


@pytest.mark.slow
def test_every_fault_is_found_explained_and_blamed(tmp_path: Path) -> None:
    """All are caught, nearly all with the right class of cause, and blamed on what brings them.

    One audit for all of them, and the page that is made of it: building is what takes the time.
    """
    require_root()
    for program in PROGRAMS:
        require_program(program)
    if not {"et_ee.utf8", "tr_tr.utf8"} <= probe_machine(sys.executable, ()).locales:
        message = "no locales et_EE.UTF-8 and tr_TR.UTF-8 here"
        if os.environ.get(OPTIONAL) == "missing-ok":
            pytest.skip(message)
        pytest.fail(message, pytrace=False)
    result = run_audit(tmp_path / "f")
    assert result.report.verdict is Verdict.DIFFERENT
    found = findings(result)
    assert [text for f in found if (text := complain(f))] == []
    assert sum(f.is_caught for f in found) == len(FAULTS) >= 24
    assert sum(f.is_right for f in found) >= 20
    assert result.bisection is not None
    assert result.bisection.unexplained == ()
    assert document(found) == DOCUMENT.read_text("utf-8"), f"out of date; run {COMMAND}"


def test_catalogue_and_plugin_have_the_same_faults() -> None:
    code = "import planted; print(*sorted(planted.FAULTS))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PLUGIN)},
        capture_output=True,
        text=True,
        check=True,
    )
    names = [fault.name for fault in FAULTS]
    assert done.stdout.split() == sorted(names)
    assert len(set(names)) == len(names) >= 24


def test_a_normal_build_cannot_reach_a_fault(tmp_path: Path) -> None:
    """The same images without the plugin: every file still says that it has no fault."""
    path = write_project(tmp_path / "p", ("clock", "umask", "gzip-header"))
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "FAULTS": "clock",
        "FAULTS_PYTHON": "3.99",
        "CI": "true",
    }
    layouts = []
    for number in range(2):
        output = f"build/oci-{number}"
        subprocess.run(
            [sys.executable, "-m", "doit", f"store=build/{number}", f"output={output}", "build"],
            cwd=path.parent,
            env=environment,
            umask=(0o022, 0o077)[number],
            check=True,
            capture_output=True,
        )
        layouts.append(json.loads((path.parent / output / "index.json").read_bytes()))
    assert layouts[0] == layouts[1]
    specs = [
        p.read_bytes()
        for p in (path.parent / "build/0/blobs").rglob("*")
        if p.is_file() and p.read_bytes().startswith(b"#mtree")
    ]
    assert any(b"./fault/clock mode=0644" in spec or b"./fault/clock" in spec for spec in specs)


def test_the_product_knows_nothing_of_faults() -> None:
    """No module, no variable, no word of it: the plugin lies beside the tests and is not packaged."""
    words = re.compile(
        r"planted|FAULTS_PYTHON|tests[./]reproducibility|sitecustomize|usercustomize"
    )
    for folder in ("pipeline", "reproducibility"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert not words.search(path.read_text("utf-8")), path
    assert not words.search((ROOT / "dodo.py").read_text("utf-8"))
    assert PLUGIN.is_relative_to(ROOT / "tests")


def test_the_plugin_is_not_loaded_by_a_normal_build(tmp_path: Path) -> None:
    project = embedded(tmp_path / "p")
    (project.path / "dodo.py").write_text(
        "import sys\n"
        "assert not {'planted', 'sitecustomize'} & {\n"
        "    name for name, m in sys.modules.items()\n"
        "    if 'faults' in str(getattr(m, '__file__', ''))\n"
        "}\n"
        "from pipeline.tasks.build import *\n"
        "from pipeline.tasks.config import DOIT_CONFIG\n"
    )
    assert "image:15.0:amd64:runtime" in project.build("list", "--all").output
