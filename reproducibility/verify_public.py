"""Fetching from URLs that somebody else has written: from the public internet, or not at all.

A lock could name a host of this machine's network, and a public host could lead there: by a
redirect, or by a name that resolves to an address there. So

1. the host of a URL, and of everything that it redirects to, is none that is near
   (`verify_sources.is_near`);
2. nor is the address that answers; that is looked at when the connection stands, before anything is
   sent. Behind a proxy, which resolves names itself, (1) has to do.

URLs that the user writes lead wherever he likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from pipeline.errors import FetchError
from pipeline.host.http_client import HttpClient, shown
from pipeline.host.http_fetcher import HttpFetcher
from reproducibility.verify_sources import is_near

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from pipeline.host.http_client import Patience


class NearError(FetchError):
    """A URL of a lock leads to this machine, or into its network."""


class _GuardedConnection(HTTPConnection):
    """A connection that is closed again if a near address answers (2)."""

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        address = str(connection.getpeername()[0])
        if is_near(address):
            connection.close()
            raise NearError(f"{self.host} is {address}, which here is another machine than there")
        return connection


class _GuardedTlsConnection(_GuardedConnection, HTTPSConnection):
    """The same, before TLS begins."""


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _GuardedTlsConnection


_POOLS: Final = {"http": _Pool, "https": _TlsPool}


class _PublicClient(HttpClient):
    """Send requests to public hosts only."""

    def _request(self, url: str, headers: Mapping[str, str]) -> urllib3.response.BaseHTTPResponse:
        host = urlsplit(url).hostname or ""
        if is_near(host):
            raise NearError(
                f"leads to {shown(url)[:200]}, which here is another machine than there"
            )
        return super()._request(url, headers)

    def _manager(self, url: str) -> urllib3.PoolManager:
        manager = super()._manager(url)
        if not isinstance(manager, urllib3.ProxyManager):
            manager.pool_classes_by_scheme = _POOLS
        return manager


class PublicFetcher(HttpFetcher):
    """Read files below a URL of a lock."""

    def __init__(self, url: str, *, patience: Patience | None = None) -> None:
        super().__init__(url.removeprefix("pkg+"), patience=patience)
        self._client = _PublicClient(self._client.patience)
