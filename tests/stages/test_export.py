"""Exporting: a directory that a plain web server serves as a registry."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DigestMismatchError, LayoutError
from pipeline.formats.digest import Digest
from pipeline.host.http_client import Patience
from pipeline.host.layout import Layout, PublishedLayout
from pipeline.host.registry import Registry
from pipeline.host.registry_session import Access
from pipeline.host.store import Store
from pipeline.oci.reference import Reference
from pipeline.oci.validate import validate_layout
from pipeline.stages.export import export
from pipeline.stages.parcel import Target
from pipeline.stages.pull import Wanted, pull
from tests.programs import require_program
from tests.registry_layouts import Maker, layer, make, noise
from tests.registry_programs import Podman, free_port, podman, run, wait_for
from tests.tasks.project import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
QUICK = Patience(attempts=2, backoff=0.01)
BASE = layer("base", noise(50_000, "base"))
STATIC = Target(name="static:15.0", path="fb/static", tags=("15.0", "latest"))
RUNTIME = Target(name="runtime:15.0", path="fb/runtime", tags=("15.0",))


class _Handler(SimpleHTTPRequestHandler):
    """What a web server has to add: the type of manifests (docs/registries.md)."""

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        folder, _, name = str(path).rpartition("/manifests/")
        if not name:
            return "application/octet-stream"
        kind = "index" if Path(folder, "indexes", name).exists() else "manifest"
        return f"application/vnd.oci.image.{kind}.v1+json"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[str]:
    """Serve a directory; the host and port."""
    handler = functools.partial(_Handler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    maker = make(tmp_path)
    maker.image("static:15.0", BASE)
    maker.image("runtime:15.0", BASE, layer("more", b"more"))
    return maker


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_there_is_what_a_registry_answers(maker: Maker, site: Path) -> None:
    export(maker.layout, [STATIC], site)
    root = maker.layout.references()["static:15.0"].digest
    found = files(site)
    raw = maker.layout.path(root).read_bytes()
    for kind in ("manifests", "indexes"):
        for name in ("15.0", "latest", str(root)):
            assert found[f"v2/fb/static/{kind}/{name}"] == raw
    assert json.loads(found["v2/fb/static/tags/list"]) == {
        "name": "fb/static",
        "tags": ["15.0", "latest"],
    }
    assert found[f"v2/fb/static/blobs/{Digest.of(BASE)}"] == BASE
    assert found["v2/index.html"] == b"{}\n"
    platform = maker.layout.references()["static:15.0-amd64"].digest
    assert f"v2/fb/static/manifests/{platform}" in found
    assert f"v2/fb/static/indexes/{platform}" not in found
    assert json.loads(found[f"v2/fb/static/referrers/{platform}"])["manifests"] == []


def test_the_same_images_give_the_same_files(maker: Maker, tmp_path: Path) -> None:
    export(maker.layout, [STATIC, RUNTIME], tmp_path / "a")
    export(maker.layout, [RUNTIME, STATIC], tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_second_export_writes_nothing(maker: Maker, site: Path) -> None:
    assert export(maker.layout, [STATIC], site).written > 50_000
    before = {p: p.stat().st_mtime_ns for p in site.rglob("*") if p.is_file()}
    assert export(maker.layout, [STATIC], site).written == 0
    assert {p: p.stat().st_mtime_ns for p in site.rglob("*") if p.is_file()} == before


def test_a_blob_of_two_repositories_is_one_file(maker: Maker, site: Path) -> None:
    export(maker.layout, [STATIC, RUNTIME], site)
    one, two = (site / f"v2/fb/{n}/blobs/{Digest.of(BASE)}" for n in ("static", "runtime"))
    assert one.samefile(two)


def test_an_export_does_not_write_into_what_an_interrupted_one_has_linked(
    maker: Maker, site: Path
) -> None:
    """The other name's file is being served."""
    export(maker.layout, [STATIC, RUNTIME], site)
    one, two = (site / f"v2/fb/{n}/blobs/{Digest.of(BASE)}" for n in ("static", "runtime"))
    two.replace(two.with_name(f".{two.name}.part"))
    before = one.stat().st_mtime_ns
    export(maker.layout, [RUNTIME], site)
    assert one.stat().st_mtime_ns == before
    assert one.read_bytes() == two.read_bytes() == BASE


def test_without_links_there_are_two(
    maker: Maker, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    export(maker.layout, [STATIC, RUNTIME], site)
    one, two = (site / f"v2/fb/{n}/blobs/{Digest.of(BASE)}" for n in ("static", "runtime"))
    assert one.read_bytes() == two.read_bytes()
    assert not one.samefile(two)


def test_what_was_there_stays_and_tags_move(maker: Maker, site: Path) -> None:
    export(maker.layout, [STATIC], site)
    old = maker.layout.references()["static:15.0"].digest
    new = maker.image("static:15.0", layer("new", b"new")).digest
    maker.image("static:16.0", BASE, platforms=("amd64",))
    export(maker.layout, [STATIC, Target(name="static:16.0", path="fb/static", tags=("16",))], site)
    found = files(site)
    assert Digest.of(found["v2/fb/static/manifests/15.0"]) == new
    assert f"v2/fb/static/manifests/{old}" in found
    assert json.loads(found["v2/fb/static/tags/list"])["tags"] == ["15.0", "16", "latest"]


def test_a_tag_that_was_an_index_may_become_an_image(maker: Maker, site: Path) -> None:
    export(maker.layout, [STATIC], site)
    one = Target(name="static:15.0-amd64", path="fb/static", tags=("15.0",))
    export(maker.layout, [one], site)
    assert not (site / "v2/fb/static/indexes/15.0").exists()
    assert (site / "v2/fb/static/indexes/latest").exists()


def test_referrers_are_listed_in_both_ways(maker: Maker, site: Path) -> None:
    root = maker.layout.references()["static:15.0"]
    first = maker.artifact(root, "application/spdx+json", b"1", "a1", made="now")
    export(maker.layout, [STATIC], site)
    second = maker.artifact(root, "application/spdx+json", b"2", "a2")
    maker.layout.withdraw("a1")
    export(maker.layout, [STATIC], site)
    with serve(site) as host:
        access = Access(plain_http=True, patience=QUICK)
        repository = Registry(host, access).repository("fb/static")
        listed = repository.referrers(root.digest)
        assert [d.digest for d in listed] == [first.digest, second.digest]
        assert listed[0].annotations == {"made": "now"}
        (site / f"v2/fb/static/referrers/{root.digest}").unlink()
        assert repository.referrers(root.digest) == listed
        assert repository.manifest(first.digest).subject is not None
    for manifest in (site / "v2/fb/static/manifests").glob("sha256:*"):
        if manifest.name != str(root.digest):
            assert (site / "v2/fb/static/referrers" / manifest.name).exists()


def test_our_own_client_pulls_from_it(maker: Maker, site: Path, tmp_path: Path) -> None:
    export(maker.layout, [STATIC], site)
    store = Store(tmp_path / "mine/store")
    layout = PublishedLayout(tmp_path / "mine/oci", store=store)
    with serve(site) as host:
        wanted = Wanted(reference=Reference.parse(f"{host}/fb/static:latest"))
        access = Access(plain_http=True, patience=QUICK)
        result = pull(wanted, registry=Registry(host, access), layout=layout, store=store)
    assert result.descriptor.digest == maker.layout.references()["static:15.0"].digest
    assert validate_layout(layout) == ()


def test_an_altered_blob_is_not_exported(maker: Maker, site: Path) -> None:
    maker.layout.path(Digest.of(BASE)).write_bytes(BASE[:-1] + b"x")
    with pytest.raises(DigestMismatchError):
        export(maker.layout, [STATIC], site)
    assert not (site / "v2/fb/static/manifests").exists()
    assert [p for p in site.rglob("*") if p.is_file() and Digest.of(BASE).hex in p.name] == []


def test_a_missing_blob_is_named(maker: Maker, site: Path) -> None:
    maker.layout.path(Digest.of(BASE)).unlink()
    with pytest.raises(LayoutError, match=f"blob {Digest.of(BASE)}: is not in the layout"):
        export(maker.layout, [STATIC], site)
    assert not (site / "v2/fb/static/manifests").exists()


def test_a_damaged_file_of_an_export_is_mended(maker: Maker, site: Path) -> None:
    export(maker.layout, [STATIC], site)
    blob = site / f"v2/fb/static/blobs/{Digest.of(BASE)}"
    blob.chmod(0o644)
    blob.write_bytes(BASE[:-1] + b"x")
    export(maker.layout, [STATIC], site)
    assert blob.read_bytes() == BASE


def test_signatures_under_tags_are_exported_too(maker: Maker, site: Path) -> None:
    root = maker.layout.references()["static:15.0"].digest
    maker.signature(f"static:sha256-{root.hex}.sig", b"signature")
    export(maker.layout, [STATIC], site)
    tags = json.loads((site / "v2/fb/static/tags/list").read_bytes())["tags"]
    assert tags == ["15.0", "latest", f"sha256-{root.hex}.sig"]


def signatures(site: Path, tag: str) -> set[bytes]:
    """Return what stands under a tag; every blob of it is there under its digest."""
    folder = site / "v2/fb/static"
    raw = (folder / "manifests" / tag).read_bytes()
    assert (folder / "manifests" / str(Digest.of(raw))).read_bytes() == raw
    document = json.loads(raw)
    blobs = {
        entry["digest"]: (folder / "blobs" / entry["digest"]).read_bytes()
        for entry in (document["config"], *document["layers"])
    }
    assert blobs == {str(Digest.of(data)): data for data in blobs.values()}
    return {blobs[entry["digest"]] for entry in document["layers"]}


@pytest.mark.parametrize("suffix", ["sig", "att"])
def test_signatures_of_others_stay(suffix: str, maker: Maker, site: Path, tmp_path: Path) -> None:
    """As they do in a registry that is pushed to."""
    root = maker.layout.references()["static:15.0"].digest
    tag = f"sha256-{root.hex}.{suffix}"
    other = make(tmp_path / "other")
    assert other.image("static:15.0", BASE).digest == root
    maker.signature(f"static:{tag}", b"mine")
    other.signature(f"static:{tag}", b"theirs")
    export(maker.layout, [STATIC], site)
    assert signatures(site, tag) == {b"mine"}
    export(other.layout, [STATIC], site)
    assert signatures(site, tag) == {b"mine", b"theirs"}
    before = files(site)
    for layout in (maker.layout, other.layout):
        export(layout, [STATIC], site)
        assert files(site) == before


def test_something_else_under_a_signatures_tag_is_named(maker: Maker, site: Path) -> None:
    root = maker.layout.references()["static:15.0"].digest
    tag = f"sha256-{root.hex}.sig"
    maker.signature(f"static:{tag}", b"mine")
    export(maker.layout, [STATIC], site)
    (site / "v2/fb/static/manifests" / tag).write_text("hello")
    with pytest.raises(LayoutError, match=tag):
        export(maker.layout, [STATIC], site)


def test_a_list_of_referrers_that_somebody_has_broken_is_named(maker: Maker, site: Path) -> None:
    export(maker.layout, [STATIC], site)
    root = maker.layout.references()["static:15.0"].digest
    path = site / f"v2/fb/static/referrers/{root}"
    path.write_text("hello")
    with pytest.raises(LayoutError, match=str(root)):
        export(maker.layout, [STATIC], site)


# ---------------------------------------------------------------- real clients


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    project = embedded(tmp_path_factory.mktemp("project") / "p")
    project.build()
    return Layout(project.output)


@pytest.fixture
def own_podman() -> Iterator[Podman]:
    with podman() as lent:
        yield lent


def everything(layout: Layout) -> list[Target]:
    names = [name.partition(":") for name in sorted(layout.references())]
    return [Target(name=f"{r}:{t}", path=f"fb/{r}", tags=(t,)) for r, _, t in names]


def read_it(host: str, layout: Layout, tmp_path: Path, own_podman: Podman) -> None:
    """Read an exported registry with skopeo and podman."""
    skopeo = require_program("skopeo")
    name = "freebsd-runtime:15.0"
    want = str(layout.references()[name].digest)
    run(
        *(skopeo, "copy", "--all", "--preserve-digests", "--src-tls-verify=false"),
        *(f"docker://{host}/fb/{name}", f"oci:{tmp_path}/back:x"),
    )
    assert str(Layout(tmp_path / "back").references()["x"].digest) == want
    shown = run(
        *(skopeo, "inspect", "--tls-verify=false", "--override-os", "freebsd"),
        f"docker://{host}/fb/{name}",
    ).stdout
    assert json.loads(shown)["Digest"] == want
    assert "15.0" in json.loads(shown)["RepoTags"]
    for reference in (f"{host}/fb/{name}", f"{host}/fb/freebsd-runtime@{want}"):
        own_podman(
            *("pull", "-q", "--tls-verify=false", "--os", "freebsd", "--arch", "arm64"), reference
        )
        assert own_podman.inspect(reference, "{{.Os}}/{{.Architecture}}") == "freebsd/arm64"


@pytest.mark.slow
def test_skopeo_and_podman_read_it_from_pythons_server(
    layout: Layout, site: Path, tmp_path: Path, own_podman: Podman
) -> None:
    export(layout, everything(layout), site)
    with serve(site) as host:
        read_it(host, layout, tmp_path, own_podman)


@pytest.mark.slow
def test_a_server_that_says_no_types_is_not_enough(layout: Layout, site: Path) -> None:
    """Skopeo takes a manifest without a type for docker's first schema: why docs want types."""
    export(layout, everything(layout), site)
    port = free_port()
    process = subprocess.Popen(
        ["python3", "-m", "http.server", "--bind", "127.0.0.1", "-d", str(site), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/")
        said = run(
            *(require_program("skopeo"), "inspect", "--tls-verify=false"),
            *("--override-os", "freebsd"),
            f"docker://127.0.0.1:{port}/fb/freebsd-runtime:15.0",
            check=False,
        ).stderr
        assert "unsupported schema version 2" in said
    finally:
        process.terminate()
        process.wait(10)


def nginx_configuration(site: Path, path: Path, port: int) -> Path:
    """Take the configuration out of the documentation."""
    text = (ROOT / "docs/registries.md").read_text()
    server = text.split("```nginx\n")[1].split("```")[0]
    server = server.replace("/srv/registry", str(site))
    server = server.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    lines = [line for line in server.splitlines() if "ssl_certificate" not in line]
    temporary = [
        f"{kind}_temp_path {path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    http = ["access_log off;", *temporary, *lines]
    configuration = [
        *("daemon off;", f"pid {path}/pid;", f"error_log {path}/error.log;", "user root;"),
        *("events {}", "http {", *http, "}"),
    ]
    (path / "nginx.conf").write_text("\n".join(configuration))
    return path / "nginx.conf"


@pytest.mark.slow
def test_skopeo_and_podman_read_it_from_nginx(
    layout: Layout, site: Path, tmp_path: Path, own_podman: Podman
) -> None:
    """With the configuration that the documentation shows; where there is an nginx."""
    paths = [Path(p, "nginx") for p in (*os.environ["PATH"].split(":"), "/usr/sbin")]
    nginx = next((path for path in paths if path.exists()), None)
    if nginx is None:
        pytest.skip("no nginx here")
    export(layout, everything(layout), site)
    port = free_port()
    folder = tmp_path / "nginx"
    folder.mkdir()
    configuration = nginx_configuration(site, folder, port)
    process = subprocess.Popen([str(nginx), "-c", str(configuration), "-p", str(folder)])
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/")
        read_it(f"127.0.0.1:{port}", layout, tmp_path, own_podman)
        root = layout.references()["freebsd-static:15.0"].digest
        repository = Registry(f"127.0.0.1:{port}").repository("fb/freebsd-static")
        assert repository.resolve(root) == root
        assert repository.manifest("15.0").is_index
        assert not repository.manifest("15.0-amd64").is_index
        assert repository.referrers(root) == ()
    finally:
        process.terminate()
        process.wait(10)
