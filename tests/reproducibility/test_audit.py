"""The audit as it is used: by its command, by doit, interrupted, and on machines that can little."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.tasks.project import Project as Loaded
from reproducibility.audit import Audit, audit
from reproducibility.audit_session import Settings
from reproducibility.diffoscope import Diffoscope
from reproducibility.machine import probe_machine
from reproducibility.variations import all_variations
from reproducibility.verdict import Verdict
from tests.reproducibility.faults.hook import interpreter, write_project
from tests.reproducibility.laboratory import mounts_below, poor_machine, processes_with
from tests.tasks.project import Project, embedded

pytestmark = pytest.mark.slow

SAID = ("sbom", "provenance")
DODO = """\
from pipeline.tasks.audit import task_audit, task_report
from pipeline.tasks.build import *
from pipeline.tasks.config import DOIT_CONFIG
from pipeline.tasks.trust import task_provenance, task_sbom
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has been built, with all that is said of its images."""
    project = embedded(tmp_path_factory.mktemp("audit") / "p")
    (project.path / "dodo.py").write_text(DODO)
    project.build("build", "sbom", "provenance")
    return project


def run(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reproducibility", "audit", *arguments],
        cwd=project.path,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def report_of(project: Project) -> dict[str, Any]:
    value = json.loads((project.path / "build/audit/report.json").read_bytes())
    assert isinstance(value, dict)
    return value


def rows_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in report["matrix"]["rows"]}


# ---------------------------------------------------------------- the embedded project


def test_the_embedded_images_are_reproducible(built: Project) -> None:
    """`doit build audit`: status 0, everything applied that can be."""
    done = built.doit("build", "audit")
    assert done.status == 0, done.output + done.errors
    assert "Reproducible" in done.output
    report = report_of(built)
    assert (report["verdict"], report["exit_code"]) == ("reproducible", 0)
    rows = rows_of(report)
    machine = probe_machine(sys.executable, ())
    for variation in all_variations(machine, need=0):
        texts = {cell["text"] for cell in rows[variation.name]["cells"]}
        if variation.name in ("python", "apsw"):  # others may be on PATH
            assert texts <= {"identical", "not applied"}
        elif variation.is_possible:
            assert texts == {"identical"}, variation.name
        else:
            assert texts == {"not applied"}
            assert variation.impossible[0] in rows[variation.name]["detail"]
            assert any(note.startswith(f"{variation.name} was not") for note in report["notes"])
    assert report["matrix"]["columns"] == [
        f"freebsd-{image}:{release}"
        for release in ("14.3", "15.0")
        for image in ("static", "dynamic", "runtime")
    ]
    documents = [
        document["state"]
        for comparison in report["comparisons"]
        for image in comparison["images"]
        for one in (image, *image["platforms"])
        for document in one["attachments"]
    ]
    assert documents == ["identical"] * 6 * (3 + 2 * 7)
    assert str(built.path) not in json.dumps(report["comparisons"])
    assert "build hostile-2: " in done.errors
    folder = built.path / "build/audit"
    for name in ("index.html", "report.json", "junit.xml", "report.sarif", "summary.md"):
        assert (folder / name).stat().st_size > 0
    for number in (1, 2, 3):
        assert (folder / f"builds/hostile-{number}/build.sh").is_file()
    assert not (folder / "work").exists()
    shown = built.doit("report")
    assert shown.status == 0
    assert "audit of images.toml: reproducible" in shown.output
    assert "build/audit/index.html" in shown.output


def test_report_without_an_audit_says_how_to_make_one(tmp_path: Path) -> None:
    project = embedded(tmp_path / "p")
    (project.path / "dodo.py").write_text(DODO)
    done = project.doit("report")
    assert done.status == 1
    assert "doit build audit" in done.output


def test_unknown_variation_could_not_be_told(built: Project) -> None:
    done = run(built, "--variations", "umsk")
    assert done.returncode == 2
    assert "did you mean 'umask'" in done.stderr
    assert "Traceback" not in done.stderr
    assert built.doit("audit", "--variations", "umsk").status == 2


def test_list_says_what_can_be_varied_here(built: Project) -> None:
    done = run(built, "--list")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert len(names) == 24
    assert "umask                022 → 077, 000" in done.stdout


# ---------------------------------------------------------------- the first build


def copy_of(built: Project, path: Path) -> Project:
    subprocess.run(["cp", "-a", str(built.path), str(path)], check=True)
    return Project(path)


def test_a_first_build_that_is_another_is_found_out(built: Project, tmp_path: Path) -> None:
    """Built, then the declaration was changed: no variation is to blame, the layout is stale."""
    project = copy_of(built, tmp_path / "p")
    project.edit('title = "FreeBSD static"', 'title = "Something else"')
    dodo = project.path / "dodo.py"
    stubs = (f"def task_{n}():\n    return {{'actions': None}}\n" for n in ("build", *SAID))
    dodo.write_text("".join((DODO, *stubs)))
    options = ("audit", "--variations", "umask", "--rounds", "1")
    done = project.doit(*options)
    assert done.status == 1, done.output + done.errors
    assert "not reproducible" in done.output
    report = report_of(project)
    rows = rows_of(report)
    assert rows["first build"]["guilty"]
    assert not rows["umask"]["guilty"]
    assert any("run `doit build`" in note for note in report["notes"])
    dodo.write_text(DODO)
    assert project.doit(*options).status == 0


def test_a_damaged_layout_is_not_called_reproducible(built: Project, tmp_path: Path) -> None:
    project = copy_of(built, tmp_path / "p")
    blobs = sorted(
        project.output.joinpath("blobs/sha256").iterdir(), key=lambda p: -p.stat().st_size
    )
    blobs[0].chmod(0o644)
    data = blobs[0].read_bytes()
    blobs[0].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = run(project, "--variations", "umask", "--rounds", "1", "--no-diffoscope")
    assert done.returncode in (1, 2), done.stdout
    assert blobs[0].name in json.dumps(report_of(project))


def test_a_document_that_was_altered_is_found_out(built: Project, tmp_path: Path) -> None:
    """The images agree, and so does what all builds of the audit say of them; one file does not."""
    project = copy_of(built, tmp_path / "p")
    path = project.path / "build/sbom/freebsd-static-15.0-amd64.spdx.json"
    text = path.read_text()
    path.write_text(text.replace('"dataLicense":"CC0-1.0"', '"dataLicense":"none"'))
    done = run(project, "--variations", "umask", "--rounds", "1", "--no-diffoscope")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The images are the same to the byte" in done.stdout
    report = report_of(project)
    (comparison,) = report["comparisons"]
    (difference,) = comparison["differences"]
    assert difference["place"]["attachment"] == path.name
    assert difference["inside"] == "$.dataLicense"
    rows = rows_of(report)
    assert rows["first build"]["guilty"]
    texts = [cell["text"] for cell in rows["first build"]["cells"]]
    assert texts == ["identical"] * 3 + ["documents differ"] + ["identical"] * 2
    assert project.doit("audit", "--variations", "umask", "--rounds", "1").status == 0


def test_what_has_not_been_said_is_said_by_the_audit(built: Project, tmp_path: Path) -> None:
    project = copy_of(built, tmp_path / "p")
    shutil.rmtree(project.path / "build/provenance")
    done = run(project, "--variations", "umask", "--rounds", "1", "--no-diffoscope")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "doit sbom provenance" in done.stdout
    assert "build held: " in done.stderr


def test_provenance_is_left_out_where_it_must_not_be_published(tmp_path: Path) -> None:
    """An account in a repository's URL: the declaration is part of provenance, and a secret."""
    project = embedded(tmp_path / "p")
    (project.path / "dodo.py").write_text(DODO)
    project.edit(
        'url = "file:fixtures/miniature/repositories/',
        'url = "https://me:secret@localhost:1/',
    )
    dependencies = project.doit("info", "audit").output
    assert "sbom" in dependencies
    assert "provenance" not in dependencies


def test_an_incomplete_layout_says_what_to_do(built: Project, tmp_path: Path) -> None:
    project = copy_of(built, tmp_path / "p")
    project.build("clean", "index:15.0:static")
    done = run(project, "--rounds", "1")
    assert done.returncode == 2
    assert "lacks freebsd-static:15.0" in done.stderr
    assert "doit build" in done.stderr


def test_without_a_layout_the_first_build_is_made_as_well(tmp_path: Path) -> None:
    project = embedded(tmp_path / "p")
    done = run(project, "--variations", "umask,time-zone", "--rounds", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has made the first build as well" in done.stdout


def test_a_stale_lock_could_not_be_told(built: Project, tmp_path: Path) -> None:
    project = copy_of(built, tmp_path / "p")
    project.edit('packages = ["FreeBSD-zoneinfo"]', 'packages = ["FreeBSD-zoneinfo", "FreeBSD-vi"]')
    done = run(project)
    assert done.returncode == 2
    assert "doit update" in done.stderr


def test_a_directory_that_holds_something_is_left_alone(built: Project, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    done = run(built, "--work", str(tmp_path))
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert (tmp_path / "precious").exists()


def test_two_audits_do_not_share_a_directory(built: Project, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    done = run(built, "--work", str(tmp_path))
    os.close(descriptor)
    assert done.returncode == 2
    assert "another audit" in done.stderr


# ---------------------------------------------------------------- a faulty project


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose images depend on umask and working directory; in a private directory."""
    folder = tmp_path_factory.mktemp("faulty")
    write_project(folder / "project", ("umask", "build-path"))
    interpreter(folder / "python")
    return folder


def audit_of(folder: Path, report: Path, **fields: Any) -> Audit:
    project = Loaded(folder / "project/images.toml", store=None, output=None)
    settings = Settings(
        report=report,
        work=report.parent / "work",
        python=str(folder / "python"),
        only=("umask", "time-zone"),
        rounds=1,
        is_fresh=True,
        **fields,
    )
    return audit(project, settings)


def test_a_fault_is_named_with_its_variation(faulty: Path, tmp_path: Path) -> None:
    result = audit_of(faulty, tmp_path / "r", diffoscope=None)
    assert result.report.verdict is Verdict.DIFFERENT
    assert result.bisection is not None
    assert result.bisection.names == ("umask",)
    assert result.bisection.tasks == ("tree:15.0:amd64:fault-umask",)
    rows = {row.name: row for row in result.report.matrix.rows} if result.report.matrix else {}
    umask, path = result.report.matrix.columns if result.report.matrix else ("", "")
    assert (umask, path) == ("freebsd-fault-umask:15.0", "freebsd-fault-build-path:15.0")
    assert [cell.text for cell in rows["umask"].cells] == ["differs", "identical"]
    assert [cell.text for cell in rows["time-zone"].cells] == ["not the reason", "identical"]
    assert [cell.text for cell in rows["build-path"].cells] == ["not applied", "not applied"]
    assert rows["umask"].guilty
    assert not rows["time-zone"].guilty
    assert "guilty: umask (077)" in result.report.notes[0]


CRASHING = "#!/bin/sh\necho 'Traceback: no xxd' >&2\nexit 1\n"
HANGING = "#!/bin/sh\nexec sleep 4712\n"


@pytest.mark.parametrize("text", [None, CRASHING, HANGING])
def test_the_verdict_does_not_need_diffoscope(
    text: str | None, faulty: Path, tmp_path: Path
) -> None:
    """The fault of a content file, which is what diffoscope would be asked about."""
    program = tmp_path / "diffoscope"
    if text is not None:
        program.write_text(text)
        program.chmod(0o755)
    project = Loaded(faulty / "project/images.toml", store=None, output=None)
    settings = Settings(
        report=tmp_path / "r",
        work=tmp_path / "work",
        python=str(faulty / "python"),
        only=("build-path",),
        rounds=1,
        is_fresh=True,
        diffoscope=Diffoscope(program=str(program), timeout=4, timeout_one=2, max_output=1 << 20),
    )
    result = audit(project, settings)
    assert result.report.verdict is Verdict.DIFFERENT
    assert result.bisection is not None
    assert result.bisection.names == ("build-path",)
    assert all(path.is_file() for path in result.files)
    notes = [note for c in result.report.comparisons for note in c.notes]
    assert any("diffoscope" in note for note in notes), notes
    assert not processes_with("sleep 4712")


def test_a_failure_to_compare_does_not_lose_the_verdict(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reproducibility.audit_session.compare", fail)
    result = audit_of(faulty, tmp_path / "r", diffoscope=None)
    assert result.report.verdict is Verdict.DIFFERENT
    assert any("could not be compared" in note for note in result.report.notes)


def test_a_build_that_fails_under_a_variation_is_named(faulty: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$2" != doit ] || [ "$(umask)" != 0077 ] || {{ echo broken >&2; exit 9; }}\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    project = Loaded(faulty / "project/images.toml", store=None, output=None)
    settings = Settings(
        report=tmp_path / "r",
        work=tmp_path / "work",
        python=str(python),
        rounds=1,
        is_fresh=True,
        diffoscope=None,
    )
    result = audit(project, settings)
    assert result.report.verdict is Verdict.UNKNOWN
    assert result.bisection is not None
    assert result.bisection.names == ("umask",)
    assert any("the build fails with umask (077): exit status 9" in n for n in result.report.notes)


def test_a_machine_that_can_little_still_audits(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No namespaces, no programs, one processor: the rest is varied, and the report says so."""
    monkeypatch.setattr("reproducibility.audit.probe_machine", lambda *_: poor_machine())
    project = Loaded(faulty / "project/images.toml", store=None, output=None)
    settings = Settings(
        report=tmp_path / "r",
        work=tmp_path / "work",
        python=str(faulty / "python"),
        is_fresh=True,
        diffoscope=None,
    )
    result = audit(project, settings)
    assert result.bisection is not None
    assert result.bisection.names == ("umask", "build-path")
    notes = "\n".join(result.report.notes)
    assert "the network was within reach" in notes
    assert "clock was not varied: no clock here" in notes


# ---------------------------------------------------------------- interruptions


def shared_memory() -> list[str]:
    """Return what libfaketime leaves behind when its process is killed."""
    return sorted(path.name for path in Path("/dev/shm").glob("*faketime*"))


@pytest.mark.parametrize(
    ("what", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_interrupted_it_leaves_no_processes_and_no_mounts(
    what: signal.Signals, status: int, built: Project, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    shared = shared_memory()
    process = subprocess.Popen(
        [sys.executable, "-m", "reproducibility", "audit", "--work", str(work)],
        cwd=built.path,
        env=built.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    mine = f"{work}/"
    while time.monotonic() < deadline:
        if any("-m doit" in line for line in processes_with(mine)):
            break
        time.sleep(0.02)
    else:
        pytest.fail("no build has begun")
    time.sleep(0.3)
    process.send_signal(what)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status
    time.sleep(0.5)
    assert processes_with(mine) == []
    assert mounts_below(work) == []
    assert shared_memory() == shared
    if what is not signal.SIGKILL:
        assert not work.exists()
        assert b"interrupted" in errors
        assert b"Traceback" not in errors
    else:  # what it could not tidy up, the next one does
        done = run(built, "--work", str(work), "--variations", "umask", "--rounds", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not work.exists()
