"""URLs of a lock lead into the public internet, or nowhere."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.host.http_client import Patience
from pipeline.host.http_fetcher import HttpFetcher
from pipeline.host.store import Store
from reproducibility import verify_public
from reproducibility.verify_archives import fetch_archives, fetcher_for
from reproducibility.verify_public import NearError, PublicFetcher
from reproducibility.verify_sources import Substitutes, find_needs, is_near
from tests.host.loopback import Loopback, Reply, serve
from tests.reproducibility.test_verify_sources import NAME, plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = Patience(connect=5, read=5, attempts=1)
PUBLIC = "pkg.example.org"


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server on this machine, and a public name that resolves to it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == PUBLIC else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with serve() as server:
        server.files["/repo/a.pkg"] = b"content"
        yield server


def public_url(server: Loopback, scheme: str = "http") -> str:
    port = server.url.rpartition(":")[2]
    return f"{scheme}://{PUBLIC}:{port}/repo"


def fetch(url: str) -> bytes:
    return PublicFetcher(url, patience=QUICK).fetch_bytes("a.pkg", max_length=100)


@pytest.mark.parametrize("scheme", ["http", "https", "pkg+http"])
def test_a_public_name_that_resolves_to_this_machine_is_refused(
    loopback: Loopback, scheme: str
) -> None:
    """The address that answers is looked at, and nothing is sent to it."""
    with pytest.raises(NearError) as caught:
        fetch(public_url(loopback, scheme))
    assert str(caught.value) == (f"{PUBLIC} is 127.0.0.1, which here is another machine than there")
    assert loopback.requests == []


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest", "http://router.lan/", "http://[::1]:1/", "http://x/"],
)
def test_a_redirect_into_this_network_is_not_followed(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(
        verify_public, "is_near", lambda host: host != "127.0.0.1" and is_near(host)
    )
    loopback.script.append(Reply(status=302, headers={"Location": target}))
    with pytest.raises(NearError, match="leads to http://"):
        fetch(public_url(loopback))
    assert len(loopback.requests) == 1


def test_what_is_public_is_fetched(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_public, "is_near", lambda _: False)
    assert fetch(public_url(loopback)) == b"content"


def test_a_proxy_of_this_network_is_asked(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user has set it up, and it resolves the name."""
    monkeypatch.setenv("http_proxy", loopback.url)
    loopback.files[f"http://{PUBLIC}/repo/a.pkg"] = b"by proxy"
    assert fetch(f"http://{PUBLIC}/repo") == b"by proxy"


def test_only_what_a_lock_says_is_held_to_that() -> None:
    needs = find_needs(plan(f"https://{PUBLIC}/repo"), Substitutes(urls={}, root=None))
    (archive, *_) = needs.archives
    assert type(fetcher_for(archive.url, is_given=archive.is_given)) is PublicFetcher
    given = Substitutes(urls={NAME: "http://127.0.0.1:8080"}, root=None)
    (archive, *_) = find_needs(plan(), given).archives
    assert type(fetcher_for(archive.url, is_given=archive.is_given)) is HttpFetcher


def test_the_hint_says_what_to_do(loopback: Loopback, tmp_path: Path) -> None:
    needs = find_needs(plan(public_url(loopback)), Substitutes(urls={}, root=None))
    with pytest.raises(NearError) as caught:
        fetch_archives(needs, store=Store(tmp_path), is_quiet=True)
    assert caught.value.hint == (
        f"name a mirror that has what the lock pins: --repository {NAME}=URL"
    )
