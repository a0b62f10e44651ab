"""What is rebuilt, and what is not: by content, never by time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fixtures.miniature import base, generate
from fixtures.miniature.entry import file
from fixtures.miniature.package import Package
from fixtures.miniature.repository import write_repository
from tests.tasks.project import Project, embedded, unsigned, with_repositories

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # whole runs of doit

FIRST = "image:15.0:amd64:static"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has been built once; tests work on copies."""
    project = with_repositories(tmp_path_factory.mktemp("incremental") / "p")
    project.build()
    return project


@pytest.fixture
def project(pristine: Project, tmp_path: Path) -> Project:
    """A copy of the built project, settled so that its stats are recorded."""
    copy = tmp_path / "p"
    shutil.copytree(pristine.path, copy, symlinks=True)
    result = Project(copy)
    result.build()
    return result


def restored(path: Path, data: bytes) -> None:
    """Change a file's content, and put its mode and times back."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def flipped(data: bytes) -> bytes:
    """Return other bytes of the same length."""
    return data[:-1] + bytes([data[-1] ^ 1])


def layer_of(project: Project, name: str) -> Path:
    """Return the last layer of an image in the layout."""
    manifest = json.loads(project.blob(project.digests()[name]).read_bytes())
    return project.blob(manifest["layers"][-1]["digest"])


def test_nothing_to_do_starts_no_stage(project: Project) -> None:
    memos = sorted((project.path / "build/store/memo").rglob("*.json"))
    before = {path: path.stat().st_mtime_ns for path in memos}
    assert len(before) > 90
    run = project.build()
    assert run.executed == []
    after = sorted((project.path / "build/store/memo").rglob("*.json"))
    assert {path: path.stat().st_mtime_ns for path in after} == before


def test_touched_inputs_start_no_stage(project: Project) -> None:
    for path in (project.path / "images.toml", project.path / "images.lock.json"):
        os.utime(path, (1, 1))
    assert project.build().executed == []


def test_edited_output_with_restored_mtime_is_made_anew(project: Project) -> None:
    digests = project.digests()
    blob = layer_of(project, "freebsd-static:15.0-amd64")
    good = blob.read_bytes()
    restored(blob, flipped(good))
    run = project.build()
    assert FIRST in run.executed
    assert blob.read_bytes() == good
    assert project.digests() == digests
    assert project.build().executed == []


def test_deleted_output_is_made_anew(project: Project) -> None:
    blob = layer_of(project, "freebsd-runtime:14.3-aarch64")
    good = blob.read_bytes()
    blob.unlink()
    assert "image:14.3:aarch64:runtime" in project.build().executed
    assert blob.read_bytes() == good


def test_deleted_layout_is_made_anew_from_the_store(project: Project) -> None:
    digests = project.digests()
    shutil.rmtree(project.output)
    run = project.build()
    assert project.digests() == digests
    assert {task.partition(":")[0] for task in run.executed} == {"image", "index"}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"manifests":[{"annotations":{}}]}'])
def test_broken_index_json_is_made_anew(project: Project, content: bytes) -> None:
    digests = project.digests()
    (project.output / "index.json").write_bytes(content)
    project.build()
    assert project.digests() == digests


def test_edited_blob_of_the_store_is_made_anew(project: Project) -> None:
    """A store that somebody has edited is never believed, even with times put back."""
    digests = project.digests()
    shutil.rmtree(project.output)
    store = project.path / "build/store/blobs/sha256"
    for path in sorted(store.rglob("*")):
        if path.is_file() and path.stat().st_size > 100:
            restored(path, flipped(path.read_bytes()))
    run = project.build()
    assert "fetching packages" in run.errors
    assert {task.partition(":")[0] for task in run.executed} >= {"package", "tree", "layer"}
    assert project.digests() == digests


def test_removed_reference_leaves_the_layout(project: Project) -> None:
    project.edit('\n[releases."14.3"]', '\n[releases."14.3"]\nimages = ["static"]')
    project.build("update")
    project.build()
    names = set(project.digests())
    assert "freebsd-static:14.3" in names
    assert "freebsd-runtime:14.3" not in names
    assert "freebsd-runtime:15.0" in names


def test_one_changed_package_rebuilds_what_depends_on_it(project: Project) -> None:
    before = project.digests()
    replace_package(project, "FreeBSD-fetch", "15.0p9")
    run = project.build("update")
    assert "15.0 runtime: ^ FreeBSD-fetch 15.0 -> 15.0p9 (amd64)" in run.output
    executed = set(project.build().executed)
    assert executed <= {
        "fetch",
        "package:15.0:amd64:FreeBSD-fetch",
        "tree:15.0:amd64:runtime",
        "layer:15.0:amd64:runtime:directories",
        "layer:15.0:amd64:runtime:packages",
        "layer:15.0:amd64:runtime:state",
        "image:15.0:amd64:runtime",
        "index:15.0:runtime",
        "build",
    }
    assert {"layer:15.0:amd64:runtime:packages", "layer:15.0:amd64:runtime:state"} <= executed
    after = project.digests()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"freebsd-runtime:15.0", "freebsd-runtime:15.0-amd64"}


def replace_package(project: Project, name: str, version: str) -> None:
    """Put another version of a package into the copy of the 15.0 amd64 base repository."""
    target = next(t for t in generate.TARGETS if t.abi == "FreeBSD:15:amd64")
    new = file("/usr/share/doc/news", "what is new\n", mode=0o444)
    packages = [
        replace(p, version=version, entries=(*p.entries, new)) if p.name == name else p
        for p in base.packages(target)
    ]
    assert any(p.version == version for p in packages)
    folder = project.path / "fixtures/miniature/repositories" / generate.base_path(target)
    shutil.rmtree(folder)
    write_repository(folder, packages, generate.base_signer(), style=target.release.style)


def test_config_change_rebuilds_images_only(project: Project) -> None:
    project.edit('cmd = ["/bin/sh"]', 'cmd = ["/bin/sh", "-l"]')
    executed = set(project.build().executed)
    assert executed
    assert {task.partition(":")[0] for task in executed} == {"image", "index", "build"}
    assert all(task.endswith(":runtime") for task in executed - {"build"})


def test_only_what_belongs_to_the_images_stays(project: Project) -> None:
    """The layout's files do not depend on what was built there before."""
    blobs = project.output / "blobs/sha256"
    before = sorted(path.name for path in blobs.iterdir())
    project.edit('cmd = ["/bin/sh"]', 'cmd = ["/bin/csh"]')
    project.build()
    (blobs / ".left-by-a-run-that-was-killed").touch()
    project.edit('cmd = ["/bin/csh"]', 'cmd = ["/bin/sh"]')
    project.build()
    assert sorted(path.name for path in blobs.iterdir()) == before
    assert project.build().executed == []


def test_clean_removes_the_layout_and_keeps_the_store(project: Project) -> None:
    project.build("clean")
    assert not project.output.exists()
    assert (project.path / "build/store").exists()
    assert not any(task.startswith("package") for task in project.build().executed)


def test_clean_of_one_image_takes_it_out_of_the_layout(project: Project) -> None:
    digests = project.digests()
    project.build("clean", "image:15.0:amd64:runtime")
    assert digests.keys() - project.digests().keys() == {"freebsd-runtime:15.0-amd64"}
    assert "image:15.0:amd64:runtime" in project.build().executed
    assert project.digests() == digests


def test_forget_makes_a_task_look_again(project: Project) -> None:
    project.build("forget", "layer:15.0:amd64:static:state")
    assert "layer:15.0:amd64:static:state" in project.build().executed
    assert project.build().executed == []


def test_other_declaration_shares_the_store(project: Project) -> None:
    text = (project.path / "images.toml").read_text()
    other = text.replace("format = 1", 'format = 1\noutput = "build/other"', 1)
    (project.path / "other.toml").write_text(other)
    run = project.doit("config=other.toml", "build")
    assert run.status != 0
    assert "there is no other.lock.json" in run.output
    shutil.copy(project.path / "images.lock.json", project.path / "other.lock.json")
    run = project.build("config=other.toml", "build")
    assert run.executed
    assert project.digests(project.path / "build/other") == project.digests()
    memos = project.path / "build/store/memo"
    assert not any(path.stat().st_mtime > time.time() + 1 for path in memos.rglob("*.json"))
    assert project.build().executed == []
    assert project.build("config=other.toml", "build").executed == []


def test_other_declaration_has_a_layout_of_its_own(project: Project) -> None:
    """Two of them in one layout would remove each other's images."""
    digests = project.digests()
    shutil.copy(project.path / "images.toml", project.path / "other.toml")
    shutil.copy(project.path / "images.lock.json", project.path / "other.lock.json")
    text = (project.path / "other.toml").read_text()
    (project.path / "other.toml").write_text(
        text.replace('architectures = ["amd64", ', "architectures = [")
    )
    project.edit('cmd = ["/bin/sh"]', 'cmd = ["/bin/csh"]')
    project.build()
    digests = project.digests()
    project.build("config=other.toml", "update")
    run = project.doit("config=other.toml", "build")
    assert run.status == 1
    assert f"build/oci holds the images of {project.path}/images.toml\n" in run.output
    assert "hint: give other.toml an `output` of its own" in run.output
    assert project.digests() == digests
    assert project.build().executed == []


def test_one_image_can_be_built_alone(tmp_path: Path) -> None:
    project = embedded(tmp_path / "p")
    project.build("image:15.0:amd64:dynamic")
    assert set(project.digests()) == {"freebsd-dynamic:15.0-amd64"}


@pytest.mark.parametrize("delay", [0, 0.05, 0.1, 0.2, 0.35, 0.6])
@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_build_is_finished_by_the_next(
    what: signal.Signals, delay: float, pristine: Project, tmp_path: Path
) -> None:
    """Killed at any instant, the next run ends with the same digests."""
    project = embedded(tmp_path / "p")
    process = subprocess.Popen(
        [sys.executable, "-m", "doit", "build"],
        cwd=project.path,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first == b"fetching packages: 60 files, 890.7 kB\n"
    time.sleep(delay)
    os.killpg(process.pid, what)
    output, _ = process.communicate(timeout=60)
    if what is signal.SIGINT and process.returncode:
        assert b"Traceback" not in output, output.decode()
    project.build()
    assert project.digests() == pristine.digests()
    assert not list((project.path / "build/store/tmp").iterdir())


def test_idle_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """One waits for a server that says nothing, the other for work."""
    project = unsigned(tmp_path / "p", Package(name="hello"))
    project.build("update")
    shutil.rmtree(project.path / "build")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("images.toml", "images.lock.json"):
            path = project.path / name
            path.write_text(path.read_text().replace("file:repository", url))
        process = subprocess.Popen(
            [sys.executable, "-m", "doit", "-n", "2", "build"],
            cwd=project.path,
            env=project.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            server.settimeout(60)
            connection, _ = server.accept()
            with connection:
                process.kill()
                process.communicate(timeout=30)  # the pipe stays open as long as a worker lives
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
