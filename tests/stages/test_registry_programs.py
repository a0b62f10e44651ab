"""The same images through Debian's registry, skopeo and podman."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import FetchError, RegistryError
from pipeline.host.archive import open_layout, write_archive
from pipeline.host.layout import Layout, PublishedLayout
from pipeline.host.registry import Registry
from pipeline.host.registry_session import Access
from pipeline.host.store import Store
from pipeline.oci.reference import Reference
from pipeline.oci.validate import validate_layout
from pipeline.stages.parcel import Target
from pipeline.stages.pull import Wanted, parse_platform, pull
from pipeline.stages.push import Action, Kind, push
from tests.programs import require_program
from tests.registry_layouts import make
from tests.registry_programs import ACCOUNT, Podman, Tls, docker_registry, make_tls, podman, run
from tests.tasks.project import Project, embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.oci.validate import LayoutSource

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Build the embedded declaration."""
    project = embedded(tmp_path_factory.mktemp("project") / "p")
    project.build()
    return Layout(project.output)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


def targets(layout: Layout) -> list[Target]:
    """Everything there is, each below `fb/`."""
    found = []
    for name in sorted(layout.references()):
        repository, _, tag = name.partition(":")
        found.append(Target(name=name, path=f"fb/{repository}", tags=(tag,)))
    assert len(found) > 5
    return found


@pytest.fixture(scope="module")
def pushed(layout: Layout, host: str) -> str:
    """Push everything; the registry's host."""
    result = push(layout, targets(layout), registry=Registry(host))
    assert result.count(Kind.BLOB, Action.MOUNT) > 5
    again = push(layout, targets(layout), registry=Registry(host))
    assert {step.action for step in again.steps} == {Action.PRESENT}
    return host


def digest(layout: Layout, name: str) -> str:
    return str(layout.references()[name].digest)


def findings(source: LayoutSource) -> list[str]:
    """Validate; skopeo's index.json has no mediaType, which the specification only recommends."""
    said = [str(finding) for finding in validate_layout(source)]
    return [text for text in said if not text.startswith("index.json: mediaType: got None")]


@pytest.fixture
def own_podman() -> Iterator[Podman]:
    with podman() as lent:
        yield lent


def skopeo(*arguments: str, check: bool = True) -> str:
    return run(require_program("skopeo"), *arguments, check=check).stdout


# ---------------------------------------------------------------- push


def test_skopeo_sees_the_bytes_of_the_layout(layout: Layout, pushed: str) -> None:
    for name in layout.references():
        raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{pushed}/fb/{name}")
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest(layout, name)


@pytest.mark.parametrize("name", ["freebsd-static:15.0", "freebsd-runtime:14.3"])
def test_skopeo_copies_everything_back_with_its_digests(
    layout: Layout, pushed: str, name: str, tmp_path: Path
) -> None:
    skopeo(
        *("copy", "--all", "--preserve-digests", "--src-tls-verify=false"),
        *(f"docker://{pushed}/fb/{name}", f"oci:{tmp_path}/back:x"),
    )
    back = Layout(tmp_path / "back")
    assert str(back.references()["x"].digest) == digest(layout, name)
    assert findings(back) == []


def test_skopeo_lists_the_tags(pushed: str) -> None:
    listed = skopeo("list-tags", "--tls-verify=false", f"docker://{pushed}/fb/freebsd-static")
    assert {"14.3", "15.0", "15.0-amd64"} <= set(json.loads(listed)["Tags"])
    assert set(Registry(pushed).repository("fb/freebsd-static").tags()) == set(
        json.loads(listed)["Tags"]
    )


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_podman_pulls_a_platform(
    layout: Layout, pushed: str, architecture: str, own_podman: Podman
) -> None:
    name = f"{pushed}/fb/freebsd-runtime:15.0"
    own_podman("pull", "-q", "--tls-verify=false", "--os", "freebsd", "--arch", architecture, name)
    assert own_podman.inspect(name, "{{.Os}}/{{.Architecture}}") == f"freebsd/{architecture}"
    assert digest(layout, "freebsd-runtime:15.0") in own_podman.inspect(name, "{{.RepoDigests}}")


def test_podman_pulls_by_digest(layout: Layout, pushed: str, own_podman: Podman) -> None:
    name = f"{pushed}/fb/freebsd-static@{digest(layout, 'freebsd-static:15.0')}"
    own_podman("pull", "-q", "--tls-verify=false", "--os", "freebsd", "--arch", "arm64", name)
    assert own_podman.inspect(name, "{{.Os}}/{{.Architecture}}") == "freebsd/arm64"


def test_a_blob_in_pieces_is_the_same(host: str, tmp_path: Path) -> None:
    """docker-registry takes pieces."""
    maker = make(tmp_path)
    root = maker.image("big:1", bytes(3_000_000))
    target = Target(name="big:1", path="pieces/big", tags=("1",))
    push(maker.layout, [target], registry=Registry(host, Access(chunk_size=1_000_000)))
    assert Registry(host).repository("pieces/big").manifest("1").digest == root.digest
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{host}/pieces/big:1")
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == str(root.digest)


def test_referrers_are_kept_under_the_tag(host: str, tmp_path: Path) -> None:
    """docker-registry has no referrers API."""
    maker = make(tmp_path)
    root = maker.image("x:1", b"layer")
    artifacts = [
        maker.artifact(root, "application/spdx+json", b"%d" % n, f"a{n}") for n in range(3)
    ]
    target = Target(name="x:1", path="referrers/x", tags=("1",))
    push(maker.layout, [target], registry=Registry(host))
    listed = Registry(host).repository("referrers/x").referrers(root.digest)
    assert {d.digest for d in listed} == {a.digest for a in artifacts}
    assert {d.artifact_type for d in listed} == {"application/spdx+json"}


# ---------------------------------------------------------------- TLS and a password


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, tls: Tls) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("closed"), tls=tls, auth=True) as host:
        yield host


def test_a_closed_registry_opens_to_an_auth_file(
    layout: Layout, closed: str, tls: Tls, tmp_path: Path
) -> None:
    """The file is skopeo's own, and skopeo reads what we have pushed with it."""
    auth_file = tmp_path / "auth.json"
    user, password = ACCOUNT
    skopeo(
        *("login", "--authfile", str(auth_file), "--cert-dir", str(tls.folder)),
        *("-u", user, "-p", password, closed),
    )
    access = Access(ca_file=tls.certificate, auth_file=auth_file)
    push(layout, targets(layout)[:3], registry=Registry(closed, access))
    name = targets(layout)[0].name
    skopeo(
        *("copy", "--all", "--preserve-digests", "--src-authfile", str(auth_file)),
        *("--src-cert-dir", str(tls.folder), f"docker://{closed}/fb/{name}"),
        f"oci:{tmp_path}/back:x",
    )
    assert str(Layout(tmp_path / "back").references()["x"].digest) == digest(layout, name)


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_closed_registry_stays_closed(
    layout: Layout, closed: str, tls: Tls, tmp_path: Path, password: str | None
) -> None:
    auths = {}
    if password is not None:
        auths[closed] = {"auth": base64.b64encode(f"{ACCOUNT[0]}:{password}".encode()).decode()}
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": auths}))
    access = Access(ca_file=tls.certificate, auth_file=auth_file)
    with pytest.raises(RegistryError, match=r"wants a login|'tester' is not let in"):
        push(layout, targets(layout)[:1], registry=Registry(closed, access))


def test_an_unknown_certificate_is_refused(layout: Layout, closed: str) -> None:
    with pytest.raises(FetchError, match="no trusted TLS connection"):
        push(layout, targets(layout)[:1], registry=Registry(closed))


# ---------------------------------------------------------------- pull


def test_what_skopeo_has_pushed_is_pulled(layout: Layout, host: str, tmp_path: Path) -> None:
    """By tag, by digest and by platform; every digest as it was."""
    skopeo(
        *("copy", "--all", "--preserve-digests", "--dest-tls-verify=false"),
        *(f"oci:{layout.root}:freebsd-runtime:15.0", f"docker://{host}/skopeo/x:15.0"),
    )
    store = Store(tmp_path / "store")
    mine = PublishedLayout(tmp_path / "oci", store=store)
    root = layout.references()["freebsd-runtime:15.0"].digest
    by_tag = Wanted(reference=Reference.parse(f"{host}/skopeo/x:15.0"))
    result = pull(by_tag, registry=Registry(host), layout=mine, store=store)
    assert result.descriptor.digest == root
    assert result.fetched > 0
    by_digest = Wanted(reference=result.reference, name="again:1")
    assert pull(by_digest, registry=Registry(host), layout=mine, store=store).fetched == 0
    platform = parse_platform("freebsd/arm64")
    one = Wanted(reference=by_tag.reference, platform=platform, name="one:1")
    instance = pull(one, registry=Registry(host), layout=mine, store=store).descriptor
    assert instance.digest == layout.references()["freebsd-runtime:15.0-aarch64"].digest
    assert validate_layout(mine) == ()
    assert set(mine.references()) == {"x:15.0", "again:1", "one:1"}


# ---------------------------------------------------------------- archives


def test_skopeo_and_podman_read_our_archive(
    layout: Layout, tmp_path: Path, own_podman: Podman
) -> None:
    path = tmp_path / "static.tar"
    name = "freebsd-static:15.0"
    write_archive(layout, {name: f"ghcr.io/freebsd/{name}"}, path, mtime=0)
    skopeo("copy", "--all", "--preserve-digests", f"oci-archive:{path}", f"oci:{tmp_path}/o:x")
    assert str(Layout(tmp_path / "o").references()["x"].digest) == digest(layout, name)
    image = own_podman(
        "pull", "-q", "--os", "freebsd", "--arch", "arm64", f"oci-archive:{path}:{name}"
    )
    assert own_podman.inspect(image, "{{.Os}}/{{.Architecture}}") == "freebsd/arm64"


def test_we_read_skopeos_archive(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    name = "freebsd-static:15.0"
    skopeo("copy", "--all", f"oci:{layout.root}:{name}", f"oci-archive:{path}:{name}")
    assert findings(open_layout(path)) == []
    write_archive(open_layout(path), {name: None}, tmp_path / "mine.tar", mtime=0)
    assert validate_layout(open_layout(tmp_path / "mine.tar")) == ()


def test_umoci_unpacks_what_was_pulled(layout: Layout, pushed: str, tmp_path: Path) -> None:
    """It takes no zstd, but knows an image when it sees one."""
    store = Store(tmp_path / "store")
    mine = PublishedLayout(tmp_path / "oci", store=store)
    wanted = Wanted(
        reference=Reference.parse(f"{pushed}/fb/freebsd-static:15.0"),
        platform=parse_platform("freebsd/amd64"),
        name="static",
    )
    pull(wanted, registry=Registry(pushed), layout=mine, store=store)
    stat = run(require_program("umoci"), "stat", "--image", f"{mine.root}:static", "--json").stdout
    assert len(json.loads(stat)["history"]) == 3


# ---------------------------------------------------------------- doit

DODO = """
from pipeline.tasks.graph import *
from pipeline.tasks.push import task_archive, task_export, task_push
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = embedded(tmp_path_factory.mktemp("tasks") / "p")
    (project.path / "dodo.py").write_text(DODO)
    project.build()
    return project


def test_doit_push_shows_pushes_and_finds_it_done(project: Project, host: str) -> None:
    to = f"--to={host}/doit"
    shown = project.doit("push", to, "--dry-run")
    assert shown.status == 0, shown.output
    assert "would push" in shown.output
    assert Registry(host).repository("doit/freebsd-static").tags() == ()
    pushed = project.doit("push", to)
    assert pushed.status == 0, pushed.output
    assert pushed.output.count("pushed ") == 6
    assert "mounted" in pushed.output
    digests = project.digests()
    for name in ("freebsd-static:15.0", "freebsd-runtime:14.3"):
        path, _, tag = name.partition(":")
        found = Registry(host).repository(f"doit/{path}").resolve(tag)
        assert str(found) == digests[name]
    again = project.doit("push:15.0:runtime", to)
    (line,) = [text for text in again.output.splitlines() if text.startswith("pushed ")]
    assert re.search(r"blobs: [0-9]+ there already \(0 B\)", line), line
    assert "tags as they were" in again.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["push:15.0:static"], "there is no registry to push to"),
        (["push:15.0:static", "--to=nowhere"], "want a registry"),
        (["push:15.0:static", "--to=127.0.0.1:1/x"], "no connection: connection refused"),
    ],
)
def test_a_push_that_cannot_be_is_one_line(
    project: Project, arguments: list[str], said: str
) -> None:
    done = project.doit(*arguments)
    assert done.status == 1
    (line,) = [text for text in done.output.splitlines() if text.startswith("failed")]
    assert said in line
    assert "Traceback" not in done.output + done.errors


def test_doit_writes_archives_and_a_site(project: Project) -> None:
    assert project.doit("archive:15.0:static", "export").status == 0
    path = project.path / "build/archives/freebsd-static-15.0.tar"
    before = path.read_bytes()
    assert findings(open_layout(path)) == []
    name = "freebsd-static:15.0"  # which SBOMs and the lock beside it make necessary
    target = project.path / "copied"
    skopeo("copy", "--all", "--preserve-digests", f"oci-archive:{path}:{name}", f"oci:{target}:x")
    assert str(Layout(target).references()["x"].digest) == project.digests()[name]
    site = project.path / "build/registry/v2"
    tags = json.loads((site / "freebsd-static/tags/list").read_bytes())["tags"]
    referred = [tag for tag in tags if tag.startswith("sha256-")]
    assert [tag for tag in tags if tag not in referred] == ["14.3", "15.0"]
    assert len(referred) == 6  # what is said of two indexes and four manifests
    assert project.doit("archive:15.0:static").status == 0
    assert path.read_bytes() == before
