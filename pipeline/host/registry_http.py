"""Connections: requests of any method to a registry and to wherever it sends us.

Like `host.http_client`, which fetches packages, and with its rules for redirects, proxies and
messages. What a registry needs beyond that:

1. Requests with a body go to one place: a redirect of a POST, PATCH or PUT is followed only within
   scheme, host and port, and only if it keeps the method (307, 308).
2. Authorization is given with each request and stays with the scheme, host and port of its URL.
3. Certificates: the system's authorities (SSL_CERT_FILE, SSL_CERT_DIR), one more file of them, and
   what podman and docker use for the host, `certs.d/<host>/*.crt`, `*.cert` and `*.key`
   (containers-certs.d(5)): below ~/.config/containers, then /etc/containers and /etc/docker, on
   FreeBSD below /usr/local/etc. The first directory that exists counts.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from pipeline.errors import ConfigurationError, FetchError, TooLargeError
from pipeline.host.http_client import (
    Patience,
    Response,
    TransientError,
    basic_authorization,
    origin_of,
    proxy_for,
    redirect_target,
    shown,
    translated_error,
    without_credentials,
)
from pipeline.host.http_fetcher import TRANSIENT_STATUSES, retry_after_seconds, retry_delay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEEPS_METHOD: Final = frozenset({307, 308})
_POOL: Final = 16


class Body(Protocol):
    """What is sent; each iteration starts again."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content in pieces."""


class BytesBody:
    """A small body."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def __iter__(self) -> Iterator[bytes]:
        yield self._data


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None

    def __str__(self) -> str:
        return f"{self.method} {shown(self.url)}"


class Answer:
    """An answer whose body has not been read yet."""

    def __init__(self, response: Response, url: str) -> None:
        self.response = response
        self.url = url
        """Where it came from, after redirects."""
        self.status = response.status

    def header(self, name: str) -> str:
        """Return a header, empty where there is none."""
        return self.response.header(name)

    def read(self, limit: int) -> bytes:
        """Return the body; raise TooLargeError if it is longer than `limit`."""
        data = bytearray()
        for chunk in self.response.chunks():
            data += chunk
            if len(data) > limit:
                raise TooLargeError(shown(self.url), limit)
        return bytes(data)

    def skip(self, limit: int) -> None:
        """Read a body that does not matter, so that the connection can serve again."""
        with contextlib.suppress(FetchError, TransientError):
            self.read(limit)


class Connections:
    """Send requests. Threads may share it."""

    def __init__(self, patience: Patience, tls: Callable[[], ssl.SSLContext]) -> None:
        """Prepare.

        Args:
            patience: how long to wait for what.
            tls: returns whom to trust; called when something is first sent by https.
        """
        self.patience = patience
        self._tls = functools.cache(tls)
        self._managers: dict[tuple[str, str | None], urllib3.PoolManager] = {}

    @contextlib.contextmanager
    def open(self, request: Request, authorization: str | None) -> Iterator[Answer]:
        """Send a request, follow redirects, close what is left of the answer at the end.

        Raises:
            TransientError: another attempt may succeed.
            FetchError: no answer, and none to be expected.
        """
        url = request.url
        for _ in range(self.patience.redirects + 1):
            is_home = origin_of(url) == origin_of(request.url)
            raw = self._send(request, url, authorization if is_home else None)
            with contextlib.closing(raw):
                location = raw.headers.get("Location")
                if raw.status not in _REDIRECTS or location is None:
                    yield Answer(Response(raw, url, self.patience), url)
                    return
            url = _next(request, url, raw.status, location)
        raise FetchError(f"{request}: more than {self.patience.redirects} redirects")

    def _send(
        self, request: Request, url: str, authorization: str | None
    ) -> urllib3.response.BaseHTTPResponse:
        sent = {"Accept-Encoding": "identity", "User-Agent": "pkgbase-oci", **request.headers}
        if authorization is not None:
            sent["Authorization"] = authorization
        body = request.body
        if body is not None:
            sent["Content-Length"] = str(body.size)
        try:
            return self._manager(url).request(
                request.method,
                url,
                body=body,
                headers=sent,
                preload_content=False,
                redirect=False,
                retries=False,
            )
        except HTTPError as e:
            raise translated_error(url, e, self.patience) from e

    def _manager(self, url: str) -> urllib3.PoolManager:
        scheme, proxy = urlsplit(url).scheme, proxy_for(url)
        key = (scheme, proxy)
        if key not in self._managers:
            timeout = urllib3.Timeout(connect=self.patience.connect, read=self.patience.read)
            tls = self._tls() if "https" in (scheme, urlsplit(proxy or "").scheme) else None
            self._managers[key] = (
                urllib3.PoolManager(timeout=timeout, maxsize=_POOL, ssl_context=tls)
                if proxy is None
                else _through(proxy, timeout, tls)
            )
        return self._managers[key]


def _through(
    proxy: str, timeout: urllib3.Timeout, tls: ssl.SSLContext | None
) -> urllib3.ProxyManager:
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https"):
        raise FetchError(f"got proxy {shown(proxy)}, want http or https")
    authorization = basic_authorization(parts.username, parts.password)
    return urllib3.ProxyManager(
        without_credentials(proxy),
        proxy_headers={} if authorization is None else {"proxy-authorization": authorization},
        timeout=timeout,
        maxsize=_POOL,
        ssl_context=tls,
    )


def _next(request: Request, url: str, status: int, location: str) -> str:
    target = redirect_target(url, location)
    if request.method in ("GET", "HEAD"):
        return target
    if status not in _KEEPS_METHOD or origin_of(target) != origin_of(request.url):
        raise FetchError(
            f"{request}: redirected to {shown(target)}",
            hint="name the registry as it calls itself",
        )
    return target


# ---------------------------------------------------------------- further attempts


def transient(answer: Answer, error: FetchError) -> None:
    """Raise TransientError, with `error` inside, if another attempt may bring another answer."""
    if answer.status in TRANSIENT_STATUSES:
        raise TransientError(error, retry_after=retry_after_seconds(answer.header("Retry-After")))


def retry(
    attempt: Callable[[], T], *, patience: Patience, pause: Callable[[float], object] = time.sleep
) -> T:
    """Call a function until it does not raise TransientError, or too often in a row."""
    failures = 0
    while True:
        try:
            return attempt()
        except TransientError as e:
            failures += 1
            if failures >= patience.attempts:
                raise e.error from None
            pause(retry_delay(patience, failures, e.retry_after))


# ---------------------------------------------------------------- certificates


def certificate_folders(host: str, *, platform: str = sys.platform) -> tuple[Path, ...]:
    """Return where certificates for a host may lie, the first choice first (3)."""
    etc = Path("/usr/local/etc" if platform.startswith("freebsd") else "/etc")
    home = Path.home() / ".config/containers"
    return tuple(base / "certs.d" / host for base in (home, etc / "containers", etc / "docker"))


def tls_context(
    host: str, *, ca_file: Path | None, folders: Sequence[Path] | None = None
) -> ssl.SSLContext:
    """Return whom to trust when talking to a host, and how to prove ourselves (3).

    Args:
        host: of the registry, with its port.
        ca_file: one more file of authorities, PEM.
        folders: instead of `certificate_folders`.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        _load(ca_file, functools.partial(context.load_verify_locations, ca_file))
    candidates = certificate_folders(host) if folders is None else folders
    folder = next((f for f in candidates if f.is_dir()), None)
    for path in sorted(folder.iterdir()) if folder is not None else ():
        if path.suffix == ".crt":
            _load(path, functools.partial(context.load_verify_locations, path))
        elif path.suffix == ".cert":
            _load(path, functools.partial(context.load_cert_chain, path, path.with_suffix(".key")))
    return context


def _load(path: Path, load: Callable[[], object]) -> None:
    try:
        load()
    except OSError as e:  # of the operating system or, as one of its kinds, of OpenSSL
        reason = "no usable certificate" if isinstance(e, ssl.SSLError) else e.strerror
        raise ConfigurationError(f"{path}: {(reason or 'cannot be read').lower()}") from None
