"""The embedded images have the recorded digests, wherever and however they are built."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.host.layout import Layout
from pipeline.oci.validate import validate_layout
from tests.tasks.project import ROOT, Project, embedded

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = json.loads((ROOT / "fixtures" / "golden" / "format-1.json").read_bytes())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has been built once, from nothing."""
    project = embedded(tmp_path_factory.mktemp("golden") / "a")
    project.build()
    return project


def describe(project: Project, name: str) -> str:
    """Return the documents below a name, for the message of a failure."""
    lines = []
    waiting = [project.digests()[name]]
    while waiting:
        d = json.loads(project.blob(waiting.pop(0)).read_bytes())
        lines.append(json.dumps(d, indent=1))
        waiting += [m["digest"] for m in d.get("manifests", [])]
        waiting += [d["config"]["digest"]] if "config" in d else []
    return "\n".join(lines)


@pytest.mark.golden
def test_digests_are_those_of_format_1(built: Project) -> None:
    """A change of output bytes is a decision and a new format number, never an accident."""
    digests = built.digests()
    assert digests.keys() == GOLDEN["digests"].keys()
    for name, want in sorted(GOLDEN["digests"].items()):
        assert digests[name] == want, f"{name}\n{describe(built, name)}"


def test_layout_is_valid(built: Project) -> None:
    assert validate_layout(Layout(built.output)) == ()


def test_summary_names_every_image_with_its_digest(built: Project) -> None:
    run = built.build()
    for name, digest in built.digests().items():
        reference = name.removesuffix("-amd64").removesuffix("-aarch64")
        assert any(reference in line and digest in line for line in run.output.splitlines()), name


def test_child_begins_with_all_layers_of_its_parent(built: Project) -> None:
    digests = built.digests()
    layers = {
        name: [layer["digest"] for layer in json.loads(built.blob(digest).read_bytes())["layers"]]
        for name, digest in digests.items()
        if name.endswith(("-amd64", "-aarch64"))
    }
    for release in ("14.3", "15.0"):
        for arch in ("amd64", "aarch64"):
            static, dynamic, runtime = (
                layers[f"freebsd-{image}:{release}-{arch}"]
                for image in ("static", "dynamic", "runtime")
            )
            assert dynamic[: len(static)] == static
            assert runtime[: len(dynamic)] == dynamic
            assert len(static) < len(dynamic) < len(runtime)


def test_base_annotation_names_the_parent(built: Project) -> None:
    digests = built.digests()
    manifest = json.loads(built.blob(digests["freebsd-runtime:15.0-amd64"]).read_bytes())
    base = "org.opencontainers.image.base"
    assert manifest["annotations"][f"{base}.name"] == "freebsd-dynamic:15.0"
    assert manifest["annotations"][f"{base}.digest"] == digests["freebsd-dynamic:15.0-amd64"]


VARIATIONS: dict[str, dict[str, Any]] = {
    "environment": {
        "env": {"TZ": "GMT-14", "LANG": "tr_TR.UTF-8", "LC_ALL": "C", "PYTHONHASHSEED": "4711"},
        "umask": 0o077,
        "arguments": ["-n", "0", "build"],
    },
    "one process, other order": {
        "env": {"PYTHONHASHSEED": "1", "TZ": "America/St_Johns"},
        "umask": 0o000,
        "arguments": [
            "-n",
            "0",
            "index:15.0:runtime",
            "image:15.0:aarch64:dynamic",
            "index:14.3:runtime",
            "build",
        ],
    },
    "four processes": {
        "env": {"PYTHONHASHSEED": "2", "SOURCE_DATE_EPOCH": "5", "HOME": "/nonexistent"},
        "umask": 0o027,
        "arguments": ["-n", "4", "build"],
    },
}


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.parametrize("variation", VARIATIONS)
def test_digests_do_not_depend_on(variation: str, tmp_path: Path) -> None:
    options = VARIATIONS[variation]
    project = embedded(tmp_path / "a rather long directory name" / ("x" * 60) / "ü")
    run = project.doit(*options["arguments"], env=options["env"], umask=options["umask"])
    assert run.status == 0, run.output + run.errors
    assert project.digests() == GOLDEN["digests"]


@pytest.mark.slow
def test_update_repeats_the_committed_lock(tmp_path: Path) -> None:
    """The lock is a function of the declaration and the repositories."""
    project = embedded(tmp_path / "p")
    (project.path / "images.lock.json").unlink()
    run = project.build("update")
    assert "+ FreeBSD-runtime 15.0p1" in run.output
    assert (project.path / "images.lock.json").read_bytes() == (
        ROOT / "images.lock.json"
    ).read_bytes()
    assert "nothing has changed" in project.build("update").output


def test_shared_layers_are_stored_once(built: Project) -> None:
    digests = [
        layer["digest"]
        for name, digest in built.digests().items()
        if name.endswith("-amd64")
        for layer in json.loads(built.blob(digest).read_bytes())["layers"]
    ]
    assert len(set(digests)) < len(digests)
    assert all(built.blob(digest).is_file() for digest in digests)


def test_broken_layout_is_reported(built: Project, tmp_path: Path) -> None:
    """The validator that every layout here is run through can fail."""
    copy = tmp_path / "oci"
    shutil.copytree(built.output, copy)
    blob = max((copy / "blobs" / "sha256").iterdir(), key=lambda p: p.stat().st_size)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    findings = validate_layout(Layout(copy))
    assert findings
    assert any("digest: got" in str(finding) for finding in findings)
