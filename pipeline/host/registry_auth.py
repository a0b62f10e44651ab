"""Authorizer: what to put into the Authorization header of a registry's requests.

Specification: RFC 9110, section 11; RFC 7617 (Basic); the token protocol of distribution
(https://distribution.github.io/distribution/spec/auth/, token, scope and oauth).

1. Nothing is sent before the registry has asked for it by a 401; what it asked for is remembered.
2. A token is good for the scopes it was asked for, a little shorter than its server says. One that
   is refused although it should be good is replaced once, e.g. after it has expired in mid-upload.
3. An identity token is exchanged by POST, a user name and password by GET, and without an account
   the token is asked for without one, which is enough for public images.
4. A registry that is reached by https may name no token server that is not.
5. Neither passwords nor tokens, nor the answers that hold them, are in a message.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pipeline.errors import RegistryError
from pipeline.host.http_client import joined, shown
from pipeline.host.registry_http import BytesBody, Request, transient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.host.credentials import Credentials
    from pipeline.host.registry_http import Connections

_OK: Final = 200
_MAX_ANSWER: Final = 1 << 20
_DEFAULT_SECONDS: Final = 60.0
"""A token that says nothing of its time lasts a minute (token specification)."""
_LONGEST_SECONDS: Final = 1e9
_CLIENT: Final = "pkgbase-oci"
_TOKEN_RE: Final = re.compile("[\x21-\x7e]+")
_PART_RE: Final = re.compile(
    r"""[\s,]*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)"""
    r"""(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]*)))?"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a request wants to do: actions on a repository."""

    path: str
    actions: str = "pull"

    def __str__(self) -> str:
        return f"repository:{self.path}:{self.actions}"


Scopes = tuple[Scope, ...]
"""What a request needs; the first is of the repository that it goes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a registry asks for."""

    scheme: str
    """In lower case."""
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Read a WWW-Authenticate header, which may hold several challenges."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while match := _PART_RE.match(header, position):
        position = match.end()
        name = match["name"].lower()
        value = match["bare"] if match["quoted"] is None else match["quoted"]
        if value is None:
            found.append((name, {}))
        elif found:
            found[-1][1].setdefault(name, re.sub(r"\\(.)", r"\1", value))
    return tuple(Challenge(scheme=scheme, parameters=values) for scheme, values in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    until: float

    @property
    def header(self) -> str:
        return f"Bearer {self.value}"


class Authorizer:
    """Answer a registry's challenges. Threads may share it."""

    def __init__(
        self,
        host: str,
        connections: Connections,
        *,
        find: Callable[[str], Credentials | None],
        retry: Callable[[Callable[[], bytes]], bytes],
    ) -> None:
        """Remember how to find accounts.

        Args:
            host: the registry, as people call it.
            connections: for the token server.
            find: the account for a repository's path.
            retry: calls a function again while it raises TransientError.
        """
        self._host = host
        self._connections = connections
        self._find = find
        self._retry = retry
        self._accounts: dict[str, Credentials | None] = {}
        self._challenge: Challenge | None = None
        self._tokens: dict[Scopes, _Token] = {}
        self._asked: dict[Scopes, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def header(self, scopes: Scopes) -> str | None:
        """Return what to send, None as long as nothing was asked for (1)."""
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                return self._basic(scopes)
            return self._token(scopes).header

    def answer(self, request: Request, challenges: str, scopes: Scopes, refused: str | None) -> str:
        """Return what to send after a 401.

        Args:
            request: what was refused.
            challenges: the header WWW-Authenticate.
            scopes: what the request needs.
            refused: what was sent with it.

        Raises:
            RegistryError: there is no account, or it is not accepted.
        """
        known = {c.scheme: c for c in parse_challenges(challenges)}
        with self._lock:
            if "bearer" in known:
                return self._renewed(request, known["bearer"], scopes, refused)
            if "basic" not in known:
                raise RegistryError(
                    f"{request}: asks for {', '.join(known) or 'no known'} authentication,"
                    " want Basic or Bearer",
                    status=401,
                )
            self._challenge = known["basic"]
            header = self._basic(scopes)
            if header is None or header == refused:
                raise self._refusal(str(request), scopes, 401)
            return header

    def refusal(self, request: Request, scopes: Scopes) -> RegistryError:
        """Return the error for a request that was refused with all that there is."""
        with self._lock:
            return self._refusal(str(request), scopes, 401)

    # ------------------------------------------------------------ accounts

    def _account(self, scopes: Scopes) -> Credentials | None:
        path = scopes[0].path if scopes else ""
        if path not in self._accounts:
            self._accounts[path] = self._find(path)
        return self._accounts[path]

    def _basic(self, scopes: Scopes) -> str | None:
        account = self._account(scopes)
        if account is None or account.is_identity_token:
            return None
        return _basic_header(account)

    def _refusal(self, what: str, scopes: Scopes, status: int) -> RegistryError:
        account = self._account(scopes)
        if account is None:
            return RegistryError(
                f"{what}: wants a login",
                status=status,
                code="UNAUTHORIZED",
                hint=f"log in, e.g. with podman login {self._host}, or set REGISTRY_AUTH_FILE",
            )
        who = repr(account.username) if account.username else "the identity token"
        return RegistryError(
            f"{what}: {who} is not let in",
            status=status,
            code="UNAUTHORIZED",
            hint=f"log in again, e.g. with podman login {self._host}",
        )

    # ------------------------------------------------------------ tokens

    def _renewed(
        self, request: Request, challenge: Challenge, scopes: Scopes, refused: str | None
    ) -> str:
        held = self._tokens.get(scopes)
        if held is not None and held.header != refused:
            return self._token(scopes).header  # another thread has met the same refusal
        realm = joined("", challenge.parameters.get("realm", ""))
        if realm is None:
            raise RegistryError(f"{request}: names no URL as its token server", status=401)
        if urlsplit(realm).scheme not in _allowed(request.url):
            raise RegistryError(
                f"{request}: names the token server {shown(realm)[:200]!r}, want https", status=401
            )
        self._challenge = challenge
        asked = (*map(str, scopes), *challenge.parameters.get("scope", "").split())
        self._asked[scopes] = tuple(dict.fromkeys(asked))
        self._tokens.pop(scopes, None)
        return self._token(scopes).header

    def _token(self, scopes: Scopes) -> _Token:
        held = self._tokens.get(scopes)
        if held is None or time.monotonic() >= held.until:
            held = self._tokens[scopes] = self._fetch(scopes)
        return held

    def _fetch(self, scopes: Scopes) -> _Token:
        assert self._challenge is not None, "a challenge comes before its answer"
        realm = self._challenge.parameters.get("realm", "")
        fields = [("service", self._challenge.parameters.get("service", ""))]
        fields += [("scope", s) for s in self._asked.get(scopes, tuple(map(str, scopes)))]
        request, authorization = _token_request(
            realm, [f for f in fields if f[1]], self._account(scopes)
        )
        started = time.monotonic()
        answer = self._retry(lambda: self._ask(request, authorization, scopes))
        return _parse_token(answer, shown(realm), started)

    def _ask(self, request: Request, authorization: str | None, scopes: Scopes) -> bytes:
        with self._connections.open(request, authorization) as answer:
            body = answer.read(_MAX_ANSWER)
        if answer.status == _OK:
            return body
        error = RegistryError(
            f"{request}: HTTP status {answer.status}, no token", status=answer.status
        )
        transient(answer, error)
        if answer.status in (401, 403):
            raise self._refusal(str(request), scopes, answer.status)
        raise error


def _allowed(url: str) -> tuple[str, ...]:
    return ("https",) if urlsplit(url).scheme == "https" else ("https", "http")


def _basic_header(account: Credentials) -> str:
    pair = f"{account.username}:{account.secret}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _token_request(
    realm: str, fields: list[tuple[str, str]], account: Credentials | None
) -> tuple[Request, str | None]:
    """Return the request for a token, and its authorization (3)."""
    if account is not None and account.is_identity_token:
        form = [
            ("grant_type", "refresh_token"),
            ("client_id", _CLIENT),
            ("refresh_token", account.secret),
            *fields,
        ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = BytesBody(urlencode(form).encode())
        return Request(method="POST", url=realm, headers=headers, body=body), None
    authorization = None
    if account is not None:
        fields = [("account", account.username), *fields]
        authorization = _basic_header(account)
    parts = urlsplit(realm)
    query = urlencode([*parse_qsl(parts.query), *fields])
    return Request(method="GET", url=urlunsplit(parts._replace(query=query))), authorization


def _parse_token(answer: bytes, what: str, started: float) -> _Token:
    try:
        document = json.loads(answer)
        value = document.get("token") or document.get("access_token")
        seconds = document.get("expires_in") or _DEFAULT_SECONDS
    except (ValueError, AttributeError, RecursionError):
        raise RegistryError(f"{what}: answers something else than a token") from None
    if not isinstance(value, str) or _TOKEN_RE.fullmatch(value) is None:
        raise RegistryError(f"{what}: answers something else than a token")
    if type(seconds) not in (int, float) or not 0 <= seconds <= _LONGEST_SECONDS:
        seconds = _DEFAULT_SECONDS
    return _Token(value=value, until=started + seconds - min(10.0, seconds / 5))
