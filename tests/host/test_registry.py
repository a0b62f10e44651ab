"""The registry client: manifests, blobs, tags and referrers, and what it does not believe."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import (
    ConfigurationError,
    DigestMismatchError,
    FetchError,
    FormatError,
    LayoutError,
    NotFoundError,
    RegistryError,
    TooLargeError,
)
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.http_client import Patience
from pipeline.host.registry import Registry, Repository
from pipeline.host.registry_http import certificate_folders, tls_context
from pipeline.host.registry_manifest import MAX_MANIFEST, Manifest
from pipeline.host.registry_session import Access, is_loopback
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.media_type import MediaType
from pipeline.oci.referrers import fallback_tag, referrer_descriptor
from tests.programs import require_program
from tests.registry_server import INDEX, RegistryServer, Running, digest_of, run_server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = Patience(connect=5, read=10, attempts=4, backoff=0.01, longest_pause=0.05)
ACCESS = Access(plain_http=True, patience=QUICK)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.host.registry_referrers._LONGEST_PAUSE", 0.05)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with run_server() as running:
        yield running


@pytest.fixture
def server(running: Running) -> RegistryServer:
    return running.fresh()


@pytest.fixture
def repository(server: RegistryServer) -> Repository:
    return Registry(server.host, ACCESS).repository("fb/x", writable=True)


def index(*manifests: Manifest, **fields: object) -> Manifest:
    entries = [m.descriptor.to_dict() for m in manifests]
    return Manifest.parse(
        canonical_json.dumps(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **fields}
        )
    )


EMPTY = index()


def hold(server: RegistryServer, manifest: Manifest, tag: str = "") -> Manifest:
    """Put a manifest into the registry, past the client."""
    held = server.repository("fb/x")
    held.manifests[str(manifest.digest)] = (manifest.media_type, manifest.raw)
    if tag:
        held.tags[tag] = str(manifest.digest)
    return manifest


def blob(server: RegistryServer, data: bytes) -> Descriptor:
    server.repository("fb/x").blobs[digest_of(data)] = data
    return Descriptor(media_type="x/y", digest=Digest.of(data), size=len(data))


# ---------------------------------------------------------------- manifests


def test_a_manifest_is_fetched_by_tag_and_by_digest(
    server: RegistryServer, repository: Repository
) -> None:
    hold(server, EMPTY, "15.0")
    assert repository.manifest("15.0") == EMPTY
    assert repository.manifest(EMPTY.digest) == EMPTY
    assert "application/vnd.oci.image.manifest.v1+json" in server.seen[0].headers["accept"]


def test_what_is_not_there_is_not_found(repository: Repository) -> None:
    assert repository.find_manifest("none") is None
    assert repository.resolve("none") is None
    with pytest.raises(NotFoundError, match="fb/x:none: not found"):
        repository.manifest("none")


def test_content_of_another_digest_is_refused(
    server: RegistryServer, repository: Repository
) -> None:
    """If <tag-or-digest> is a digest, clients SHOULD verify the returned manifest matches."""
    server.repository("fb/x").manifests[str(EMPTY.digest)] = (INDEX, EMPTY.raw + b" ")
    with pytest.raises(DigestMismatchError):
        repository.manifest(EMPTY.digest)


def test_a_digest_header_that_lies_is_refused(
    server: RegistryServer, repository: Repository
) -> None:
    hold(server, EMPTY, "t")
    lie = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    server.fault("GET", "manifests/t", extra_headers=lie)
    with pytest.raises(DigestMismatchError, match="Docker-Content-Digest"):
        repository.manifest("t")


def test_a_manifest_that_is_altered_on_the_way_is_refused(
    server: RegistryServer, repository: Repository
) -> None:
    hold(server, EMPTY, "t")
    server.fault("GET", "manifests/t", corrupt=True)
    with pytest.raises(DigestMismatchError):
        repository.manifest("t")


def test_a_media_type_that_contradicts_the_document_is_refused(
    server: RegistryServer, repository: Repository
) -> None:
    """Clients SHOULD reject unless mediaType matches the Content-Type header."""
    hold(server, EMPTY, "t")
    server.fault("GET", "t", extra_headers={"Content-Type": MediaType.MANIFEST.value})
    with pytest.raises(RegistryError, match="said to be"):
        repository.manifest("t")


def test_a_server_that_knows_no_types_is_enough(
    server: RegistryServer, repository: Repository
) -> None:
    """A plain web server with an exported directory says application/octet-stream."""
    hold(server, EMPTY, "t")
    server.traits.says_digest = False
    server.fault("GET", "t", extra_headers={"Content-Type": "application/octet-stream"})
    assert repository.manifest("t") == EMPTY
    assert repository.resolve("t") == EMPTY.digest


@pytest.mark.parametrize("raw", [b"", b"{}", b"<html>", b"[]", b'{"mediaType":"text/plain"}'])
def test_what_is_no_manifest_is_refused(
    server: RegistryServer, repository: Repository, raw: bytes
) -> None:
    held = server.repository("fb/x")
    held.manifests[digest_of(raw)] = ("text/html", raw)
    held.tags["t"] = digest_of(raw)
    with pytest.raises(LayoutError, match="fb/x:t"):
        repository.manifest("t")


def test_an_endless_manifest_is_not_read(server: RegistryServer, repository: Repository) -> None:
    raw = EMPTY.raw + b" " * (3 * MAX_MANIFEST)
    held = server.repository("fb/x")
    held.manifests[digest_of(raw)] = (INDEX, raw)
    held.tags["t"] = digest_of(raw)
    with pytest.raises(TooLargeError):
        repository.manifest("t")


def test_a_descriptor_with_another_size_is_refused(
    server: RegistryServer, repository: Repository
) -> None:
    hold(server, EMPTY)
    wrong = Descriptor(media_type=INDEX, digest=EMPTY.digest, size=1)
    with pytest.raises(DigestMismatchError, match="size"):
        repository.read_manifest(wrong)


def test_resolve_believes_the_header_and_costs_a_head(
    server: RegistryServer, repository: Repository
) -> None:
    hold(server, EMPTY, "t")
    assert repository.resolve("t") == EMPTY.digest
    assert [s.method for s in server.seen] == ["HEAD"]


def test_a_digest_of_another_kind_says_nothing(
    server: RegistryServer, repository: Repository
) -> None:
    """It MAY be the case that the hashing algorithms used do not match."""
    hold(server, EMPTY, "t")
    other = {"Docker-Content-Digest": "sha512:" + "0" * 128}
    server.fault("HEAD", "t", extra_headers=other)
    server.fault("GET", "t", extra_headers=other)
    assert repository.resolve("t") == EMPTY.digest
    assert [s.method for s in server.seen] == ["HEAD", "GET"]


def test_a_manifest_is_pushed_under_its_digest_and_its_tag(
    server: RegistryServer, repository: Repository
) -> None:
    repository.put_manifest(EMPTY)
    repository.put_manifest(EMPTY, tag="15.0")
    held = server.repository("fb/x")
    assert held.manifests == {str(EMPTY.digest): (INDEX, EMPTY.raw)}
    assert held.tags == {"15.0": str(EMPTY.digest)}
    assert server.seen[0].headers["content-type"] == INDEX


def test_a_registry_that_confirms_another_digest_is_not_believed(
    server: RegistryServer, repository: Repository
) -> None:
    lie = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    server.fault("PUT", "manifests", extra_headers=lie)
    with pytest.raises(DigestMismatchError):
        repository.put_manifest(EMPTY)


def test_a_tag_is_read_back_where_nothing_is_confirmed(
    server: RegistryServer, repository: Repository
) -> None:
    server.traits.says_digest = False
    repository.put_manifest(EMPTY, tag="t")
    assert len(server.requests("GET", "manifests/t")) == 1


def test_a_tag_that_has_gone_elsewhere_is_an_error(
    server: RegistryServer, repository: Repository
) -> None:
    other = hold(server, index(annotations={"other": "1"}))
    server.traits.says_digest = False

    def move() -> None:
        server.repository("fb/x").tags["t"] = str(other.digest)

    server.fault("GET", "manifests/t", call=move)
    with pytest.raises(DigestMismatchError):
        repository.put_manifest(EMPTY, tag="t")


def test_a_bad_tag_never_reaches_the_registry(
    server: RegistryServer, repository: Repository
) -> None:
    with pytest.raises(FormatError, match="tag"):
        repository.put_manifest(EMPTY, tag="../x")
    assert server.seen == []


def test_the_registrys_words_are_in_the_error(
    server: RegistryServer, repository: Repository
) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no\x1b[31mway"}]}).encode()
    server.fault("PUT", "manifests", status=403, body=body)
    with pytest.raises(RegistryError, match=r"HTTP status 403: DENIED 'no\\x1b\[31mway'") as caught:
        repository.put_manifest(EMPTY)
    assert (caught.value.status, caught.value.code) == (403, "DENIED")
    assert caught.value.hint is not None
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- further attempts


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_passes(
    server: RegistryServer, repository: Repository, status: int
) -> None:
    hold(server, EMPTY, "t")
    server.fault("GET", "t", status=status, times=3)
    assert repository.manifest("t") == EMPTY
    assert len(server.seen) == 4


def test_a_lasting_failure_is_one_line(server: RegistryServer, repository: Repository) -> None:
    server.fault("GET", "t", status=503, times=99)
    with pytest.raises(RegistryError, match=r"^GET http://.*/manifests/t: HTTP status 503$"):
        repository.manifest("t")
    assert len(server.seen) == QUICK.attempts


@pytest.mark.parametrize("fault", [{"drop_answer": True}, {"truncate": 5}])
def test_broken_connections_are_tried_again(
    server: RegistryServer, repository: Repository, fault: dict[str, object]
) -> None:
    hold(server, EMPTY, "t")
    server.fault("GET", "t", **fault)
    assert repository.manifest("t") == EMPTY


def test_a_slow_answer_is_asked_for_again(server: RegistryServer) -> None:
    hold(server, EMPTY, "t")
    server.fault("GET", "t", delay=0.5)
    access = replace(ACCESS, patience=replace(QUICK, read=0.3))
    assert Registry(server.host, access).repository("fb/x").manifest("t") == EMPTY
    assert len(server.seen) >= 2


def test_retry_after_is_heeded(server: RegistryServer) -> None:
    hold(server, EMPTY, "t")
    patience = Patience(attempts=2, backoff=0.0, longest_pause=0.2)
    server.fault("GET", "t", status=429, headers={"Retry-After": "100"})
    repository = Registry(server.host, Access(plain_http=True, patience=patience)).repository(
        "fb/x"
    )
    done = threading.Event()
    threading.Timer(0.12, done.set).start()
    repository.manifest("t")
    assert done.is_set()


def test_no_registry_is_one_line() -> None:
    patience = Patience(attempts=2, backoff=0.01)
    registry = Registry("127.0.0.1:1", Access(plain_http=True, patience=patience))
    with pytest.raises(FetchError, match="no connection: connection refused"):
        registry.repository("x").manifest("t")


def test_a_cancelled_registry_does_nothing_more(
    server: RegistryServer, repository: Repository
) -> None:
    registry = Registry(server.host, ACCESS)
    registry.cancel()
    with pytest.raises(FetchError, match="stopped"):
        registry.repository("fb/x").manifest("t")
    assert server.seen == []


def test_cancelling_ends_a_pause(server: RegistryServer) -> None:
    patience = Patience(attempts=3, backoff=30.0)
    registry = Registry(server.host, Access(plain_http=True, patience=patience))
    server.fault("GET", "t", status=503, times=9)
    threading.Timer(0.1, registry.cancel).start()
    with pytest.raises(FetchError, match="stopped"):
        registry.repository("fb/x").manifest("t")


# ---------------------------------------------------------------- redirects


def test_a_get_is_redirected_without_credentials(server: RegistryServer, tmp_path: Path) -> None:
    """Clients MUST NOT forward Authorization headers across host boundaries."""
    data = b"content of a layer"
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {server.host: {"auth": "bWU6cHc="}}}))
    with serve() as storage:
        described = blob(storage, data)
        blob(server, data)
        server.traits.auth, server.traits.users = "basic", {"me": "pw"}
        server.traits.redirect_blobs = storage.url
        access = Access(plain_http=True, patience=QUICK, auth_file=auth_file)
        repository = Registry(server.host, access).repository("fb/x")
        assert repository.blob(described) == data
        assert "authorization" in server.requests("GET")[-1].headers
        assert "authorization" not in storage.seen[0].headers


def test_a_put_is_not_redirected_elsewhere(server: RegistryServer, repository: Repository) -> None:
    with serve() as other:
        server.fault("PUT", "t", status=307, headers={"Location": f"{other.url}/x"})
        with pytest.raises(FetchError, match="redirected to"):
            repository.put_manifest(EMPTY, tag="t")
        assert other.seen == []


def test_a_put_is_redirected_within_the_registry(
    server: RegistryServer, repository: Repository
) -> None:
    server.fault("PUT", "t$", status=307, headers={"Location": "/v2/fb/x/manifests/t"})
    repository.put_manifest(EMPTY, tag="t")
    assert server.repository("fb/x").tags == {"t": str(EMPTY.digest)}


def test_a_put_that_is_turned_into_a_get_is_an_error(
    server: RegistryServer, repository: Repository
) -> None:
    server.fault("PUT", "t", status=302, headers={"Location": "/v2/"})
    with pytest.raises(FetchError, match="redirected to"):
        repository.put_manifest(EMPTY, tag="t")


def test_redirects_have_an_end(server: RegistryServer, repository: Repository) -> None:
    server.fault("GET", "t", status=302, headers={"Location": "/v2/fb/x/manifests/t"}, times=99)
    with pytest.raises(FetchError, match="more than 5 redirects"):
        repository.manifest("t")


# ---------------------------------------------------------------- blobs


def test_a_small_blob_is_fetched_and_verified(
    server: RegistryServer, repository: Repository
) -> None:
    described = blob(server, b"{}")
    assert repository.blob(described) == b"{}"
    server.fault("GET", "blobs", corrupt=True)
    with pytest.raises(DigestMismatchError):
        repository.blob(described)


def test_a_blob_is_there_if_its_size_is_right(
    server: RegistryServer, repository: Repository
) -> None:
    described = blob(server, b"content")
    assert repository.has_blob(described)
    assert [s.method for s in server.seen] == ["HEAD"]
    assert not repository.has_blob(Descriptor(media_type="x", digest=Digest.of(b"other"), size=5))


def test_a_blob_of_another_size_is_an_error(server: RegistryServer, repository: Repository) -> None:
    """docker-registry keeps an empty file after a crash, and never replaces it."""
    described = blob(server, b"content")
    server.repository("fb/x").blobs[str(described.digest)] = b""
    with pytest.raises(DigestMismatchError, match="size of the blob: got 0, want 7") as caught:
        repository.has_blob(described)
    assert "administrator" in str(caught.value.hint)


def test_a_head_that_lies_about_the_size_is_checked_by_a_get(
    server: RegistryServer, repository: Repository
) -> None:
    described = blob(server, b"content")
    server.fault("HEAD", "blobs", extra_headers={"Content-Length": "0"})
    assert repository.has_blob(described)
    assert [s.method for s in server.seen] == ["HEAD", "GET"]


def test_a_head_that_lies_about_existence_is_checked_too(
    server: RegistryServer, repository: Repository
) -> None:
    described = Descriptor(media_type="x", digest=Digest.of(b"x"), size=1)
    server.fault("HEAD", "blobs", status=200)
    assert not repository.has_blob(described)


# ---------------------------------------------------------------- tags


def test_tags_come_in_pages(server: RegistryServer, repository: Repository) -> None:
    for tag in ("a", "b", "c", "d", "e"):
        hold(server, EMPTY, tag)
    server.traits.page = 2
    assert repository.tags() == ("a", "b", "c", "d", "e")
    assert len(server.seen) == 3


@pytest.mark.parametrize("where", ["http://169.254.169.254/secrets", "https:", "//127.0.0.1:1/"])
def test_pages_do_not_lead_elsewhere(
    server: RegistryServer, repository: Repository, where: str
) -> None:
    url = f"https://{server.host}/v2/fb/x/tags/list" if where == "https:" else where
    server.fault("GET", "tags/list", extra_headers={"Link": f'<{url}>; rel="next"'})
    with pytest.raises(RegistryError, match="goes on elsewhere"):
        repository.tags()


@pytest.mark.parametrize("where", ["http://[", "//[", "http://h:x/", "http://h\\@127.0.0.1/"])
def test_pages_that_lead_nowhere_are_an_error(
    server: RegistryServer, repository: Repository, where: str
) -> None:
    server.fault("GET", "tags/list", extra_headers={"Link": f'<{where}>; rel="next"'})
    with pytest.raises(RegistryError, match="no URL"):
        repository.tags()


def test_no_repository_has_no_tags(server: RegistryServer, repository: Repository) -> None:
    server.fault("GET", "tags/list", status=404)
    assert repository.tags() == ()


@pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"tags": 7}', b'{"tags": [7]}'])
def test_what_are_no_tags_is_refused(
    server: RegistryServer, repository: Repository, body: bytes
) -> None:
    server.fault("GET", "tags/list", status=200, body=body)
    with pytest.raises(RegistryError, match="something else than tags"):
        repository.tags()


# ---------------------------------------------------------------- referrers


def referrer(subject: Manifest, **annotations: str) -> Manifest:
    refers = subject.descriptor.to_dict()
    return index(subject=refers, artifactType="application/x.test", annotations=annotations)


@pytest.mark.parametrize("api", [True, False])
def test_referrers_are_listed_by_the_api_or_the_tag(
    server: RegistryServer, repository: Repository, api: bool
) -> None:
    server.traits.referrers = api
    repository.put_manifest(EMPTY)
    first, second = referrer(EMPTY, n="1"), referrer(EMPTY, n="2")
    wanted = tuple(referrer_descriptor(m.raw) for m in (first, second))
    for manifest in (first, second):
        is_noted = repository.put_manifest(manifest)
        assert is_noted is api
        if not is_noted:
            repository.add_referrers(EMPTY.digest, [referrer_descriptor(manifest.raw)])
    assert repository.referrers(EMPTY.digest) == wanted
    assert (fallback_tag(EMPTY.digest) in server.repository("fb/x").tags) is not api


def test_pages_of_referrers_are_followed(server: RegistryServer, repository: Repository) -> None:
    server.traits.referrers, server.traits.page = True, 1
    for number in range(3):
        hold(server, referrer(EMPTY, n=str(number)))
    assert len(repository.referrers(EMPTY.digest)) == 3


def test_nothing_refers_to_what_has_no_list(repository: Repository) -> None:
    assert repository.referrers(EMPTY.digest) == ()


def test_something_else_under_the_tag_is_not_overwritten(
    server: RegistryServer, repository: Repository
) -> None:
    """If that pull returns a manifest other than the image index, report a failure."""
    tag = fallback_tag(EMPTY.digest)
    hold(server, EMPTY, tag)
    server.repository("fb/x").manifests[str(EMPTY.digest)] = (INDEX, b'{"mediaType":"x"}')
    with pytest.raises(RegistryError, match="want a list of referrers"):
        repository.add_referrers(EMPTY.digest, [referrer_descriptor(referrer(EMPTY).raw)])
    assert server.requests("PUT") == []


def test_a_list_is_written_on_condition(server: RegistryServer, repository: Repository) -> None:
    """The client MAY use conditional HTTP requests to prevent overwriting a changed list."""
    server.traits.conditions = True
    first, second = (hold(server, referrer(EMPTY, n=n)) for n in "12")
    repository.add_referrers(EMPTY.digest, [referrer_descriptor(first.raw)])
    repository.add_referrers(EMPTY.digest, [referrer_descriptor(second.raw)])
    one, two = server.requests("PUT")
    assert one.headers["if-none-match"] == "*"
    assert two.headers["if-match"].startswith('"sha256:')
    assert len(repository.referrers(EMPTY.digest)) == 2


@pytest.mark.parametrize("conditions", [True, False])
def test_pushers_that_race_keep_each_others_entries(
    server: RegistryServer, conditions: bool
) -> None:
    """Each reads, then all write; nobody's entry may be lost."""
    server.traits.conditions = conditions
    count = 6
    entries = [
        referrer_descriptor(hold(server, referrer(EMPTY, n=str(n))).raw) for n in range(count)
    ]
    tag = fallback_tag(EMPTY.digest)
    gate = threading.Barrier(count)
    server.fault("GET", tag, call=gate.wait, times=count)
    errors = []

    def work(entry: Descriptor) -> None:
        try:
            registry = Registry(server.host, Access(plain_http=True, patience=QUICK))
            repository = registry.repository("fb/x", writable=True)
            repository.add_referrers(EMPTY.digest, [entry])
            gate.wait()
            repository.add_referrers(EMPTY.digest, [entry])
        except Exception as e:  # noqa: BLE001
            errors.append(e)

    threads = [threading.Thread(target=work, args=(entry,)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    repository = Registry(server.host, ACCESS).repository("fb/x")
    assert {d.digest for d in repository.referrers(EMPTY.digest)} == {d.digest for d in entries}


def test_a_list_that_others_keep_changing_is_given_up(
    server: RegistryServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.host.registry_referrers._LONGEST_PAUSE", 0.001)
    entry = referrer_descriptor(hold(server, referrer(EMPTY)).raw)
    server.fault("PUT", "manifests", status=412, times=99)
    with pytest.raises(RegistryError, match="others keep changing it"):
        repository.add_referrers(EMPTY.digest, [entry])


# ---------------------------------------------------------------- https and http


@pytest.mark.parametrize(
    ("host", "want"),
    [
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("localhost.example.org", False),
        ("ghcr.io", False),
    ],
)
def test_loopback_is_this_machine(host: str, want: bool) -> None:
    assert is_loopback(host) is want


def test_plain_http_is_found_on_loopback(server: RegistryServer) -> None:
    hold(server, EMPTY, "t")
    assert Registry(server.host, Access(patience=QUICK)).repository("fb/x").manifest("t") == EMPTY


def test_plain_http_is_not_found_elsewhere(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.host.registry_session.is_loopback", lambda _: False)
    with pytest.raises(FetchError, match="no trusted TLS connection"):
        Registry(server.host, Access(patience=QUICK)).repository("fb/x").manifest("t")
    assert server.seen == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(require_program("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[RegistryServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    with serve(tls=context) as state:
        yield state


def test_tls_has_to_prove_itself_on_loopback_too(tls_server: RegistryServer) -> None:
    with pytest.raises(FetchError, match="no trusted TLS connection: self-signed certificate"):
        Registry(tls_server.host, Access(patience=QUICK)).repository("fb/x").manifest("t")
    assert tls_server.seen == []


@pytest.mark.parametrize("plain_http", [None, False])
def test_an_authority_can_be_named(
    tls_server: RegistryServer, certificate: Path, plain_http: bool | None
) -> None:
    hold(tls_server, EMPTY, "t")
    access = Access(plain_http=plain_http, ca_file=certificate / "tls.crt", patience=QUICK)
    assert Registry(tls_server.host, access).repository("fb/x").manifest("t") == EMPTY


def test_an_authority_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    with pytest.raises(ConfigurationError, match=r"ca\.pem: no such file"):
        tls_context("h.io", ca_file=path)
    path.write_text("hello")
    with pytest.raises(ConfigurationError, match=r"ca\.pem: no usable certificate"):
        tls_context("h.io", ca_file=path)


def test_podmans_certificates_count(certificate: Path, tmp_path: Path) -> None:
    folder = tmp_path / "certs.d"
    folder.mkdir()
    (folder / "ca.crt").write_bytes((certificate / "tls.crt").read_bytes())
    (folder / "client.cert").write_bytes((certificate / "tls.crt").read_bytes())
    (folder / "client.key").write_bytes((certificate / "tls.key").read_bytes())
    context = tls_context("h.io", ca_file=None, folders=[tmp_path / "none", folder])
    plain = tls_context("h.io", ca_file=None, folders=[])
    assert context.cert_store_stats()["x509"] == plain.cert_store_stats()["x509"] + 1
    (folder / "client.key").unlink()
    with pytest.raises(ConfigurationError, match=r"client\.cert"):
        tls_context("h.io", ca_file=None, folders=[folder])


def test_certificates_lie_elsewhere_on_freebsd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert [str(p) for p in certificate_folders("h.io:5000", platform="freebsd15")] == [
        "/h/.config/containers/certs.d/h.io:5000",
        "/usr/local/etc/containers/certs.d/h.io:5000",
        "/usr/local/etc/docker/certs.d/h.io:5000",
    ]


def test_a_registry_that_is_no_host_is_refused() -> None:
    for text in ("https://ghcr.io", "ghcr.io/x", "", "a b"):
        with pytest.raises(FormatError):
            Registry(text)
    with pytest.raises(FormatError):
        Registry("ghcr.io").repository("../x")


# ---------------------------------------------------------------- proxies


def test_requests_go_through_a_proxy(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees whole URLs; its own password goes to it alone."""
    monkeypatch.setenv("http_proxy", f"http://me:pw@{server.host}")
    monkeypatch.setenv("no_proxy", "")
    registry = Registry("registry.example", ACCESS)
    assert registry.repository("fb/x").find_manifest("t") is None
    (seen,) = server.seen
    assert seen.headers["host"] == "registry.example"
    assert seen.headers["proxy-authorization"].startswith("Basic ")


def test_a_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://me:pw@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(FetchError, match=r"got proxy socks5://127\.0\.0\.1:1") as caught:
        Registry("registry.example", ACCESS).repository("fb/x").find_manifest("t")
    assert "pw" not in str(caught.value)
