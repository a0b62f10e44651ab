"""Pushing: in the right order, nothing twice, tags last, whatever happens on the way."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DigestMismatchError, FetchError, FormatError, LayoutError, PipelineError
from pipeline.formats.digest import Digest
from pipeline.host.archive import open_layout, write_archive
from pipeline.host.http_client import Patience
from pipeline.host.registry import Registry
from pipeline.host.registry_session import Access
from pipeline.oci.referrers import fallback_tag
from pipeline.stages.parcel import Target, tags_of
from pipeline.stages.push import Action, Kind, PushResult, push
from tests.registry_layouts import Maker, layer, make, noise
from tests.registry_server import RegistryServer, Running, digest_of, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pipeline.oci.descriptor import Descriptor

SBOM = "application/spdx+json"
QUICK = Patience(connect=5, read=10, attempts=3, backoff=0.005, longest_pause=0.02)
ACCESS = Access(plain_http=True, patience=QUICK)
BASE = layer("base", noise(30_000, "base"))
CHILD = layer("child", noise(40_000, "child"))

STATIC = Target(name="static:15.0", path="fb/static", tags=("15.0", "latest"))
RUNTIME = Target(name="runtime:15.0", path="fb/runtime", tags=("15.0",))


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.host.registry_referrers._LONGEST_PAUSE", 0.02)
    monkeypatch.setattr("pipeline.stages.push._SETTLE", 0.0)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with run_server() as running:
        yield running


@pytest.fixture
def server(running: Running) -> RegistryServer:
    return running.fresh()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    maker = make(tmp_path)
    maker.image("static:15.0", BASE)
    maker.image("runtime:15.0", BASE, CHILD)
    return maker


def go(
    server: RegistryServer,
    maker: Maker,
    *targets: Target,
    related: Sequence[Target] = (),
    dry_run: bool = False,
) -> PushResult:
    registry = Registry(server.host, ACCESS)
    return push(
        maker.layout, targets or (STATIC,), registry=registry, related=related, dry_run=dry_run
    )


def missing_from(server: RegistryServer, path: str) -> list[str]:
    """Return what a reader of a repository's tags would not find."""
    held = server.repository(path)
    missing: list[str] = []

    def visit(digest: str) -> None:
        if digest not in held.manifests:
            missing.append(digest)
            return
        document = json.loads(held.manifests[digest][1])
        for child in document.get("manifests", []):
            visit(child["digest"])
        for child in (*document.get("layers", []), *filter(None, [document.get("config")])):
            content = held.blobs.get(child["digest"])
            if content is None or digest_of(content) != child["digest"]:
                missing.append(child["digest"])

    for digest in held.tags.values():
        visit(digest)
    return missing


# ---------------------------------------------------------------- order


def test_everything_arrives_under_its_digest(server: RegistryServer, maker: Maker) -> None:
    result = go(server, maker)
    held = server.repository("fb/static")
    root = maker.layout.references()["static:15.0"].digest
    assert held.tags == {"15.0": str(root), "latest": str(root)}
    assert result.digests == {"static:15.0": root}
    assert missing_from(server, "fb/static") == []
    for digest, (_, raw) in held.manifests.items():
        assert digest_of(raw) == digest
    assert len(held.manifests) == 3
    assert len(held.blobs) == 5


def test_blobs_before_manifests_before_tags(server: RegistryServer, maker: Maker) -> None:
    """Platform manifests come before their index; tags after everything, of all images."""
    go(server, maker, STATIC, RUNTIME)
    order = []
    for seen in server.seen:
        if seen.method in ("PUT", "PATCH", "POST"):
            if "/blobs/" in seen.path:
                order.append("blob")
            elif "sha256:" in seen.path:
                digest = seen.path.rpartition("/")[2]
                repository = server.repository(re.findall("/v2/(.*)/manifests", seen.path)[0])
                kind = repository.manifests[digest][0]
                order.append("index" if "index" in kind else "manifest")
            else:
                order.append("tag")
    assert "".join(word[0] for word in order).lstrip("b") == "mmimmittt"
    assert set(order[: order.index("manifest")]) == {"blob"}


def test_blobs_go_in_parallel(server: RegistryServer, maker: Maker) -> None:
    gate = threading.Barrier(3)
    server.fault("PUT", "blobs/uploads", call=lambda: gate.wait(5), times=3)
    go(server, maker)
    assert not gate.broken


def test_a_target_without_tags_is_there_by_digest(server: RegistryServer, maker: Maker) -> None:
    go(server, maker, Target(name="static:15.0", path="fb/static", tags=()))
    held = server.repository("fb/static")
    assert held.tags == {}
    assert len(held.manifests) == 3


def test_an_archive_is_pushed_like_a_layout(
    server: RegistryServer, maker: Maker, tmp_path: Path
) -> None:
    path = tmp_path / "x.tar"
    write_archive(maker.layout, {"static:15.0": None}, path, mtime=0)
    result = push(open_layout(path), [STATIC], registry=Registry(server.host, ACCESS))
    assert result.digests == {"static:15.0": maker.layout.references()["static:15.0"].digest}


# ---------------------------------------------------------------- nothing twice


def test_a_second_push_sends_nothing(server: RegistryServer, maker: Maker) -> None:
    go(server, maker, STATIC, RUNTIME)
    server.seen.clear()
    result = go(server, maker, STATIC, RUNTIME)
    assert {s.method for s in server.seen} == {"HEAD"}
    assert {s.action for s in result.steps} == {Action.PRESENT}
    assert result.sent == 0


def test_only_what_has_changed_is_sent(server: RegistryServer, maker: Maker) -> None:
    go(server, maker)
    own = layer("new", b"new")
    maker.image("static:15.0", BASE, own, platforms=("amd64",))
    server.seen.clear()
    result = go(server, maker)
    assert result.count(Kind.BLOB, Action.SEND) == 2
    assert server.blob_bytes() < 10_000
    note = next(s.note for s in result.steps if s.name == "15.0")
    assert "was sha256:" in note


def test_a_blob_of_two_images_is_sent_once_and_mounted(
    server: RegistryServer, maker: Maker
) -> None:
    result = go(server, maker, STATIC, RUNTIME)
    sent = [s for s in server.requests("PUT", "uploads") if s.received == len(BASE)]
    assert len(sent) == 1
    mounted = [s for s in result.steps if s.action is Action.MOUNT]
    assert {s.name for s in mounted} == {str(Digest.of(BASE))}
    assert missing_from(server, "fb/runtime") == []


def test_what_a_related_image_has_is_mounted(server: RegistryServer, maker: Maker) -> None:
    go(server, maker, STATIC)
    server.seen.clear()
    result = go(server, maker, RUNTIME, related=[STATIC])
    assert result.count(Kind.BLOB, Action.MOUNT) == 1
    assert server.blob_bytes() < len(BASE) + len(CHILD)
    assert next(s.note for s in result.steps if s.action is Action.MOUNT) == "from fb/static"


def test_a_related_image_that_is_not_there_is_no_failure(
    server: RegistryServer, maker: Maker
) -> None:
    nowhere = Target(name="none:1", path="fb/none", tags=())
    go(server, maker, RUNTIME, related=[STATIC, nowhere])
    assert missing_from(server, "fb/runtime") == []


def test_a_registry_that_never_mounts_gets_it_twice(server: RegistryServer, maker: Maker) -> None:
    server.traits.mounts = False
    go(server, maker, STATIC, RUNTIME)
    assert missing_from(server, "fb/static") == []
    assert missing_from(server, "fb/runtime") == []


def test_a_repository_gets_several_images(server: RegistryServer, maker: Maker) -> None:
    """The index and, under tags of their own, its platforms."""
    amd64 = Target(name="static:15.0-amd64", path="fb/static", tags=("15.0-amd64",))
    result = go(server, maker, STATIC, amd64)
    assert result.count(Kind.MANIFEST, Action.SEND) == 3
    assert set(server.repository("fb/static").tags) == {"15.0", "latest", "15.0-amd64"}


# ---------------------------------------------------------------- dry run


def test_a_dry_run_asks_and_changes_nothing(server: RegistryServer, maker: Maker) -> None:
    result = go(server, maker, STATIC, RUNTIME, dry_run=True)
    assert {s.method for s in server.seen} == {"HEAD"}
    planned = [(s.kind, s.action, s.path, s.name) for s in result.steps]
    done = go(server, maker, STATIC, RUNTIME)
    assert sorted(planned) == sorted((s.kind, s.action, s.path, s.name) for s in done.steps)


def test_a_dry_run_shows_where_tags_are(server: RegistryServer, maker: Maker) -> None:
    go(server, maker)
    old = maker.layout.references()["static:15.0"].digest
    new = maker.image("static:15.0", CHILD).digest
    result = go(server, maker, dry_run=True)
    tag = next(s for s in result.steps if s.name == "latest")
    assert tag.note == f"{new}, was {old}"
    assert server.repository("fb/static").tags["latest"] == str(old)


# ---------------------------------------------------------------- referrers


def artifacts(maker: Maker) -> tuple[Descriptor, Descriptor]:
    """Attach an SBOM to a platform, and a signature to the SBOM."""
    platform = maker.layout.references()["static:15.0-amd64"]
    sbom = maker.artifact(platform, SBOM, b'{"spdx":1}', "attached-1", made="now")
    signature = maker.artifact(sbom, "application/sig", b"sig", "attached-2")
    return sbom, signature


@pytest.mark.parametrize("api", [True, False])
def test_what_refers_to_an_image_goes_with_it(
    server: RegistryServer, maker: Maker, api: bool
) -> None:
    server.traits.referrers = api
    sbom, signature = artifacts(maker)
    result = go(server, maker)
    assert result.count(Kind.REFERRER, Action.SEND) == 2
    platform = maker.layout.references()["static:15.0-amd64"].digest
    repository = Registry(server.host, ACCESS).repository("fb/static")
    (listed,) = repository.referrers(platform)
    assert (listed.digest, listed.artifact_type) == (sbom.digest, SBOM)
    assert listed.annotations == {"made": "now"}
    assert [d.digest for d in repository.referrers(sbom.digest)] == [signature.digest]
    tags = set(server.repository("fb/static").tags)
    fallback = set() if api else {fallback_tag(platform), fallback_tag(sbom.digest)}
    assert tags == {"15.0", "latest"} | fallback


def test_referrers_come_after_their_subjects_and_before_the_tags(
    server: RegistryServer, maker: Maker
) -> None:
    sbom, signature = artifacts(maker)
    go(server, maker)
    puts = [s.path.rpartition("/")[2] for s in server.requests("PUT", "manifests")]
    platform = str(maker.layout.references()["static:15.0-amd64"].digest)
    assert puts.index(platform) < puts.index(str(sbom.digest)) < puts.index(str(signature.digest))
    assert puts[-2:] == ["15.0", "latest"]


@pytest.mark.parametrize("api", [True, False])
def test_referrers_that_are_listed_are_not_sent_again(
    server: RegistryServer, maker: Maker, api: bool
) -> None:
    server.traits.referrers = api
    artifacts(maker)
    go(server, maker)
    server.seen.clear()
    result = go(server, maker)
    assert {s.method for s in server.seen} == {"HEAD", "GET"}
    assert result.count(Kind.REFERRER, Action.PRESENT) == 2


def test_a_list_that_somebody_has_emptied_is_filled_again(
    server: RegistryServer, maker: Maker
) -> None:
    sbom, _ = artifacts(maker)
    go(server, maker)
    platform = maker.layout.references()["static:15.0-amd64"].digest
    del server.repository("fb/static").tags[fallback_tag(platform)]
    go(server, maker)
    repository = Registry(server.host, ACCESS).repository("fb/static")
    assert [d.digest for d in repository.referrers(platform)] == [sbom.digest]


def test_an_entry_that_is_lost_during_the_push_is_written_again(
    server: RegistryServer, maker: Maker
) -> None:
    """Another pusher had read the list before we wrote ours, and writes after us."""
    sbom, _ = artifacts(maker)
    platform = maker.layout.references()["static:15.0-amd64"].digest
    tag = fallback_tag(platform)
    held = server.repository("fb/static")

    def overwrite() -> None:
        held.tags.pop(tag, None)

    server.fault("GET", f"manifests/{tag}", skip=3, call=overwrite)
    go(server, maker)
    listed = Registry(server.host, ACCESS).repository("fb/static").referrers(platform)
    assert [d.digest for d in listed] == [sbom.digest]
    assert len(server.requests("PUT", tag)) == 2


def test_signatures_under_tags_go_before_the_images_tags(
    server: RegistryServer, maker: Maker
) -> None:
    references = maker.layout.references()
    names = [f"sha256-{references[n].digest.hex}.sig" for n in ("static:15.0", "runtime:15.0")]
    maker.signature(f"static:{names[0]}", b"signature")
    maker.signature(names[1], b"of the other image")
    go(server, maker)
    assert set(server.repository("fb/static").tags) == {"15.0", "latest", names[0]}
    puts = [s.path.rpartition("/")[2] for s in server.requests("PUT", "manifests")]
    assert puts[-3:] == [names[0], "15.0", "latest"]
    go(server, maker, RUNTIME)
    assert set(server.repository("fb/runtime").tags) == {"15.0", names[1]}


def signed(maker: Maker, content: bytes) -> str:
    """Sign the image; the tag of its signatures."""
    root = maker.layout.references()["static:15.0"].digest
    tag = f"sha256-{root.hex}.sig"
    maker.signature(f"static:{tag}", content)
    return tag


def signatures(server: RegistryServer, tag: str) -> set[bytes]:
    """Return what stands under a tag."""
    held = server.repository("fb/static")
    document = json.loads(held.manifests[held.tags[tag]][1])
    return {held.blobs[entry["digest"]] for entry in document["layers"]}


def test_signatures_of_others_stay(server: RegistryServer, maker: Maker, tmp_path: Path) -> None:
    tag = signed(maker, b"mine")
    go(server, maker)
    other = make(tmp_path / "other")
    other.image("static:15.0", BASE)
    signed(other, b"theirs")
    shown = go(server, other, dry_run=True)
    assert next(s.note for s in shown.steps if s.name == tag) == "added to what is there"
    assert signatures(server, tag) == {b"mine"}
    go(server, other)
    assert signatures(server, tag) == {b"mine", b"theirs"}
    server.seen.clear()
    result = go(server, maker)
    assert {s.action for s in result.steps} == {Action.PRESENT}
    assert server.requests("PUT") == []
    assert signatures(server, tag) == {b"mine", b"theirs"}


def test_signatures_that_somebody_overwrites_are_added_again(
    server: RegistryServer, maker: Maker
) -> None:
    tag = signed(maker, b"mine")
    server.fault("GET", tag, skip=2, call=lambda: server.repository("fb/static").tags.pop(tag))
    go(server, maker)
    assert signatures(server, tag) == {b"mine"}
    assert len(server.requests("PUT", tag)) == 2


def test_signatures_that_others_keep_changing_end_the_push(
    server: RegistryServer, maker: Maker
) -> None:
    tag = signed(maker, b"mine")

    def overwrite() -> None:
        server.repository("fb/static").tags.pop(tag, None)

    server.fault("GET", tag, call=overwrite, times=999)
    with pytest.raises(PipelineError, match="others keep changing it"):
        go(server, maker)
    assert "15.0" not in server.repository("fb/static").tags


# ---------------------------------------------------------------- moving tags

RELEASES = ["14.3", "15.0", "14.10"]


@pytest.mark.parametrize(
    ("release", "want"),
    [("14.3", ()), ("14.10", ("14",)), ("15.0", ("15", "latest"))],
)
def test_a_moving_tag_is_the_newest_releases(release: str, want: tuple[str, ...]) -> None:
    assert tags_of(release, RELEASES, ["${MAJOR}", "latest"]) == want


def test_patterns_may_use_all_of_a_release() -> None:
    assert tags_of("15.0", RELEASES, ["r${RELEASE}", "${MINOR}-of-${MAJOR}"]) == (
        "r15.0",
        "0-of-15",
    )


def test_a_pattern_that_makes_no_tag_is_an_error() -> None:
    with pytest.raises(FormatError, match="tag"):
        tags_of("15.0", RELEASES, ["${MAYOR}"])


# ---------------------------------------------------------------- what is wrong here


def test_an_image_that_is_not_there_is_named(server: RegistryServer, maker: Maker) -> None:
    with pytest.raises(LayoutError, match=r"there is no 'nope:1' in the layout, but runtime:15\.0"):
        go(server, maker, Target(name="nope:1", path="fb/x", tags=()))
    assert server.seen == []


def test_an_altered_manifest_never_leaves(server: RegistryServer, maker: Maker) -> None:
    digest = maker.layout.references()["static:15.0-amd64"].digest
    path = maker.layout.path(digest)
    path.write_bytes(path.read_bytes().replace(b"2", b"3"))
    with pytest.raises(DigestMismatchError):
        go(server, maker)
    assert server.seen == []


def test_an_altered_blob_never_leaves(server: RegistryServer, maker: Maker) -> None:
    maker.layout.path(Digest.of(BASE)).write_bytes(BASE[:-1] + b"x")
    with pytest.raises(DigestMismatchError, match="of the layout"):
        go(server, maker)
    held = server.repository("fb/static")
    assert str(Digest.of(BASE)) not in held.blobs
    assert held.manifests == {}


def test_a_blob_that_is_missing_here_is_an_error(server: RegistryServer, maker: Maker) -> None:
    maker.layout.path(Digest.of(BASE)).unlink()
    with pytest.raises(LayoutError, match="of the layout: there is no such file"):
        go(server, maker)
    assert server.repository("fb/static").tags == {}


# ---------------------------------------------------------------- faults


def test_a_failed_push_goes_on_where_it_stopped(server: RegistryServer, maker: Maker) -> None:
    """An interrupted push resumes without sending finished blobs again."""
    server.fault("PUT", "manifests", status=500, times=99)
    with pytest.raises(PipelineError):
        go(server, maker)
    finished = dict(server.repository("fb/static").blobs)
    assert len(finished) == 5
    assert server.repository("fb/static").tags == {}
    server.faults.clear()
    server.seen.clear()
    go(server, maker)
    assert server.requests("PUT", "uploads") == []
    assert server.requests("POST") == []
    assert missing_from(server, "fb/static") == []


def test_a_push_that_breaks_among_blobs_sends_only_the_others(
    server: RegistryServer, maker: Maker
) -> None:
    server.fault("PUT", "uploads", skip=2, status=403, times=99)
    with pytest.raises(PipelineError):
        go(server, maker)
    finished = set(server.repository("fb/static").blobs)
    assert 0 < len(finished) < 5
    server.faults.clear()
    server.seen.clear()
    go(server, maker)
    again = {s.query["digest"] for s in server.requests("PUT", "uploads")}
    assert again.isdisjoint(finished)
    assert len(again) == 5 - len(finished)


def test_the_first_failure_stops_the_others(server: RegistryServer, maker: Maker) -> None:
    server.fault("POST", "uploads", status=403)
    server.fault("POST", "uploads", delay=0.15, times=9)
    with pytest.raises(PipelineError, match="403"):
        go(server, maker)
    assert server.repository("fb/static").blobs == {}


def test_a_registry_that_loses_a_blob_refuses_the_manifest(
    server: RegistryServer, maker: Maker
) -> None:
    """It said that the blob is there, and when it comes to the manifest it is not."""
    server.fault("HEAD", str(Digest.of(BASE)), status=200, extra_headers={}, body=BASE)
    server.fault("GET", str(Digest.of(BASE)), status=200, body=BASE)
    with pytest.raises(PipelineError, match="MANIFEST_BLOB_UNKNOWN"):
        go(server, maker)
    assert server.repository("fb/static").tags == {}


FAULTS: dict[str, dict[str, object]] = {
    "drops the request": {"drop_request_after": 0},
    "drops the answer": {"drop_answer": True},
    "fails in passing": {"status": 503},
    "refuses": {"status": 403},
    "fails for good": {"status": 500, "times": 99},
    "hangs up half-way": {"drop_request_after": 1000},
    "lies about the digest": {"extra_headers": {"Docker-Content-Digest": "sha256:" + "0" * 64}},
}


def state(server: RegistryServer) -> dict[str, object]:
    """Return what a registry has, apart from lists of referrers as they were in between."""
    return {
        path: (
            set(held.blobs),
            dict(held.tags),
            {t: held.manifests[d] for t, d in held.tags.items()},
        )
        for path, held in server.repositories.items()
    }


def attempt(server: RegistryServer, maker: Maker) -> str:
    """Push, and return the error if there is one."""
    try:
        go(server, maker, STATIC, RUNTIME)
    except PipelineError as e:
        return str(e)
    return ""


def sweep(server: RegistryServer, maker: Maker, fault: dict[str, object], step: int) -> list[str]:
    """Push once for every request of a push, with the fault at that request."""
    artifacts(maker)
    go(server, maker, STATIC, RUNTIME)
    complete = state(server)
    errors = []
    for number in range(0, len(server.seen), step):
        server.repositories.clear()
        server.fault_at(number, **fault)
        errors.append(attempt(server, maker))
        for path in list(server.repositories):
            assert missing_from(server, path) == [], f"at request {number}"
        finished = {path: set(held.blobs) for path, held in server.repositories.items()}
        server.any_fault = None
        server.seen.clear()
        assert attempt(server, maker) == ""
        for seen in server.requests("PUT", "uploads"):
            path = re.findall("/v2/(.*)/blobs", seen.path)[0]
            assert seen.query["digest"] not in finished.get(path, set()), f"at request {number}"
        assert state(server) == complete, f"at request {number}"
    return [error for error in errors if error]


@pytest.mark.parametrize("name", ["drops the answer", "fails for good"])
def test_a_fault_anywhere_leaves_no_half_image(
    server: RegistryServer, maker: Maker, name: str
) -> None:
    """A sample of the sweep below."""
    sweep(server, maker, FAULTS[name], 31)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault"), FAULTS.items(), ids=FAULTS)
def test_a_fault_at_every_request_leaves_no_half_image(
    server: RegistryServer, maker: Maker, name: str, fault: dict[str, object]
) -> None:
    """The push finishes or fails with one line; a tag never leads to half an image.

    And the next push finishes it without sending finished blobs again.
    """
    errors = sweep(server, maker, fault, 1)
    assert not [error for error in errors if "\n" in error]
    assert bool(errors) == (name in ("refuses", "fails for good", "lies about the digest"))


def test_a_registry_that_is_away_is_one_line(maker: Maker) -> None:
    with pytest.raises(FetchError, match="no connection: connection refused"):
        push(maker.layout, [STATIC], registry=Registry("127.0.0.1:1", ACCESS))
