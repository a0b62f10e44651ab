"""Session: requests to one registry, with authorization, further attempts and our errors.

Specification: distribution-spec v1.1, sections API and Error Codes.

1. https, unless plain http was asked for. On loopback, what does not speak TLS is spoken to in
   plain http; what speaks TLS has to prove itself there as well.
2. A request is sent again after connection failures, time-outs and the statuses that announce that
   it may succeed later, with exponential back-off or as long as Retry-After says. Every request of
   this protocol may be sent twice, but those that append to an upload are not: `registry_upload`
   asks first how far it came (`once`).
3. A 401 is answered and the request sent again, once (`registry_auth`). A place outside of the
   registry, to which it may send us with an upload, gets no authorization.
4. When a session is cancelled, everything that goes on in it stops at its next step.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pipeline.errors import FetchError, RegistryError
from pipeline.host.credentials import find_credentials
from pipeline.host.http_client import Patience, TransientError, joined, origin_of
from pipeline.host.registry_auth import Authorizer, Scopes
from pipeline.host.registry_http import Connections, Request, retry, tls_context, transient
from pipeline.oci.reference import api_host, check_host

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from pipeline.host.registry_http import Answer

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_MISSING: Final = 404
_TOO_LARGE: Final = 413
_MAX_REPLY: Final = 8 << 20
_MAX_ERROR: Final = 64 << 10
_PROBE: Final = Patience(connect=5.0, read=5.0, attempts=1)
_HINTS: Final = {
    _FORBIDDEN: "the account may not do this to the repository",
    _MISSING: "some registries want the repository to be created first",
    _TOO_LARGE: "the registry, or a proxy before it, limits the size of uploads",
}


PATIENCE: Final = Patience(read=120.0)
"""A registry that has been given a large blob may think about it for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach a registry."""

    plain_http: bool | None = None
    """Without TLS; None: only on loopback, and only what does not speak TLS."""
    ca_file: Path | None = None
    """One more file of certificate authorities."""
    auth_file: Path | None = None
    """Look for credentials only here."""
    chunk_size: int = 64 << 20
    """Blobs that are larger are sent in pieces of this size."""
    patience: Patience = PATIENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that has been read."""

    status: int
    url: str
    headers: Mapping[str, str]
    """By lower-case name, of those that matter here."""
    body: bytes

    def header(self, name: str) -> str:
        """Return a header, empty where there is none."""
        return self.headers.get(name.lower(), "")

    def location(self) -> str:
        """Return where the header Location leads, empty where there is none, or no URL in it."""
        location = self.header("Location")
        return (joined(self.url, location) or "") if location else ""


_HEADERS: Final = (
    "Content-Length",
    "Content-Type",
    "Docker-Content-Digest",
    "ETag",
    "Link",
    "Location",
    "OCI-Chunk-Min-Length",
    "OCI-Subject",
    "Range",
)


class Session:
    """Talk to one registry. Threads may share it."""

    def __init__(self, host: str, access: Access) -> None:
        """Prepare; nothing is sent yet.

        Args:
            host: the registry with its port; docker.io under this name.
            access: how to reach it.
        """
        self.host = check_host(host)
        self.access = access
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._base = ""
        self._connections: Connections | None = None
        self._authorizer: Authorizer | None = None

    # ------------------------------------------------------------ requests

    def url(self, path: str) -> str:
        """Return the URL of a path below `/v2/`."""
        self._connect()
        return f"{self._base}/v2/{path}"

    def send(
        self,
        request: Request,
        scopes: Scopes,
        *,
        ok: Collection[int],
        once: bool = False,
        keep: bool = False,
    ) -> Reply:
        """Send a request and read its answer.

        Args:
            request: what to ask.
            scopes: what that needs.
            ok: statuses that the caller understands.
            once: leave further attempts to the caller (2).
            keep: whether the caller wants the body.

        Raises:
            TransientError: with `once`, what another attempt may mend.
            RegistryError: another status, with what the registry says about it.
            FetchError: no answer.
        """

        def attempt() -> Reply:
            with self.open(request, scopes) as answer:
                return self._read(request, answer, ok, keep=keep)

        if once:
            return attempt()
        return retry(attempt, patience=self.access.patience, pause=self.pause)

    @contextlib.contextmanager
    def open(self, request: Request, scopes: Scopes) -> Iterator[Answer]:
        """Send a request once, or twice if it needs authorization (3); yield the answer."""
        self.check_cancelled()
        connections, authorizer = self._connect()
        is_home = origin_of(request.url) == origin_of(self._base)
        sent = authorizer.header(scopes) if is_home else None
        with connections.open(request, sent) as answer:
            if answer.status != _UNAUTHORIZED or not is_home:
                yield answer
                return
            challenges = answer.header("WWW-Authenticate")
            answer.skip(_MAX_ERROR)
        sent = authorizer.answer(request, challenges, scopes, sent)
        with connections.open(request, sent) as answer:
            if answer.status == _UNAUTHORIZED:
                raise authorizer.refusal(request, scopes)
            yield answer

    def _read(self, request: Request, answer: Answer, ok: Collection[int], *, keep: bool) -> Reply:
        if answer.status not in ok:
            error = _error(request, answer)
            transient(answer, error)
            raise error
        body = b""
        if keep:
            body = answer.read(_MAX_REPLY)
        elif request.method != "HEAD":
            answer.skip(_MAX_ERROR)
        headers = {name.lower(): answer.header(name) for name in _HEADERS}
        return Reply(status=answer.status, url=answer.url, headers=headers, body=body)

    # ------------------------------------------------------------ cancelling

    def pause(self, seconds: float) -> None:
        """Wait before another attempt, but not longer than the session lasts (4)."""
        self.cancelled.wait(seconds)
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Raise if the session has been cancelled."""
        if self.cancelled.is_set():
            raise FetchError(f"{self.host}: stopped, because another transfer failed")

    # ------------------------------------------------------------ connecting

    def _connect(self) -> tuple[Connections, Authorizer]:
        with self._lock:
            if self._connections is None or self._authorizer is None:
                self._base = f"{self._scheme()}://{api_host(self.host)}"
                self._connections = Connections(self.access.patience, self._tls)
                self._authorizer = Authorizer(
                    self.host,
                    self._connections,
                    find=lambda path: find_credentials(
                        self.host, path, auth_file=self.access.auth_file
                    ),
                    retry=lambda attempt: retry(
                        attempt, patience=self.access.patience, pause=self.pause
                    ),
                )
            return self._connections, self._authorizer

    def _tls(self) -> ssl.SSLContext:
        return tls_context(self.host, ca_file=self.access.ca_file)

    def _scheme(self) -> str:
        """Choose https or http (1)."""
        if self.access.plain_http is not None:
            return "http" if self.access.plain_http else "https"
        if not is_loopback(self.host):
            return "https"
        probe = Request(method="GET", url=f"https://{self.host}/v2/")
        try:
            with Connections(_PROBE, self._tls).open(probe, None):
                return "https"
        except (FetchError, TransientError) as e:
            return "https" if _has_spoken_tls(e) else "http"


def is_loopback(host: str) -> bool:
    """Say whether a registry is on this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _has_spoken_tls(error: BaseException) -> bool:
    """Say whether TLS was spoken and its certificate refused."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


# ---------------------------------------------------------------- errors


def _error(request: Request, answer: Answer) -> RegistryError:
    """Say what a registry says about a failure; it is foreign text, and quoted."""
    code, message = "", ""
    with contextlib.suppress(FetchError, TransientError, ValueError, LookupError, TypeError):
        first = json.loads(answer.read(_MAX_ERROR))["errors"][0]
        code, message = str(first.get("code", "")), str(first.get("message", ""))
    said = f": {code[:80]} {message[:200]!r}" if code else ""
    return RegistryError(
        f"{request}: HTTP status {answer.status}{said}",
        status=answer.status,
        code=code,
        hint=_HINTS.get(answer.status),
    )
