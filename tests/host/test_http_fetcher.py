"""HTTP against a real server on loopback, one fault at a time."""

from __future__ import annotations

import hashlib
import itertools
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import (
    DigestMismatchError,
    FetchError,
    HttpError,
    NotFoundError,
    TooLargeError,
)
from pipeline.formats.digest import Digest
from pipeline.host.fetch import WantedFile, fetch_file
from pipeline.host.http_client import HttpClient, Patience, shown
from pipeline.host.http_fetcher import HttpFetcher
from pipeline.host.store import Store
from pipeline.pkg.sum import Sum
from tests.host.loopback import Loopback, Reply, Request, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 256
QUICK = Patience(connect=10, read=10, attempts=3, backoff=0.001, longest_pause=0.05)
WANTED = WantedFile(
    path="a.pkg",
    size=len(CONTENT),
    sum=Sum.parse(hashlib.sha256(CONTENT).hexdigest()),
    digest=None,
)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with serve() as server:
        server.files["/repo/a.pkg"] = CONTENT
        yield server


@pytest.fixture
def fetcher(loopback: Loopback) -> HttpFetcher:
    return HttpFetcher(f"{loopback.url}/repo/", patience=QUICK)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def get(fetcher: HttpFetcher, path: str = "a.pkg", limit: int = 1 << 20) -> bytes:
    return fetcher.fetch_bytes(path, max_length=limit)


# ---------------------------------------------------------------- plain requests


def test_bytes_come_as_they_are(loopback: Loopback, fetcher: HttpFetcher) -> None:
    assert get(fetcher) == CONTENT
    (request,) = loopback.requests
    assert request.path == "/repo/a.pkg"
    assert request.headers["accept-encoding"] == "identity"
    assert "range" not in request.headers
    assert "authorization" not in request.headers


def test_content_coding_is_not_undone(loopback: Loopback, fetcher: HttpFetcher) -> None:
    """Servers that put `Content-Encoding` on packages mean the file as it is stored."""
    loopback.script = [Reply(body=b"\x1f\x8bpacked", headers={"Content-Encoding": "gzip"})]
    assert get(fetcher) == b"\x1f\x8bpacked"


def test_chunked_body(loopback: Loopback, fetcher: HttpFetcher) -> None:
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    loopback.script = [Reply(body=body, headers={"Transfer-Encoding": "chunked"})]
    assert get(fetcher) == b"hello world"


def test_odd_characters_of_paths_arrive(loopback: Loopback, fetcher: HttpFetcher) -> None:
    path = "All/Hashed/libc++-1:2_3,4~2$girzt8bd.pkg"
    loopback.files["/repo/" + path] = b"x"
    assert get(fetcher, path) == b"x"
    loopback.files["/repo/a%20b%3Fc%23d%25"] = b"y"
    assert get(fetcher, "a b?c#d%") == b"y"


@pytest.mark.parametrize("status", [404, 410])
def test_missing_file(loopback: Loopback, fetcher: HttpFetcher, status: int) -> None:
    loopback.script = [Reply(status=status)]
    with pytest.raises(NotFoundError, match=f"{loopback.url}/repo/meta.conf: not found"):
        get(fetcher, "meta.conf")
    assert len(loopback.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 416, 204, 206, 304, 501])
def test_other_status_is_an_error_at_once(
    loopback: Loopback, fetcher: HttpFetcher, status: int
) -> None:
    loopback.script = [Reply(status=status, headers={"Content-Length": "0"})]
    with pytest.raises(HttpError, match=f"HTTP status {status}") as caught:
        get(fetcher)
    assert caught.value.status == status
    assert len(loopback.requests) == 1


def test_limit_holds_before_the_download(loopback: Loopback, fetcher: HttpFetcher) -> None:
    loopback.script = [Reply(headers={"Content-Length": str(1 << 40)}, stop_after=0)]
    with pytest.raises(TooLargeError, match="longer than the limit of 1000 bytes"):
        get(fetcher, limit=1000)
    assert len(loopback.requests) == 1


def test_limit_holds_without_content_length(loopback: Loopback, fetcher: HttpFetcher) -> None:
    body = b"".join(b"1000\r\n" + bytes(0x1000) + b"\r\n" for _ in range(100)) + b"0\r\n\r\n"
    loopback.script = [Reply(body=body, headers={"Transfer-Encoding": "chunked"})]
    with pytest.raises(TooLargeError):
        get(fetcher, limit=5000)


def test_limit_is_inclusive(fetcher: HttpFetcher) -> None:
    assert get(fetcher, limit=len(CONTENT)) == CONTENT


# ---------------------------------------------------------------- failures that pass


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failure_is_tried_again(
    loopback: Loopback, fetcher: HttpFetcher, status: int
) -> None:
    loopback.script = [Reply(status=status), Reply(status=status)]
    assert get(fetcher) == CONTENT
    assert len(loopback.requests) == 3


def test_lasting_failure_is_given_up(loopback: Loopback, fetcher: HttpFetcher) -> None:
    loopback.script = [Reply(status=503)] * 10
    with pytest.raises(HttpError, match="HTTP status 503"):
        get(fetcher)
    assert len(loopback.requests) == QUICK.attempts


def pause_before_second_request(loopback: Loopback) -> float:
    first, second = loopback.requests[:2]
    return second.time - first.time


@pytest.mark.parametrize("retry_after", ["1", "3600", "date"])
def test_retry_after_is_honoured_within_bounds(loopback: Loopback, retry_after: str) -> None:
    patience = replace(QUICK, longest_pause=0.1)
    value = formatdate(time.time() + 60, usegmt=True) if retry_after == "date" else retry_after
    loopback.script = [Reply(status=429, headers={"Retry-After": value})]
    assert get(HttpFetcher(f"{loopback.url}/repo", patience=patience)) == CONTENT
    assert 0.09 < pause_before_second_request(loopback) < 30


@pytest.mark.parametrize("value", ["", "soon", "-1", formatdate(0)])
def test_odd_retry_after_means_back_off(loopback: Loopback, value: str) -> None:
    loopback.script = [Reply(status=503, headers={"Retry-After": value})]
    patience = replace(QUICK, longest_pause=60)
    assert get(HttpFetcher(f"{loopback.url}/repo", patience=patience)) == CONTENT
    assert pause_before_second_request(loopback) < 10


def test_pauses_grow(loopback: Loopback) -> None:
    patience = replace(QUICK, attempts=4, backoff=0.02, longest_pause=0.06)
    loopback.script = [Reply(status=500)] * 3
    assert get(HttpFetcher(f"{loopback.url}/repo", patience=patience)) == CONTENT
    times = [request.time for request in loopback.requests]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    least = (0.02, 0.04, 0.06)
    assert all(got >= want for got, want in zip(pauses, least, strict=True))


def test_refused_connection() -> None:
    with serve() as gone:
        url = gone.url
    with pytest.raises(FetchError, match=r"no connection: connection refused"):
        get(HttpFetcher(f"{url}/repo", patience=QUICK))


def test_silent_server(loopback: Loopback) -> None:
    patience = replace(QUICK, read=0.1, attempts=1)
    loopback.script = [Reply(body=b"x" * 100, pause=0.3)]
    with pytest.raises(FetchError, match=r"no data for 0\.1 s"):
        get(HttpFetcher(f"{loopback.url}/repo", patience=patience))


def test_trickling_server(loopback: Loopback) -> None:
    """Data comes before each time-out, but never enough of it."""
    patience = replace(QUICK, grace=0.15, slowest=1e9)
    loopback.script = [Reply(body=b"x" * 1000, pause=0.03, piece=1)]
    begun = time.monotonic()
    with pytest.raises(FetchError, match=r"not complete after 0\.15 s"):
        get(HttpFetcher(f"{loopback.url}/repo", patience=patience))
    assert time.monotonic() - begun < 20  # a thousand pieces would take 30


def test_slow_server_is_waited_for(loopback: Loopback, fetcher: HttpFetcher) -> None:
    loopback.script = [Reply(body=CONTENT, pause=0.02, piece=1 << 14)]
    assert get(fetcher) == CONTENT


# ---------------------------------------------------------------- bodies that break off


@pytest.mark.parametrize("etag", ['"v1"', None])
def test_broken_body_goes_on_where_it_broke(
    loopback: Loopback, fetcher: HttpFetcher, store: Store, etag: str | None
) -> None:
    loopback.etag = etag
    headers = {} if etag is None else {"ETag": etag}
    loopback.script = [Reply(body=CONTENT, stop_after=10_000, headers=headers)]
    assert fetch_file(fetcher, WANTED, store=store).digest == Digest.of(CONTENT)
    second = loopback.requests[1]
    assert second.headers["range"] == "bytes=10000-"
    assert second.headers.get("if-range") == etag
    assert len(loopback.requests) == 2


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": 'W/"weak"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, "Mon, 01 Jan 2024 00:00:00 GMT"),
        ({"ETag": 'W/"weak"'}, None),
    ],
)  # fmt: skip
def test_only_strong_validators_count(
    loopback: Loopback, fetcher: HttpFetcher, headers: dict[str, str], validator: str | None
) -> None:
    loopback.etag = validator
    loopback.script = [Reply(body=CONTENT, stop_after=100, headers=headers)]
    assert get(fetcher) == CONTENT
    assert loopback.requests[1].headers.get("if-range") == validator


def test_file_that_changed_in_between_is_fetched_from_its_start(
    loopback: Loopback, fetcher: HttpFetcher, store: Store
) -> None:
    """If-Range: the server sends all of the new file, and nothing of the old one stays."""
    loopback.etag = '"new"'
    old = Reply(body=b"x" * len(CONTENT), stop_after=10_000, headers={"ETag": '"old"'})
    loopback.script = [old]
    assert fetch_file(fetcher, WANTED, store=store).digest == Digest.of(CONTENT)
    assert loopback.requests[1].headers["if-range"] == '"old"'


def test_server_without_ranges(loopback: Loopback, fetcher: HttpFetcher, store: Store) -> None:
    loopback.ranges = False
    loopback.script = [Reply(body=CONTENT, stop_after=n) for n in (100, 200)]
    assert fetch_file(fetcher, WANTED, store=store).digest == Digest.of(CONTENT)


def test_progress_is_no_failure(loopback: Loopback, fetcher: HttpFetcher, store: Store) -> None:
    """Many more interruptions than attempts, each of which brings something."""

    def some(request: Request) -> Reply:
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers = (
            {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if start else {}
        )
        return Reply(
            status=206 if start else 200, body=CONTENT[start:], stop_after=5000, headers=headers
        )

    loopback.script = [some] * 10
    assert fetch_file(fetcher, WANTED, store=store).digest == Digest.of(CONTENT)
    assert len(loopback.requests) == 11


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-65535/65536", "bytes 101-65535/65536", "bytes */65536", "items 100-1/2", ""],
)
def test_other_range_than_was_asked_for(
    loopback: Loopback, fetcher: HttpFetcher, store: Store, content_range: str
) -> None:
    loopback.script = [
        Reply(body=CONTENT, stop_after=100),
        Reply(status=206, body=CONTENT[100:], headers={"Content-Range": content_range}),
    ]
    assert fetch_file(fetcher, WANTED, store=store).digest == Digest.of(CONTENT)
    assert "range" not in loopback.requests[2].headers


def test_range_that_the_server_cannot_serve(
    loopback: Loopback, fetcher: HttpFetcher, store: Store
) -> None:
    loopback.script = [Reply(body=CONTENT, stop_after=100), Reply(status=416)]
    assert fetch_file(fetcher, WANTED, store=store).digest == Digest.of(CONTENT)
    assert "range" not in loopback.requests[2].headers


def test_whole_of_another_length_in_a_range(
    loopback: Loopback, fetcher: HttpFetcher, store: Store
) -> None:
    lie = {"Content-Range": f"bytes 100-{len(CONTENT)}/{len(CONTENT) + 1}"}
    loopback.script = [
        Reply(body=CONTENT, stop_after=100),
        Reply(status=206, body=CONTENT[100:] + b"x", headers=lie),
    ]
    with pytest.raises(DigestMismatchError, match="size: got 65537, want 65536"):
        fetch_file(fetcher, WANTED, store=store)


def test_content_length_that_is_too_long(loopback: Loopback, fetcher: HttpFetcher) -> None:
    """The server promises more than it has: every attempt breaks off."""
    short = Reply(body=b"x" * 10, headers={"Content-Length": "20"}, stop_after=10)
    loopback.script = [short, short, short]
    loopback.ranges = False
    with pytest.raises(FetchError, match=r"the connection broke off"):
        get(HttpFetcher(f"{loopback.url}/repo", patience=replace(QUICK, attempts=2)))


def test_content_length_that_is_too_short(
    loopback: Loopback, fetcher: HttpFetcher, store: Store
) -> None:
    loopback.script = [Reply(body=CONTENT, headers={"Content-Length": "100"})]
    with pytest.raises(DigestMismatchError, match="size: got 100, want 65536"):
        fetch_file(fetcher, WANTED, store=store)


@pytest.mark.parametrize("value", ["many", "-5", "1_0", "5, 6", "5, 5", "0x10"])
def test_content_length_that_is_no_number(
    loopback: Loopback, fetcher: HttpFetcher, value: str
) -> None:
    loopback.script = [Reply(body=CONTENT, headers={"Content-Length": value})]
    with pytest.raises(FetchError, match=r"a\.pkg: (got Content-Length '.*', want digits|Inv)"):
        get(fetcher)


def test_end_without_content_length_is_noticed_by_size(
    loopback: Loopback, fetcher: HttpFetcher, store: Store
) -> None:
    """HTTP/1.0 style: the connection's end is the body's, so that a cut looks like an end."""
    cut = Reply(body=CONTENT, headers={"Connection": "close", "Content-Length": ""}, stop_after=50)
    loopback.script = [cut]
    assert fetch_file(fetcher, WANTED, store=store).digest == Digest.of(CONTENT)
    assert loopback.requests[1].headers["range"] == "bytes=50-"


def test_broken_chunk(loopback: Loopback, fetcher: HttpFetcher) -> None:
    cut = Reply(body=b"ffff\r\nabc", headers={"Transfer-Encoding": "chunked"}, stop_after=9)
    loopback.script = [cut]
    loopback.ranges = False
    assert get(fetcher) == CONTENT


# ---------------------------------------------------------------- redirects


def redirect(location: str, status: int = 302) -> Reply:
    return Reply(status=status, headers={"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed(loopback: Loopback, fetcher: HttpFetcher, status: int) -> None:
    loopback.files["/elsewhere/a.pkg"] = b"there"
    loopback.script = [redirect("/elsewhere/a.pkg", status)]
    assert get(fetcher) == b"there"


def test_redirect_to_another_server_keeps_credentials_here(loopback: Loopback) -> None:
    with serve() as other:
        other.files["/a.pkg"] = b"there"
        loopback.script = [redirect(f"{other.url}/a.pkg?signature=secret")]
        other.files["/a.pkg?signature=secret"] = b"there"
        url = loopback.url.replace("//", "//user:pass%20word@")
        assert get(HttpFetcher(f"{url}/repo", patience=QUICK)) == b"there"
        assert loopback.requests[0].headers["authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ="
        assert "authorization" not in other.requests[0].headers


def test_endless_redirects(loopback: Loopback, fetcher: HttpFetcher) -> None:
    loopback.script = [redirect("/repo/a.pkg")] * 20
    with pytest.raises(FetchError, match="more than 5 redirects"):
        get(fetcher)
    assert len(loopback.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/passwd", "ftp://h/x", "data:,x", "http://[bad"),
        *("http://h:999999/", "http://h:x/", "//h:x/", "http://h\\@127.0.0.1/"),
    ],
)
def test_redirect_to_no_web_server(loopback: Loopback, fetcher: HttpFetcher, location: str) -> None:
    loopback.script = [redirect(location)]
    with pytest.raises(FetchError, match="redirects to"):
        get(fetcher)


def test_redirect_from_https_to_http_is_refused() -> None:
    from pipeline.host.http_client import redirect_target  # noqa: PLC0415 - needs no TLS server

    with pytest.raises(FetchError, match=r"^https://a/x: redirects to http://b/y, want https$"):
        redirect_target("https://a/x", "http://u:p@b/y?token=1")
    assert redirect_target("http://a/x", "https://b/y?z=1") == "https://b/y?z=1"


def test_redirect_without_location_is_an_error(loopback: Loopback, fetcher: HttpFetcher) -> None:
    loopback.script = [Reply(status=302)]
    with pytest.raises(HttpError, match="HTTP status 302"):
        get(fetcher)


# ---------------------------------------------------------------- proxies and secrets


def test_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as proxy:
        proxy.files["http://pkg.example.org/repo/a.pkg"] = b"by proxy"
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:secret@"))
        assert get(HttpFetcher("http://pkg.example.org/repo", patience=QUICK)) == b"by proxy"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


def test_no_proxy_of_the_environment(
    loopback: Loopback, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert get(fetcher) == CONTENT


def test_proxy_without_scheme_is_http(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as proxy:
        proxy.files["http://pkg.example.org/repo/a.pkg"] = b"by proxy"
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        assert get(HttpFetcher("http://pkg.example.org/repo", patience=QUICK)) == b"by proxy"


def test_proxy_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as gone:
        url = gone.url
    monkeypatch.setenv("http_proxy", url.replace("//", "//me:secret@"))
    with pytest.raises(FetchError, match="no connection") as caught:
        get(HttpFetcher("http://pkg.example.org/repo", patience=QUICK))
    assert "secret" not in str(caught.value)


def test_proxy_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://me:secret@h:1")
    with pytest.raises(FetchError, match=r"^got proxy socks5://h:1, want http or https$"):
        get(HttpFetcher("http://pkg.example.org/repo", patience=QUICK))


@pytest.mark.parametrize(
    "script",
    [
        [Reply(status=403)],
        [Reply(status=404)],
        [Reply(status=500)] * 9,
        [redirect("/y?X-Amz-Signature=secret"), Reply(status=403)],
        [redirect("/y?X-Amz-Signature=secret"), Reply(stop_after=0, body=b"x")] * 9,
        [redirect("ftp://u:secret@h/y?secret")],
        [Reply(headers={"Content-Length": str(1 << 40)}, stop_after=0)],
    ],
)
def test_no_secret_in_a_message(
    loopback: Loopback, script: list[Reply | Callable[[Request], Reply]]
) -> None:
    loopback.script = script
    url = loopback.url.replace("//", "//user:secret@")
    fetcher = HttpFetcher(f"{url}/repo", patience=QUICK)
    with pytest.raises(FetchError) as caught:
        get(fetcher)
    assert "secret" not in str(caught.value)
    assert "secret" not in str(fetcher)
    assert "user" not in str(caught.value)


def test_shown_url() -> None:
    assert shown("https://u:p@h:1/a/b?x=1#f") == "https://h:1/a/b"


def test_self_signed_certificate_is_refused(tmp_path: Path) -> None:
    ssl = pytest.importorskip("ssl")
    socket = pytest.importorskip("socket")
    threading = pytest.importorskip("threading")
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with pytest.raises(ssl.SSLError), connection:
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/repo"
        with pytest.raises(FetchError, match="no trusted TLS connection: self-signed certificate"):
            get(HttpFetcher(url, patience=QUICK))
        thread.join()


def self_signed(directory: Path) -> Path:
    import datetime as dt  # noqa: PLC0415

    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    path = directory / "server.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return path


def test_client_closes_what_it_does_not_read(loopback: Loopback) -> None:
    client = HttpClient(QUICK)
    loopback.script = [Reply(body=bytes(1 << 20))]
    with client.get(f"{loopback.url}/repo/a.pkg", {}) as response:
        assert response.status == 200
        assert response.header("Content-Length") == str(1 << 20)
        assert response.header("X-Other") == ""
    with client.get(f"{loopback.url}/repo/a.pkg", {}) as response:
        assert b"".join(response.chunks()) == CONTENT
