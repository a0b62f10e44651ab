"""`doit sbom`, `doit provenance`, `doit sign`, as users run them."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from pipeline.host.keys import main as keys_main
from pipeline.host.layout import Layout
from tests.tasks.project import Project, embedded
from tests.trust_tools import PASSWORD, gpg_home, make_gpg_key

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

STATIC = ("15.0:amd64:static", "15.0:aarch64:static", "15.0:static")
IDENTITY = "identity=ghcr.io/freebsd"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSIGN_PASSWORD", PASSWORD)
        assert keys_main(["generate", str(folder / "cosign")]) == 0
    return folder / "cosign.key"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Build static of 15.0."""
    project = embedded(tmp_path_factory.mktemp("project") / "p")
    project.build("index:15.0:static")
    return project


def executed(output: str) -> list[str]:
    lines = (line.split() for line in output.splitlines())
    return [
        f"{words[0]}:{words[1]}"
        for words in lines
        if len(words) == 2 and words[0] in ("sbom", "provenance", "sign")
    ]


def sign(project: Project, key: Path, *arguments: str) -> list[str]:
    run = project.doit(
        *(*(f"sign:{name}" for name in STATIC), f"key={key}", IDENTITY, *arguments),
        env={"COSIGN_PASSWORD": PASSWORD},
    )
    assert run.status == 0, run.output + run.errors
    return executed(run.output)


def test_documents_are_written_as_files_and_attached(project: Project) -> None:
    tasks = [f"sbom:{name}" for name in STATIC[:2]] + [f"provenance:{name}" for name in STATIC]
    project.build(*tasks)
    assert sorted(p.name for p in (project.path / "build/sbom").iterdir()) == [
        "freebsd-static-15.0-aarch64.cdx.json",
        "freebsd-static-15.0-aarch64.spdx.json",
        "freebsd-static-15.0-amd64.cdx.json",
        "freebsd-static-15.0-amd64.spdx.json",
    ]
    provenance = project.path / "build/provenance"
    statement = json.loads((provenance / "freebsd-static-15.0-amd64.provenance.json").read_bytes())
    assert statement["subject"][0]["digest"]["sha256"] == project.digests()[
        "freebsd-static:15.0-amd64"
    ].removeprefix("sha256:")
    definition = (provenance / "freebsd-static-15.0-amd64.definition.json").read_bytes()
    assert json.loads(definition)["buildDefinition"] == statement["predicate"]["buildDefinition"]
    kinds = {name.rpartition("sha256-")[2][65:] for name in _attached(project)}
    assert {"sbom.spdx", "sbom.cyclonedx", "artifact.lock"} <= kinds
    run = project.build(*tasks)
    assert executed(run.output) == []
    victim = provenance / "freebsd-static-15.0-amd64.definition.json"
    victim.unlink()
    assert executed(project.build(*tasks).output) == ["provenance:15.0:amd64:static"]


def _attached(project: Project) -> list[str]:
    return list(Layout(project.path / "build/attest").references())


def test_a_second_run_signs_nothing_and_asks_for_no_password(project: Project, key: Path) -> None:
    assert sign(project, key) != []
    assert (
        executed(project.doit(*(f"sign:{n}" for n in STATIC), f"key={key}", IDENTITY).output) == []
    )


def test_what_was_removed_is_put_back_without_signing_anew(project: Project, key: Path) -> None:
    sign(project, key)
    layout = Layout(project.path / "build/attest")
    before = layout.references()
    victim = next(name for name in before if name.endswith(".sig"))
    layout.path(before[victim].digest).unlink()
    done = project.doit(*(f"sign:{n}" for n in STATIC), f"key={key}", IDENTITY)
    assert done.status == 0, done.output  # no password is at hand
    assert len(executed(done.output)) == 1
    assert layout.references() == before
    assert layout.path(before[victim].digest).is_file()


def test_another_name_is_signed_as_well(project: Project, key: Path) -> None:
    sign(project, key)
    assert len(sign(project, key, "identity=quay.io/freebsd")) == 3
    sign(project, key)


def test_a_builder_may_have_a_name(project: Project) -> None:
    project.build("provenance:15.0:amd64:static", "builder=https://example.org/ci", "invocation=7")
    path = project.path / "build/provenance/freebsd-static-15.0-amd64.provenance.json"
    details = json.loads(path.read_bytes())["predicate"]["runDetails"]
    assert details["builder"]["id"] == "https://example.org/ci"
    assert details["metadata"] == {"invocationId": "7"}
    definition = path.with_name("freebsd-static-15.0-amd64.definition.json").read_bytes()
    project.build("provenance:15.0:amd64:static")
    assert path.with_name("freebsd-static-15.0-amd64.definition.json").read_bytes() == definition


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is nothing to sign with"),
        (("key=absent.key", IDENTITY), "private key absent.key: no such file"),
        (("key=absent.key",), "there is no identity"),
        (("gpg_key=1234", IDENTITY), "want a whole fingerprint"),
    ],
)
def test_faulty_settings_are_said_in_one_line(
    project: Project, arguments: tuple[str, ...], message: str
) -> None:
    run = project.doit("sign:15.0:static", *arguments)
    assert run.status == 1
    (line,) = [line for line in run.output.splitlines() if line.startswith("failed")]
    assert message in line
    assert "Traceback" not in run.output + run.errors


def test_a_wrong_password_is_said_and_not_shown(project: Project, key: Path) -> None:
    run = project.doit(
        *("sign:15.0:static", f"key={key}", "identity=ghcr.io/new"),
        env={"COSIGN_PASSWORD": "not " + PASSWORD},
    )
    assert run.status == 1
    assert "the password does not open the private key" in run.output
    assert PASSWORD not in run.output + run.errors


def test_with_gpg_alone_there_is_a_lookaside_tree(project: Project) -> None:
    with gpg_home() as home:
        own = make_gpg_key(home)
        for expected in (1, 0):
            run = project.doit(
                *("sign:15.0:amd64:static", f"gpg_key={own.fingerprint}", IDENTITY),
                env={"GNUPGHOME": str(home)},
            )
            assert run.status == 0, run.output + run.errors
            signed = [name for name in executed(run.output) if name.startswith("sign:")]
            assert len(signed) == expected
    digest = project.digests()["freebsd-static:15.0-amd64"].replace(":", "=")
    folder = project.path / f"build/lookaside/freebsd/freebsd-static@{digest}"
    (file,) = folder.iterdir()
    assert file.name == "signature-1"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_prune_takes_what_belongs_to_earlier_images(tmp_path: Path, key: Path) -> None:
    """All of it: the layout and the lookaside tree follow the images."""
    own = embedded(tmp_path / "p")
    arguments = (f"key={key}", IDENTITY)
    environment = {"COSIGN_PASSWORD": PASSWORD}
    assert own.doit("sign", *arguments, env=environment).status == 0
    before = set(_attached(own))
    stale = own.path / "build/lookaside/freebsd" / f"x@sha256={'0' * 64}"
    stale.mkdir(parents=True)
    own.edit('title = "FreeBSD static"', 'title = "FreeBSD tiny"')
    run = own.doit("sign", *arguments, env=environment)
    assert run.status == 0, run.output + run.errors
    after = set(_attached(own))
    assert len(after) == len(before)
    assert after & before == set()
    assert not stale.exists()
    assert executed(own.doit("sign", *arguments).output) == []
