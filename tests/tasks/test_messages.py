"""What doit says: contents, errors with a next step, status."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.miniature.entry import file
from fixtures.miniature.package import Package
from pipeline.tasks import config as module
from pipeline.tasks.reporter import Reporter
from tests.tasks.project import Project, embedded, unsigned

pytestmark = pytest.mark.slow  # whole runs of doit


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return embedded(tmp_path / "p")


def test_list_is_a_table_of_contents(project: Project) -> None:
    lines = project.build("list").output.splitlines()
    names = [line.split()[0] for line in lines]
    assert {"build", "update", "fetch", "layers", "images", "image", "layer"} <= set(names)
    assert all(len(line.split(None, 1)) == 2 for line in lines), "every task has a line of doc"
    assert all(len(line) <= 100 for line in lines)


def test_list_works_without_a_lock(project: Project) -> None:
    (project.path / "images.lock.json").unlink()
    assert "update" in project.build("list").output


def test_status_tells_what_is_to_be_done(project: Project) -> None:
    before = project.build("list", "--all", "--status").output
    assert "R image:15.0:amd64:runtime" in before
    project.build("index:15.0:static")
    after = project.build("list", "--all", "--status").output
    assert "U image:15.0:amd64:static" in after
    assert "R image:15.0:amd64:runtime" in after


def test_info_describes_a_task(project: Project) -> None:
    output = project.doit("info", "image:15.0:amd64:runtime").output
    assert "layer:15.0:amd64:runtime:state" in output


def test_missing_lock_says_how_to_make_one(project: Project) -> None:
    (project.path / "images.lock.json").unlink()
    run = project.doit("build")
    assert run.status == 1
    assert "there is no images.lock.json" in run.output
    assert "doit update" in run.output
    assert "Traceback" not in run.output + run.errors


def test_unreadable_lock_is_one_line(project: Project) -> None:
    (project.path / "images.lock.json").unlink()
    (project.path / "images.lock.json").mkdir()
    for command in ("build", "update"):
        run = project.doit(command)
        assert run.status == 1
        assert f"failed   {command}: images.lock.json: is a directory\n" in run.output
        assert "Traceback" not in run.output + run.errors


def test_read_only_store_is_read(project: Project) -> None:
    """What is in it needs no place to write but the layout's."""
    project.build()
    digests = project.digests()
    shutil.copytree(project.path / "build/store", project.path / "copy")
    mount = ["mount", "--bind", "-o", "ro", str(project.path / "copy"), str(project.path / "copy")]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    try:
        run = project.build("store=copy", "output=other", "build")
        assert project.digests(project.path / "other") == digests
        project.edit('cmd = ["/bin/sh"]', 'cmd = ["/bin/csh"]')
        failed = project.doit("store=copy", "output=other", "build")
    finally:
        subprocess.run(["umount", str(project.path / "copy")], check=True)
    assert "Traceback" not in run.output + run.errors
    assert failed.status == 1
    assert "Read-only file system" in failed.output
    assert "Traceback" not in failed.output + failed.errors


def test_stale_lock_names_the_difference(project: Project) -> None:
    project.edit('packages = ["FreeBSD-zoneinfo"]', 'packages = ["FreeBSD-zoneinfo", "FreeBSD-vi"]')
    run = project.doit("build")
    assert run.status == 1
    assert "releases.14.3.images.static.packages" in run.output
    assert "doit update" in run.output


def test_declaration_error_names_key_and_nearest(project: Project) -> None:
    project.edit("packages = [", "packges = [")
    run = project.doit("update")
    assert run.status == 1
    assert "images.static.packges: unknown key; did you mean 'packages'?" in run.output
    assert "Traceback" not in run.output + run.errors


def test_missing_declaration_is_one_line(tmp_path: Path) -> None:
    project = embedded(tmp_path / "p")
    run = project.doit("config=nothing.toml", "build")
    assert run.status == 1
    assert "nothing.toml: No such file or directory" in run.output
    assert "Traceback" not in run.output + run.errors


def test_unsatisfiable_request_explains_the_chain(project: Project) -> None:
    project.edit('"FreeBSD-fetch",', '"FreeBSD-fetsh",')
    run = project.doit("update")
    assert run.status == 1
    assert "FreeBSD-fetsh" in run.output
    assert "FreeBSD-fetch" in run.output.split("hint:")[1]


def test_a_reader_may_stop_reading(project: Project) -> None:
    """As `head` does; the images are built all the same."""
    command = f"{sys.executable} -m doit build | head -1"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=project.path,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == "fetching packages: 60 files, 890.7 kB\n"
    assert len(project.digests()) == 18


@pytest.mark.parametrize("name", ["confg", "configs", "stor", "outptu", "publickey", "Config"])
def test_misspelt_variable_is_refused(name: str, project: Project) -> None:
    """It would be set and never read: another declaration than the one that was meant."""
    run = project.doit(f"{name}=other.toml", "build")
    assert run.status == 3
    assert f"ERROR: no variable {name!r}; did you mean " in run.errors
    assert run.output == ""


def test_every_variable_that_is_read_is_known() -> None:
    """Others belong to whoever wrote the dodo.py that uses this graph."""
    tasks = Path(module.__file__).parent
    pattern = r"\b(?:beside_output|Removal|said|file|get_var|_path)\(\"([a-z_]+)\""
    read = {n for path in tasks.glob("*.py") for n in re.findall(pattern, path.read_text())}
    assert read == set(module.VARIABLES)
    module.refuse_misspelt([*module.VARIABLES, "mine", "jobs"])


def test_lines_are_written_at_once() -> None:
    """Whoever follows a log sees how far it is."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8")
    Reporter(stream, {}).write("layer    15.0\n")
    assert raw.getvalue() == b"layer    15.0\n"


def test_update_says_what_is_new_in_the_lock(tmp_path: Path) -> None:
    """Packages line by line; whatever else is pinned, in one."""
    project = unsigned(tmp_path / "p", Package(name="hello"))
    added = "15.0 x: + hello 1.0\nimages.lock.json: 1 change\n"
    assert project.build("update").output.endswith(added)
    assert project.build("update").output.endswith("images.lock.json: nothing has changed\n")
    project.edit("allow_unsigned = true", "allow_unsigned = true\npriority = 5")
    again = project.build("update").output
    assert again.endswith("images.lock.json: written anew, for the same packages\n")


def test_packages_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """What a repository says of itself is quoted; its control characters are not passed on."""
    odd = "lib\x1b[2Jx\x9b31m\u202e.so"
    project = unsigned(tmp_path / "p", Package(name="hello", shlibs_required=(odd,)))
    run = project.doit("update")
    assert run.status == 1
    assert r"""hint: allow_missing = ["lib\x1b[2Jx\x9b31m\u202e.so"]""" in run.output
    assert (run.output + run.errors).replace("\n", "").isprintable()
    odd = "/usr/share/\x1b]0;title\x07\nfailed   build"
    project = unsigned(
        tmp_path / "q",
        Package(name="hello", entries=(file(odd, b"hello"),)),
        Package(name="world", entries=(file(odd, b"world"),)),
    )
    project.build("update")
    run = project.doit("build")
    assert run.status == 1
    lines = [line for line in run.output.splitlines() if line.startswith("failed ")]
    assert len(lines) == 1
    assert r": /usr/share/\x1b]0;title\x07\nfailed   build: a file of package world-1.0" in lines[0]
    assert (run.output + run.errors).replace("\n", "").isprintable()


def test_failure_keeps_the_old_lock(project: Project) -> None:
    before = (project.path / "images.lock.json").read_bytes()
    project.edit('"FreeBSD-fetch",', '"FreeBSD-fetsh",')
    assert project.doit("update").status == 1
    assert (project.path / "images.lock.json").read_bytes() == before


def test_piped_output_is_plain_lines(project: Project) -> None:
    run = project.build()
    assert "\x1b" not in run.output + run.errors
    assert "layer    15.0:amd64:static:packages" in run.output.splitlines()
