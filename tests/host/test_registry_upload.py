"""Uploads: in one piece or many, resumed, mounted, and never of something else."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DigestMismatchError, FetchError, PipelineError, RegistryError
from pipeline.formats.digest import Digest
from pipeline.host.http_client import Patience
from pipeline.host.registry import Registry, Repository
from pipeline.host.registry_auth import Scope
from pipeline.host.registry_session import Access, Reply, Session
from pipeline.host.registry_upload import LocalBlob, Outcome, Upload
from pipeline.oci.descriptor import Descriptor
from tests.registry_layouts import noise
from tests.registry_server import RegistryServer, Running, digest_of, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

SIZE = 1_000_000
CHUNK = 200_000
DATA = noise(SIZE)
BLOB = Descriptor(media_type="x/y", digest=Digest.of(DATA), size=SIZE)
QUICK = Patience(connect=5, read=10, attempts=3, backoff=0.01, longest_pause=0.05)
WHOLE = Access(plain_http=True, patience=QUICK)
PIECES = replace(WHOLE, chunk_size=CHUNK)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with run_server() as running:
        yield running


@pytest.fixture
def server(running: Running) -> RegistryServer:
    return running.fresh()


def repository(server: RegistryServer, access: Access = PIECES) -> Repository:
    return Registry(server.host, access).repository("fb/x", writable=True)


def content() -> BinaryIO:
    return io.BytesIO(DATA)


def send(server: RegistryServer, access: Access = PIECES, **arguments: object) -> Outcome:
    return repository(server, access).send_blob(BLOB, content, **arguments)  # type: ignore[arg-type]


def held(server: RegistryServer, path: str = "fb/x") -> bytes | None:
    return server.repository(path).blobs.get(digest_of(DATA))


# ---------------------------------------------------------------- without faults


def test_a_small_blob_goes_in_one_put(server: RegistryServer) -> None:
    assert send(server, WHOLE) is Outcome.SENT
    assert held(server) == DATA
    assert [s.method for s in server.seen] == ["POST", "PUT"]
    assert server.seen[1].headers["content-length"] == str(SIZE)
    assert "transfer-encoding" not in server.seen[1].headers
    assert server.seen[1].query["_state"] == "0"


def test_a_large_blob_goes_in_pieces(server: RegistryServer) -> None:
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert [s.method for s in server.seen] == ["POST", *["PATCH"] * 5, "PUT"]
    assert server.seen[2].headers["content-range"] == "200000-399999"
    assert server.seen[-1].received == 0


def test_pieces_are_as_long_as_the_registry_wants(server: RegistryServer) -> None:
    """The size of each chunk, except for the final chunk, SHOULD be greater or equal."""
    server.traits.min_chunk = 400_000
    send(server)
    assert [s.received for s in server.requests("PATCH")] == [400_000, 400_000, 200_000]


def test_an_empty_blob(server: RegistryServer) -> None:
    empty = Descriptor(media_type="x", digest=Digest.of(b""), size=0)
    repository(server).send_blob(empty, io.BytesIO)
    assert server.repository("fb/x").blobs[digest_of(b"")] == b""


def test_what_is_there_is_not_sent(server: RegistryServer) -> None:
    server.repository("fb/x").blobs[digest_of(DATA)] = DATA
    assert repository(server).put_blob(BLOB, content) is Outcome.PRESENT
    assert [s.method for s in server.seen] == ["HEAD"]


def test_progress_goes_up_to_the_end(server: RegistryServer) -> None:
    heard: list[int] = []
    send(server, progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == SIZE


# ---------------------------------------------------------------- mounting


def test_a_blob_is_mounted(server: RegistryServer) -> None:
    server.repository("fb/parent").blobs[digest_of(DATA)] = DATA
    assert send(server, mount_from="fb/parent") is Outcome.MOUNTED
    assert held(server) == DATA
    assert server.blob_bytes() == 0
    assert server.seen[0].query == {"mount": digest_of(DATA), "from": "fb/parent"}


def test_a_mount_that_is_not_done_has_begun_an_upload(server: RegistryServer) -> None:
    """It SHOULD return a 202: the upload session has begun and the client MAY proceed."""
    server.traits.mounts = False
    assert send(server, WHOLE, mount_from="fb/parent") is Outcome.SENT
    assert [s.method for s in server.seen] == ["POST", "PUT"]


def test_a_mount_that_fails_for_good_is_a_failure(server: RegistryServer) -> None:
    server.fault("POST", "mount=", status=507)
    with pytest.raises(RegistryError, match="507"):
        send(server, mount_from="fb/parent")


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_mount_that_is_refused_is_no_failure(server: RegistryServer, status: int) -> None:
    server.fault("POST", "mount=", status=status)
    assert send(server, WHOLE, mount_from="fb/parent") is Outcome.SENT
    assert held(server) == DATA


def test_a_mount_that_is_confirmed_as_something_else_is_refused(server: RegistryServer) -> None:
    lie = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    server.repository("fb/parent").blobs[digest_of(DATA)] = DATA
    server.fault("POST", "mount=", extra_headers=lie)
    with pytest.raises(DigestMismatchError):
        send(server, mount_from="fb/parent")


def test_nothing_is_mounted_from_itself(server: RegistryServer) -> None:
    send(server, WHOLE, mount_from="fb/x")
    assert server.seen[0].query == {}


# ---------------------------------------------------------------- interruptions


@pytest.mark.parametrize("after", [0, 1, 100_000])
def test_a_broken_piece_goes_on_where_it_broke(server: RegistryServer, after: int) -> None:
    server.fault("PATCH", "uploads", skip=2, drop_request_after=after)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert server.blob_bytes() == SIZE, "nothing was sent twice"
    assert len(server.requests("GET", "uploads")) == 1


def test_a_broken_whole_goes_on_where_it_broke(server: RegistryServer) -> None:
    server.fault("PUT", "uploads", drop_request_after=300_000)
    assert send(server, WHOLE) is Outcome.SENT
    assert held(server) == DATA
    assert server.blob_bytes() == SIZE


def test_a_lost_answer_to_a_piece_costs_nothing(server: RegistryServer) -> None:
    server.fault("PATCH", "uploads", skip=1, drop_answer=True)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert server.blob_bytes() == SIZE


@pytest.mark.parametrize("access", [WHOLE, PIECES], ids=["whole", "pieces"])
def test_a_lost_answer_to_the_end_costs_nothing(server: RegistryServer, access: Access) -> None:
    """The upload is gone by then, and the blob is there."""
    server.fault("PUT", "uploads", drop_answer=True)
    assert send(server, access) is Outcome.SENT
    assert held(server) == DATA
    assert server.blob_bytes() == SIZE
    assert len(server.requests("POST")) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_passing_failures_pass(server: RegistryServer, method: str, status: int) -> None:
    server.fault(method, "uploads", status=status, times=2)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA


def test_a_slow_answer_is_not_waited_for(server: RegistryServer) -> None:
    server.fault("PATCH", "uploads", delay=0.5)
    assert send(server, replace(PIECES, patience=replace(QUICK, read=0.3))) is Outcome.SENT
    assert held(server) == DATA


def test_many_breaks_are_no_failure_while_something_comes(server: RegistryServer) -> None:
    """Attempts that bring something do not count."""
    for _ in range(12):
        server.fault("PATCH", "uploads", drop_request_after=70_000)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA


def test_breaks_that_bring_nothing_end_it(server: RegistryServer) -> None:
    server.fault("PATCH", "uploads", drop_request_after=0, times=99)
    with pytest.raises(FetchError, match="the connection broke off"):
        send(server)
    assert held(server) is None
    assert len(server.requests("PATCH")) == QUICK.attempts
    assert len(server.requests("DELETE")) == 1, "the registry is told"


def test_a_forgotten_upload_starts_anew(server: RegistryServer) -> None:
    server.fault("PATCH", "uploads", skip=2, call=server.uploads.clear)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert len(server.requests("POST")) == 2


def test_a_registry_that_keeps_forgetting_is_given_up(server: RegistryServer) -> None:
    server.fault("PATCH", "uploads", call=server.uploads.clear, times=99)
    server.traits.chunks = True
    server.fault("PUT", "uploads", call=server.uploads.clear, times=99)
    with pytest.raises(RegistryError, match="BLOB_UPLOAD_UNKNOWN"):
        send(server)
    assert len(server.requests("POST")) == 3


def test_an_offset_that_is_out_of_step_is_asked_for(server: RegistryServer) -> None:
    """A GET request may be used to retrieve the current valid offset, after a 416."""
    server.fault("PATCH", "uploads", skip=1, status=416)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert len(server.requests("GET", "uploads")) == 1


def test_a_registry_without_status_starts_anew(server: RegistryServer) -> None:
    server.traits.status = False
    server.fault("PATCH", "uploads", skip=1, drop_answer=True)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert len(server.requests("POST")) == 2


def test_a_registry_that_takes_no_pieces_gets_the_whole(server: RegistryServer) -> None:
    server.traits.chunks = False
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert [s.method for s in server.seen] == ["POST", "PATCH", "POST", "PUT"]


def test_a_refusal_in_the_midst_is_one_line(server: RegistryServer) -> None:
    server.fault("PATCH", "uploads", skip=2, status=403)
    with pytest.raises(RegistryError, match="403"):
        send(server)
    assert len(server.requests("DELETE")) == 1


def test_a_refused_question_is_one_line(server: RegistryServer) -> None:
    server.fault("PATCH", "uploads", skip=1, drop_answer=True)
    server.fault("GET", "uploads", status=403)
    with pytest.raises(RegistryError, match="403"):
        send(server)


@pytest.mark.parametrize("claimed", ["", "0-99999999", "bytes 7-9", "x"])
def test_an_answer_that_says_nothing_useful_starts_anew(
    server: RegistryServer, claimed: str
) -> None:
    server.fault("PATCH", "uploads", skip=1, drop_answer=True)
    server.fault("GET", "uploads", extra_headers={"Range": claimed})
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert len(server.requests("POST")) == 2


def test_and_the_whole_again_if_it_breaks(server: RegistryServer) -> None:
    server.traits.chunks = False
    server.fault("PUT", "uploads", drop_request_after=300_000)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA


def test_a_registry_that_takes_only_the_first_piece_gets_the_whole(
    server: RegistryServer,
) -> None:
    """As some do: they know PATCH, but only as docker uses it, once for everything."""
    server.traits.status = False
    server.fault("PATCH", "_state=[1-9]", status=400, times=99)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert server.requests("PUT")[-1].received == SIZE


# ---------------------------------------------------------------- lies and damage


@pytest.mark.parametrize("claimed", ["0-999998", "0-9999999", "0-0", "bytes=0-1"])
def test_a_registry_that_says_another_length_is_not_followed(
    server: RegistryServer, claimed: str
) -> None:
    server.fault("PATCH", "uploads", extra_headers={"Range": claimed})
    assert send(server) is Outcome.SENT
    assert held(server) == DATA


def test_less_than_was_sent_is_sent_again(server: RegistryServer) -> None:
    def shorten() -> None:
        for _, data in server.uploads.values():
            del data[150_000:]

    server.fault("PATCH", "uploads", skip=1, call=shorten)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA


def test_damage_on_the_way_starts_anew(server: RegistryServer) -> None:
    def damage() -> None:
        for _, data in server.uploads.values():
            data[0] ^= 1

    server.fault("PUT", "uploads", call=damage)
    assert send(server) is Outcome.SENT
    assert held(server) == DATA
    assert len(server.requests("POST")) == 2


def test_lasting_damage_ends_it(server: RegistryServer) -> None:
    server.fault("PUT", "uploads", status=400, body=b"", times=99)
    with pytest.raises(RegistryError, match="HTTP status 400"):
        send(server)


def test_a_confirmation_of_something_else_is_refused(server: RegistryServer) -> None:
    lie = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    server.fault("PUT", "uploads", extra_headers=lie)
    with pytest.raises(DigestMismatchError, match="the registry's word"):
        send(server)


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"x" + DATA[1:], "blob .* of the layout: got sha256"), (DATA[:-1], "size: got 999999")],
)
def test_a_local_file_that_is_something_else_is_never_sent(
    server: RegistryServer, data: bytes, what: str
) -> None:
    with pytest.raises(DigestMismatchError, match=what) as caught:
        repository(server).send_blob(BLOB, lambda: io.BytesIO(data))
    assert caught.value.hint is not None
    assert server.seen == []


def test_a_local_file_that_changes_meanwhile_is_noticed(server: RegistryServer) -> None:
    files = iter([DATA, DATA[:300_000]])
    with pytest.raises(DigestMismatchError, match="size"):
        repository(server, WHOLE).send_blob(BLOB, lambda: io.BytesIO(next(files)))
    assert held(server) is None


@pytest.mark.parametrize("location", ["", "ftp://h/x", "http://[", "http://h:x/"])
def test_an_upload_that_leads_nowhere_is_an_error(server: RegistryServer, location: str) -> None:
    headers = {"Location": location} if location else {}
    server.fault("POST", "uploads", status=202, headers=headers)
    with pytest.raises(PipelineError, match="names no place for the upload"):
        send(server)


def test_https_does_not_go_on_in_http(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry behind a proxy that does not say so."""
    monkeypatch.setattr(
        "pipeline.host.registry_session.Session.url", lambda _, path: f"https://h.io/v2/{path}"
    )
    upload = Upload(Session("h.io", WHOLE), Scope(path="x"), LocalBlob(BLOB, content))
    reply = Reply(
        status=202, url="https://h.io/v2/", headers={"location": "http://h.io/u/1"}, body=b""
    )
    with pytest.raises(RegistryError, match="want https") as caught:
        upload._location(reply)
    assert "X-Forwarded-Proto" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "wants"), (403, "403"), (413, "413"), (404, "404"), (507, "507")],
)
def test_a_refusal_is_one_line(server: RegistryServer, status: int, word: str) -> None:
    server.fault("POST", "uploads", status=status, times=9)
    with pytest.raises(RegistryError) as caught:
        send(server)
    assert str(status) in str(caught.value) or "authentication" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cancelling_stops_an_upload(server: RegistryServer) -> None:
    registry = Registry(server.host, PIECES)
    server.fault("PATCH", "uploads", skip=1, call=registry.cancel)
    with pytest.raises(FetchError, match="stopped"):
        registry.repository("fb/x", writable=True).send_blob(BLOB, content)
    assert held(server) is None
