"""Pulling: every digest as it was, resumed, and nothing that is something else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import (
    DigestMismatchError,
    FetchError,
    FormatError,
    HttpError,
    LayoutError,
    NotFoundError,
)
from pipeline.formats.digest import Digest
from pipeline.host.http_client import Patience
from pipeline.host.layout import PublishedLayout
from pipeline.host.registry import Registry
from pipeline.host.registry_session import Access
from pipeline.host.store import Store
from pipeline.oci.platform import Platform
from pipeline.oci.reference import Reference
from pipeline.oci.validate import validate_layout
from pipeline.stages.parcel import Target
from pipeline.stages.pull import PullResult, Wanted, default_name, parse_platform, pull
from pipeline.stages.push import push
from tests.registry_layouts import layer, make, noise
from tests.registry_server import INDEX, RegistryServer, Running, digest_of, run_server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.oci.descriptor import Descriptor

QUICK = Patience(connect=5, read=10, attempts=3, backoff=0.005, longest_pause=0.02)
ACCESS = Access(plain_http=True, patience=QUICK)
BASE = layer("base", noise(300_000, "base"))


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with run_server() as running:
        yield running


@pytest.fixture
def server(running: Running) -> RegistryServer:
    return running.fresh()


@pytest.fixture
def root(server: RegistryServer, tmp_path: Path) -> Descriptor:
    """Push an image; its index."""
    maker = make(tmp_path / "theirs")
    root = maker.image("x:1", BASE)
    target = Target(name="x:1", path="fb/x", tags=("1",))
    push(maker.layout, [target], registry=Registry(server.host, ACCESS))
    server.seen.clear()
    return root


class Mine:
    """A store and a layout of one's own."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path / "store")
        self.layout = PublishedLayout(path / "oci", store=self.store)

    def pull(self, server: RegistryServer, text: str = "1", **wanted: object) -> PullResult:
        mark = "" if text.startswith("@") else ":"
        reference = Reference.parse(f"{server.host}/fb/x{mark}{text}")
        return pull(
            Wanted(reference=reference, **wanted),  # type: ignore[arg-type]
            registry=Registry(server.host, ACCESS),
            layout=self.layout,
            store=self.store,
        )


@pytest.fixture
def mine(tmp_path: Path) -> Mine:
    return Mine(tmp_path / "mine")


def test_an_index_comes_with_all_its_platforms(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    result = mine.pull(server)
    assert result.descriptor.digest == root.digest
    assert (result.manifests, result.blobs) == (3, 5)
    assert str(result.reference) == f"{server.host}/fb/x:1@{root.digest}"
    assert validate_layout(mine.layout) == ()
    assert mine.layout.references()["x:1"].digest == root.digest


def test_a_second_pull_fetches_nothing(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    assert mine.pull(server).fetched > 300_000
    server.seen.clear()
    assert mine.pull(server).fetched == 0
    assert server.requests("GET", "/blobs/") == []


def test_a_digest_is_that_or_nothing(server: RegistryServer, root: Descriptor, mine: Mine) -> None:
    """What the tag has meanwhile does not matter."""
    server.repository("fb/x").tags["1"] = "sha256:" + "0" * 64
    result = mine.pull(server, f"@{root.digest}")
    assert result.descriptor.digest == root.digest
    assert list(mine.layout.references()) == [f"x@{root.digest}"]
    kind, raw = server.repository("fb/x").manifests[str(root.digest)]
    server.repository("fb/x").manifests[str(root.digest)] = (kind, raw + b" ")
    with pytest.raises(DigestMismatchError):
        mine.pull(server, f"@{root.digest}")


@pytest.mark.parametrize("text", ["freebsd/arm64", "freebsd/arm64/v8"])
def test_a_platform_comes_alone_under_its_own_digest(
    server: RegistryServer, root: Descriptor, mine: Mine, text: str
) -> None:
    result = mine.pull(server, platform=parse_platform(text), name="one:1")
    index = json.loads(server.repository("fb/x").manifests[str(root.digest)][1])
    wanted = next(m for m in index["manifests"] if m["platform"]["architecture"] == "arm64")
    assert str(result.descriptor.digest) == wanted["digest"]
    assert result.descriptor.platform == Platform(os="freebsd", architecture="arm64")
    assert (result.manifests, result.blobs) == (1, 3)
    assert validate_layout(mine.layout) == ()
    assert len(server.requests("GET", "/manifests/")) == 2


def test_a_platform_that_is_not_there_is_named(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    with pytest.raises(NotFoundError, match="nothing for linux/amd64, has freebsd/amd64"):
        mine.pull(server, platform=parse_platform("linux/amd64"))
    assert mine.layout.references() == {}


def test_a_single_image_is_for_its_own_platform(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    held = server.repository("fb/x")
    index = json.loads(held.manifests[str(root.digest)][1])
    held.tags["amd64"] = index["manifests"][0]["digest"]
    result = mine.pull(server, "amd64", platform=parse_platform("freebsd/amd64"))
    assert str(result.descriptor.digest) == held.tags["amd64"]
    with pytest.raises(NotFoundError, match="is for freebsd/amd64, not for freebsd/arm64"):
        mine.pull(server, "amd64", platform=parse_platform("freebsd/arm64"))


@pytest.mark.parametrize("text", ["", "freebsd", "freebsd/", "/amd64", "a/b/c/d", "a/b c", "Ä/b"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="platform"):
        parse_platform(text)


def test_a_name_is_what_is_last_in_the_reference() -> None:
    digest = Digest("1" * 64)
    reference = Reference.parse("ghcr.io/freebsd/freebsd-static:15.0")
    assert default_name(reference) == "freebsd-static:15.0"
    assert default_name(reference.with_digest(digest)) == "freebsd-static:15.0"
    assert default_name(Reference.parse("ghcr.io/a/b")) == "b:latest"
    bare = replace(reference, tag=None, digest=digest)
    assert default_name(bare) == f"freebsd-static@{digest}"


def test_there_may_be_no_such_image(server: RegistryServer, mine: Mine) -> None:
    with pytest.raises(NotFoundError, match="fb/x:1: not found"):
        mine.pull(server)


# ---------------------------------------------------------------- faults


def test_a_download_that_breaks_goes_on_from_there(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    server.fault("GET", str(Digest.of(BASE)), truncate=200_000)
    mine.pull(server)
    ranges = [s.headers["range"] for s in server.seen if "range" in s.headers]
    assert ranges == ["bytes=200000-"]
    assert validate_layout(mine.layout) == ()


def test_an_interrupted_pull_goes_on_from_there(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    """Another process, another day: the part is in the store."""
    server.fault("GET", str(Digest.of(BASE)), truncate=200_000)
    server.fault("GET", str(Digest.of(BASE)), status=403)
    with pytest.raises(HttpError):
        mine.pull(server)
    assert mine.layout.references() == {}
    server.seen.clear()
    mine.pull(server)
    ranges = [s.headers["range"] for s in server.seen if "range" in s.headers]
    assert ranges == ["bytes=200000-"]


def test_a_server_without_ranges_sends_it_again(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    server.traits.ranges = False
    server.fault("GET", str(Digest.of(BASE)), truncate=200_000)
    mine.pull(server)
    assert validate_layout(mine.layout) == ()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_pass(
    server: RegistryServer, root: Descriptor, mine: Mine, status: int
) -> None:
    server.fault("GET", "blobs", status=status, times=2)
    server.fault("GET", "manifests", status=status, times=2)
    mine.pull(server)
    assert validate_layout(mine.layout) == ()


def test_a_blob_that_is_something_else_is_refused(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    server.fault("GET", str(Digest.of(BASE)), corrupt=True, times=9)
    with pytest.raises(DigestMismatchError, match=str(Digest.of(BASE))):
        mine.pull(server)
    assert mine.layout.references() == {}
    assert not mine.store.has(Digest.of(BASE))


def test_a_blob_that_is_longer_than_it_says_is_refused(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    server.repository("fb/x").blobs[str(Digest.of(BASE))] = BASE + b"more"
    with pytest.raises(DigestMismatchError, match="size"):
        mine.pull(server)


def test_a_blob_that_is_missing_is_named(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    del server.repository("fb/x").blobs[str(Digest.of(BASE))]
    with pytest.raises(NotFoundError, match=f"{Digest.of(BASE)}: not found"):
        mine.pull(server)


def test_a_platform_that_is_missing_is_named(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    """A registry that has only some of an index."""
    held = server.repository("fb/x")
    lost = json.loads(held.manifests[str(root.digest)][1])["manifests"][0]["digest"]
    del held.manifests[lost]
    with pytest.raises(NotFoundError, match=lost):
        mine.pull(server)


def test_redirected_blobs_come_from_elsewhere(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    with serve() as storage:
        storage.repositories["fb/x"] = server.repository("fb/x")
        server.traits.redirect_blobs = storage.url
        mine.pull(server)
        assert len(storage.seen) == 5
    assert validate_layout(mine.layout) == ()


def test_a_redirect_that_leads_to_a_liar_is_refused(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    with serve() as storage:
        blobs = server.repository("fb/x").blobs
        storage.repository("fb/x").blobs = {d: b"\0" * len(data) for d, data in blobs.items()}
        server.traits.redirect_blobs = storage.url
        with pytest.raises(DigestMismatchError) as caught:
            mine.pull(server)
    assert "signature=secret" not in str(caught.value)


def test_an_index_that_holds_itself_in_depth_is_refused(server: RegistryServer, mine: Mine) -> None:
    held = server.repository("fb/x")
    entries: list[dict[str, object]] = []
    for _ in range(7):
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        raw = json.dumps(document).encode()
        held.manifests[digest_of(raw)] = (INDEX, raw)
        entries = [{"mediaType": INDEX, "digest": digest_of(raw), "size": len(raw)}]
    held.tags["1"] = digest_of(raw)
    with pytest.raises(LayoutError, match="too deep"):
        mine.pull(server)


def test_a_registry_that_hangs_is_given_up(
    server: RegistryServer, root: Descriptor, mine: Mine
) -> None:
    server.fault("GET", "manifests/1", delay=0.8, times=9)
    access = replace(ACCESS, patience=replace(QUICK, read=0.1))
    with pytest.raises(FetchError, match=r"no data for 0\.1 s"):
        pull(
            Wanted(reference=Reference.parse(f"{server.host}/fb/x:1")),
            registry=Registry(server.host, access),
            layout=mine.layout,
            store=mine.store,
        )
