"""HttpClient: requests over pooled connections, with our errors.

1. Redirects are followed, a few, and never from https to http. Credentials stay with the scheme,
   host and port they were given for.
2. Proxies come from the environment (http_proxy, https_proxy, all_proxy, no_proxy).
3. Credentials are in no message: neither user names and passwords of URLs nor queries, which hold
   the signatures of storage services.
4. A failure that another attempt may mend is a `TransientError`; whoever sends requests decides
   about further attempts.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies_environment, proxy_bypass

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from pipeline.errors import FetchError
from pipeline.formats.digest import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PIECE: Final = min(CHUNK, 256 << 10)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
_POOL: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what."""

    connect: float = 10.0
    """Seconds for a connection."""
    read: float = 30.0
    """Seconds without any data."""
    attempts: int = 5
    """Attempts in a row that bring nothing."""
    backoff: float = 0.5
    """Seconds before the second attempt; then twice as long each time."""
    longest_pause: float = 60.0
    """Seconds between two attempts at the most, whatever the server says."""
    grace: float = 120.0
    """Seconds for a whole download, besides what its length takes at `slowest`."""
    slowest: float = 8192.0
    """Bytes a second that are still a download."""
    redirects: int = 5


class TransientError(Exception):
    """A request failed in a way that the next one may not."""

    def __init__(self, error: FetchError, *, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        """What to raise if there is no next one."""
        self.retry_after = retry_after
        """Seconds, where the server has said."""


class Response:
    """An answer whose body has not been read yet."""

    def __init__(
        self, raw: urllib3.response.BaseHTTPResponse, url: str, patience: Patience
    ) -> None:
        self._raw = raw
        self._url = url
        self._patience = patience
        self.status = raw.status

    def header(self, name: str) -> str:
        """Return a header, empty where there is none."""
        return self._raw.headers.get(name, "")

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes, as it was stored: no content coding is undone."""
        while data := self._read():
            yield data

    def _read(self) -> bytes:
        try:
            return self._raw.read1(_PIECE, decode_content=False)
        except HTTPError as e:
            raise translated_error(self._url, e, self._patience) from e


class HttpClient:
    """Send requests. Threads may share it."""

    def __init__(self, patience: Patience, *, credentials_of: str | None = None) -> None:
        self.patience = patience
        self._origin = self._authorization = None
        if credentials_of is not None:
            parts = urlsplit(credentials_of)
            self._origin = origin_of(credentials_of)
            self._authorization = basic_authorization(parts.username, parts.password)
        self._managers: dict[str | None, urllib3.PoolManager] = {}

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """Send a GET request, follow redirects, close what is left of the response at the end.

        Raises:
            TransientError: (4) above.
            FetchError: no answer, and none to be expected.
        """
        for _ in range(self.patience.redirects + 1):
            raw = self._request(url, headers)
            with contextlib.closing(raw):
                location = raw.headers.get("Location")
                if raw.status not in _REDIRECTS or location is None:
                    yield Response(raw, url, self.patience)
                    return
            url = redirect_target(url, location)
        raise FetchError(f"{shown(url)}: more than {self.patience.redirects} redirects")

    def _request(self, url: str, headers: Mapping[str, str]) -> urllib3.response.BaseHTTPResponse:
        sent = {"Accept-Encoding": "identity", "User-Agent": "pkgbase-oci", **headers}
        if self._authorization is not None and origin_of(url) == self._origin:
            sent["Authorization"] = self._authorization
        try:
            return self._manager(url).request(
                "GET", url, headers=sent, preload_content=False, redirect=False, retries=False
            )
        except HTTPError as e:
            raise translated_error(url, e, self.patience) from e

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url)
        if proxy not in self._managers:
            timeout = urllib3.Timeout(connect=self.patience.connect, read=self.patience.read)
            self._managers[proxy] = (
                urllib3.PoolManager(timeout=timeout, maxsize=_POOL)
                if proxy is None
                else _proxy_manager(proxy, timeout)
            )
        return self._managers[proxy]


# ---------------------------------------------------------------- URLs


def without_credentials(url: str) -> str:
    """Return a URL without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def shown(url: str) -> str:
    """Return a URL as it may stand in a message (3)."""
    return urlunsplit(urlsplit(without_credentials(url))._replace(query="", fragment=""))


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port: what an account is for (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def joined(url: str, location: str) -> str | None:
    """Return where a server sends us from a URL, None if that is no URL at all.

    A backslash is in no URL (RFC 3986), and parsers disagree about the host of one that has it.
    """
    if "\\" in location:
        return None
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        _ = parts.port  # checked only when it is asked for
    except ValueError:
        return None
    return target if parts.scheme not in _PORTS or parts.hostname else None


def redirect_target(url: str, location: str) -> str:
    """Return where a Location leads; FetchError if it is no URL, or leads from https to http."""
    target = joined(url, location)
    if target is None:
        raise FetchError(f"{shown(url)}: redirects to something that is no URL")
    target = without_credentials(target)
    parts = urlsplit(target)
    if parts.scheme not in _PORTS:
        raise FetchError(f"{shown(url)}: redirects to {shown(target)}, want http or https")
    if urlsplit(url).scheme == "https" and parts.scheme != "https":
        raise FetchError(f"{shown(url)}: redirects to {shown(target)}, want https")
    return target


def basic_authorization(user: str | None, password: str | None) -> str | None:
    """Return the header of an account as a URL writes it, if there is one (RFC 7617)."""
    if user is None:
        return None
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return urllib3.make_headers(basic_auth=pair)["authorization"]


# ---------------------------------------------------------------- proxies


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy that the environment wants for a URL, if any (2)."""
    parts = urlsplit(without_credentials(url))
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _proxy_manager(proxy: str, timeout: urllib3.Timeout) -> urllib3.ProxyManager:
    parts = urlsplit(proxy)
    if parts.scheme not in _PORTS:
        raise FetchError(f"got proxy {shown(proxy)}, want http or https")
    authorization = basic_authorization(parts.username, parts.password)
    headers = {} if authorization is None else {"proxy-authorization": authorization}
    return urllib3.ProxyManager(
        without_credentials(proxy), proxy_headers=headers, timeout=timeout, maxsize=_POOL
    )


# ---------------------------------------------------------------- failures


def translated_error(url: str, error: HTTPError, patience: Patience) -> Exception:
    """Say in our words what went wrong; urllib3's hold the whole URL."""
    if isinstance(error, SSLError):
        return FetchError(f"{shown(url)}: no trusted TLS connection: {_root_cause(error)}")
    reasons = {
        ProxyError: "the proxy gives no connection",
        NameResolutionError: "the host's name cannot be resolved",
        NewConnectionError: f"no connection: {_root_cause(error)}",
        ConnectTimeoutError: f"no connection within {patience.connect:g} s",
        ReadTimeoutError: f"no data for {patience.read:g} s",
        ProtocolError: "the connection broke off",
    }
    for kind, reason in reasons.items():  # the more special first
        if isinstance(error, kind):
            return TransientError(FetchError(f"{shown(url)}: {reason}"))
    return FetchError(f"{shown(url)}: {type(error).__name__}")


def _root_cause(error: BaseException) -> str:
    cause = error
    while (earlier := cause.__cause__ or cause.__context__) is not None:
        cause = earlier
    text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
    return str(text or type(cause).__name__).lower()
