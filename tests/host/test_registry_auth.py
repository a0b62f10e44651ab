"""Authorization: what is sent to whom, renewed when, and shown never."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.formats.digest import Digest
from pipeline.host.http_client import Patience
from pipeline.host.registry import Registry, Repository
from pipeline.host.registry_auth import Challenge, Scope, parse_challenges
from pipeline.host.registry_http import Request
from pipeline.host.registry_manifest import Manifest
from pipeline.host.registry_session import Access, Session
from pipeline.host.registry_upload import Outcome
from pipeline.oci.descriptor import Descriptor
from tests.registry_layouts import noise
from tests.registry_server import INDEX, RegistryServer, Running, digest_of, run_server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "hunter2-very-secret"
QUICK = Patience(connect=5, read=10, attempts=3, backoff=0.01, longest_pause=0.05)
EMPTY = Manifest.parse(
    b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with run_server() as running:
        yield running


@pytest.fixture
def server(running: Running) -> RegistryServer:
    state = running.fresh()
    held = state.repository("fb/x")
    held.manifests[str(EMPTY.digest)] = (INDEX, EMPTY.raw)
    held.tags["t"] = str(EMPTY.digest)
    return state


@pytest.fixture
def access(server: RegistryServer, tmp_path: Path) -> Access:
    """Know an account of the registry."""
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {server.host: {"auth": pair}}}))
    return Access(plain_http=True, patience=QUICK, auth_file=path)


@pytest.fixture
def nobody(tmp_path: Path) -> Access:
    """Know no account."""
    path = tmp_path / "none.json"
    path.write_text("{}")
    return Access(plain_http=True, patience=QUICK, auth_file=path)


def open_repository(server: RegistryServer, access: Access) -> Repository:
    return Registry(server.host, access).repository("fb/x", writable=True)


# ---------------------------------------------------------------- challenges


@pytest.mark.parametrize(
    ("header", "want"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b=c"', [("basic", {"realm": "a, b=c"})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
            [
                (
                    "bearer",
                    {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"},
                )
            ],
        ),
        ('BEARER Realm = "a" , service=s', [("bearer", {"realm": "a", "service": "s"})]),
        (
            'Negotiate, Basic realm="x", Bearer realm="y"',
            [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y"})],
        ),
        (r'Basic realm="a\"b"', [("basic", {"realm": 'a"b'})]),
        ("=?%&", []),
    ],
)
def test_challenges_are_read(header: str, want: list[tuple[str, dict[str, str]]]) -> None:
    """RFC 9110, section 11.6.1: a list of challenges, each with parameters."""
    assert parse_challenges(header) == tuple(Challenge(scheme=s, parameters=p) for s, p in want)


# ---------------------------------------------------------------- Basic


def test_a_password_is_sent_when_it_is_asked_for(server: RegistryServer, access: Access) -> None:
    server.traits.auth, server.traits.users = "basic", {"me": SECRET}
    repository = open_repository(server, access)
    repository.manifest("t")
    repository.manifest("t")
    sent = ["authorization" in s.headers for s in server.seen]
    assert sent == [False, True, True]


def test_nothing_is_sent_that_was_not_asked_for(server: RegistryServer, access: Access) -> None:
    open_repository(server, access).manifest("t")
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_wrong_password_is_one_line_without_it(
    server: RegistryServer, access: Access, auth: str
) -> None:
    server.traits.auth, server.traits.users = auth, {"me": "another"}
    with pytest.raises(RegistryError, match="'me' is not let in") as caught:
        open_repository(server, access).manifest("t")
    shown = f"{caught.value!r} {caught.value} {caught.value.hint} {caught.value.__dict__}"
    assert SECRET not in shown
    assert base64.b64encode(f"me:{SECRET}".encode()).decode() not in shown
    assert "podman login" in shown


def test_no_account_is_one_line(server: RegistryServer, nobody: Access) -> None:
    server.traits.auth = "basic"
    with pytest.raises(RegistryError, match="wants a login") as caught:
        open_repository(server, nobody).manifest("t")
    assert f"podman login {server.host}" in str(caught.value.hint)


def test_unknown_authentication_is_one_line(server: RegistryServer, access: Access) -> None:
    server.fault("GET", "t", status=401, headers={"WWW-Authenticate": "Negotiate"})
    with pytest.raises(RegistryError, match="asks for negotiate authentication"):
        open_repository(server, access).manifest("t")


def test_an_account_may_be_of_a_namespace(server: RegistryServer, tmp_path: Path) -> None:
    server.traits.auth, server.traits.users = "basic", {"me": SECRET}
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    path = tmp_path / "auth.json"
    wrong = {"auth": base64.b64encode(b"me:wrong").decode()}
    path.write_text(
        json.dumps({"auths": {server.host: wrong, f"{server.host}/fb": {"auth": pair}}})
    )
    access = Access(plain_http=True, patience=QUICK, auth_file=path)
    assert open_repository(server, access).manifest("t") == EMPTY


# ---------------------------------------------------------------- tokens


def test_a_token_is_fetched_once_for_its_scope(server: RegistryServer, access: Access) -> None:
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    repository = open_repository(server, access)
    for _ in range(3):
        repository.manifest("t")
    (asked,) = server.requests("GET", "^/token")
    assert asked.query == {
        "account": "me",
        "service": "test",
        "scope": "repository:fb/x:pull,push",
    }
    assert asked.headers["authorization"].startswith("Basic ")
    assert [s.headers.get("authorization", "")[:6] for s in server.requests("GET", "/t$")] == [
        *("", "Bearer", "Bearer", "Bearer")
    ]


def test_public_images_want_a_token_without_account(server: RegistryServer, nobody: Access) -> None:
    server.traits.auth = "bearer"
    repository = Registry(server.host, nobody).repository("fb/x")
    repository.manifest("t")
    (asked,) = server.requests("GET", "^/token")
    assert asked.query["scope"] == "repository:fb/x:pull"
    assert "authorization" not in asked.headers


def test_an_identity_token_is_exchanged_by_post(
    server: RegistryServer, access: Access, tmp_path: Path
) -> None:
    server.traits.auth, server.traits.identity_token = "bearer", SECRET
    path = tmp_path / "identity.json"
    path.write_text(json.dumps({"auths": {server.host: {"identitytoken": SECRET}}}))
    open_repository(server, replace(access, auth_file=path)).manifest("t")
    (asked,) = server.requests("POST", "^/token")
    assert "authorization" not in asked.headers
    assert SECRET not in asked.path


def test_an_expired_token_is_renewed_before_it_is_used(
    server: RegistryServer, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("pipeline.host.registry_auth.time.monotonic", lambda: now[0])
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    server.traits.expires_in = 100
    repository = open_repository(server, access)
    repository.manifest("t")
    now[0] += 85
    repository.manifest("t")
    assert len(server.requests("GET", "^/token")) == 1
    now[0] += 10
    repository.manifest("t")
    assert len(server.requests("GET", "^/token")) == 2
    assert len(server.requests("GET", "/t$")) == 4


def test_a_token_that_expires_in_mid_upload_is_renewed(
    server: RegistryServer, access: Access, tmp_path: Path
) -> None:
    """Every token is good for two requests only, and the blob needs many more."""
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    server.traits.token_uses = 2
    data = noise(100_000)
    path = tmp_path / "blob"
    path.write_bytes(data)
    repository = open_repository(server, replace(access, chunk_size=10_000))
    described = Descriptor(media_type="x", digest=Digest.of(data), size=len(data))
    assert repository.put_blob(described, lambda: path.open("rb")) is Outcome.SENT
    assert server.repository("fb/x").blobs[digest_of(data)] == data
    assert len(server.requests("GET", "^/token")) > 5


def test_a_registry_that_refuses_every_token_is_one_line(
    server: RegistryServer, access: Access
) -> None:
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="test"'}
    server.fault("GET", "/t$", status=401, headers=challenge, times=99)
    with pytest.raises(RegistryError, match="'me' is not let in"):
        open_repository(server, access).manifest("t")
    assert len(server.requests("GET", "/t$")) == 2


def test_a_token_server_may_fail_in_passing(server: RegistryServer, access: Access) -> None:
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    server.fault("GET", "^/token", status=503, times=2)
    assert open_repository(server, access).manifest("t") == EMPTY


@pytest.mark.parametrize(
    "body",
    [
        b"<html>" + SECRET.encode(),
        b"[]",
        b"{}",
        b'{"token": 7}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": ""}',
    ],
)
def test_an_answer_that_is_no_token_is_not_quoted(
    server: RegistryServer, access: Access, body: bytes
) -> None:
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    server.fault("GET", "^/token", status=200, body=body)
    with pytest.raises(RegistryError, match="something else than a token") as caught:
        open_repository(server, access).manifest("t")
    assert SECRET not in f"{caught.value!r}"


def test_a_token_under_its_other_name(server: RegistryServer, access: Access) -> None:
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    scope = "repository:fb/x:pull,push"
    server.tokens["abc"] = [[scope], 0]
    body = b'{"access_token": "abc", "expires_in": "soon"}'
    server.fault("GET", "^/token", status=200, body=body)
    assert open_repository(server, access).manifest("t") == EMPTY


def test_threads_share_a_token(server: RegistryServer, access: Access) -> None:
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    repository = open_repository(server, access)
    gate = threading.Barrier(6)
    server.fault("GET", "/t$", call=gate.wait, times=6)
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(repository.manifest, ["t"] * 6)) == {EMPTY}
    assert len(server.requests("GET", "^/token")) == 1


def test_https_does_not_send_accounts_to_http(server: RegistryServer, access: Access) -> None:
    _, authorizer = Session(server.host, access)._connect()
    realm = 'Bearer realm="http://198.51.100.1/token"'
    request = Request(method="GET", url="https://h.io/v2/x/manifests/t")
    with pytest.raises(RegistryError, match="want https"):
        authorizer.answer(request, realm, (Scope(path="x"),), None)


@pytest.mark.parametrize(
    "realm", ["http://[", "//[", "http://h:x/", "http://h:999999/", "http:///"]
)
def test_a_token_server_that_is_no_url_is_an_error(
    server: RegistryServer, access: Access, realm: str
) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
    server.fault("GET", "/t$", status=401, headers=challenge)
    with pytest.raises(RegistryError, match="names no URL as its token server"):
        open_repository(server, access).manifest("t")


@pytest.mark.parametrize("seconds", ["9" * 400, "Infinity", "NaN", "-1", '"x"', "true"])
def test_a_token_with_a_strange_life_is_used(
    server: RegistryServer, access: Access, seconds: str
) -> None:
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    body = b'{"token":"good","expires_in":%s}' % seconds.encode()
    server.fault("GET", "^/token", status=200, body=body)
    with pytest.raises(RegistryError):  # the registry knows no such token
        open_repository(server, access).manifest("t")
    sent = [seen.headers.get("authorization") for seen in server.requests("GET", "/t$")]
    assert "Bearer good" in sent


def test_an_upload_elsewhere_gets_no_authorization(
    server: RegistryServer, access: Access, tmp_path: Path
) -> None:
    """The Location of an upload may be another host, which is none of our account's business."""
    server.traits.auth, server.traits.users = "basic", {"me": SECRET}
    data = noise(1000)
    path = tmp_path / "blob"
    path.write_bytes(data)
    with serve() as storage:
        storage.uploads["7"] = ("fb/x", bytearray())
        server.fault(
            "POST",
            "uploads",
            skip=1,
            status=202,
            headers={"Location": f"{storage.url}/v2/fb/x/blobs/uploads/7"},
        )
        described = Descriptor(media_type="x", digest=Digest.of(data), size=len(data))
        repository = open_repository(server, access)
        repository.manifest("t")
        server.faults[0].skip = 0
        repository.send_blob(described, lambda: path.open("rb"))
        assert storage.repository("fb/x").blobs[digest_of(data)] == data
        assert "authorization" not in storage.seen[0].headers
        assert "authorization" in server.requests("POST")[0].headers


def test_a_mount_asks_for_the_right_to_read_its_source(
    server: RegistryServer, access: Access, tmp_path: Path
) -> None:
    server.traits.auth, server.traits.users = "bearer", {"me": SECRET}
    data = noise(1000)
    server.repository("fb/parent").blobs[digest_of(data)] = data
    described = Descriptor(media_type="x", digest=Digest.of(data), size=len(data))
    repository = open_repository(server, access)
    path = tmp_path / "none"
    outcome = repository.send_blob(described, lambda: path.open("rb"), mount_from="fb/parent")
    assert outcome is Outcome.MOUNTED
    scopes = [s.query["scope"] for s in server.requests("GET", "^/token")]
    assert scopes == ["repository:fb/x:pull,push"]  # the first of several with this name
