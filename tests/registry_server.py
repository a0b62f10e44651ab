"""A registry on loopback, in this process, whose faults a test can choose.

It speaks as much of the distribution API as a client needs, and keeps everything in memory.
`traits` say what the registry can do, `faults` what goes wrong with which request.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

T = TypeVar("T")

INDEX = "application/vnd.oci.image.index.v1+json"
SHA256 = "sha256:"


def digest_of(data: bytes | bytearray) -> str:
    return SHA256 + hashlib.sha256(data).hexdigest()


@dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    received: int = 0
    """Bytes of its body that were read."""
    status: int = 0
    """Of the answer; 0: none was sent."""


@dataclass
class Fault:
    """What goes wrong with the next requests of a kind."""

    method: str
    pattern: str
    """Searched in path and query."""
    times: int = 1
    skip: int = 0
    """Requests of that kind that go well before."""
    status: int = 0
    """Answer with this status instead."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drop_request_after: int | None = None
    """Read so much of the body and hang up; an upload keeps what came."""
    drop_answer: bool = False
    """Do the work and hang up."""
    truncate: int | None = None
    """Send so much of the answer's body and hang up."""
    corrupt: bool = False
    """Change a byte of the answer's body."""
    extra_headers: dict[str, str] = field(default_factory=dict)
    """Sent instead of the ordinary ones of that name."""
    delay: float = 0.0
    call: Callable[[], object] | None = None
    """Called before the request is served."""


@dataclass
class Traits:
    """What a registry can do."""

    mounts: bool = True
    chunks: bool = True
    status: bool = True
    ranges: bool = True
    referrers: bool = False
    conditions: bool = False
    """Whether ETag is sent and If-Match heeded."""
    says_digest: bool = True
    min_chunk: int = 0
    page: int = 0
    """Entries of tags and referrers in one answer; 0: all."""
    auth: str = ""
    """`basic` or `bearer`."""
    users: dict[str, str] = field(default_factory=dict)
    identity_token: str = ""
    token_uses: int = 0
    """Requests that a token is good for; 0: any number."""
    expires_in: int = 300
    realm: str = ""
    redirect_blobs: str = ""
    """Where blobs are fetched instead."""
    location: str = ""
    """Where uploads go instead: a host, or a scheme and a host."""


@dataclass
class Repository:
    """What one repository holds."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class RegistryServer:
    """State of a registry, and what it has seen."""

    def __init__(self) -> None:
        self.traits = Traits()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.tokens: dict[str, list[object]] = {}
        """Token: [scopes, uses]."""
        self.lock = threading.RLock()
        self.host = ""
        self.url = ""
        self.counter = 0
        self.any_fault: Fault | None = None

    def repository(self, path: str) -> Repository:
        return self.repositories.setdefault(path, Repository())

    def fault(self, method: str, pattern: str, **what: object) -> Fault:
        """Have something go wrong."""
        fault = Fault(method, pattern, **what)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    def fault_at(self, number: int, **what: object) -> None:
        """Have something go wrong with the request of that number, counted from now."""
        self.any_fault = Fault("", "", **{**what, "skip": number})  # type: ignore[arg-type]

    def requests(self, method: str, pattern: str = "") -> list[Seen]:
        """Return the requests of a kind that came."""
        return [s for s in self.seen if s.method == method and re.search(pattern, s.path)]

    def blob_bytes(self) -> int:
        """Return how many bytes of uploads came."""
        return sum(s.received for s in self.seen if "/blobs/uploads/" in s.path)

    def matching(self, seen: Seen, target: str) -> Fault | None:
        for fault in filter(None, (self.any_fault, *self.faults)):
            is_meant = fault is self.any_fault or (
                fault.method == seen.method and re.search(fault.pattern, target)
            )
            if is_meant and fault.times:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None


class _HangUpError(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    server_state: RegistryServer

    def setup(self) -> None:
        self.server_state = type(self).server_state
        super().setup()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _serve(self) -> None:
        state = self.server_state
        parts = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.seen = Seen(self.command, parts.path, query, headers)
        self.left = int(headers.get("content-length", "0"))
        with state.lock:
            state.seen.append(self.seen)
            self.fault = state.matching(self.seen, self.path) or Fault("", "")
        try:
            self._serve_faulty()
        except (_HangUpError, OSError):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _serve_faulty(self) -> None:
        fault = self.fault
        if fault.call is not None:
            fault.call()
        time.sleep(fault.delay)
        if fault.status:
            self._read_body()
            self._answer(fault.status, fault.body, fault.headers)
        elif not self._is_let_in():
            self._read_body()
        else:
            self._route()

    # ------------------------------------------------------------ bodies

    def _read_body(self, sink: bytearray | None = None) -> bytes:
        data = bytearray() if sink is None else sink
        start = len(data)
        limit = self.fault.drop_request_after
        while self.left:
            wanted = min(self.left, 1 << 16)
            if limit is not None:
                wanted = min(wanted, limit - (len(data) - start))
                if wanted <= 0:
                    raise _HangUpError
            piece = self.rfile.read1(wanted)
            if not piece:
                raise _HangUpError
            data += piece
            self.left -= len(piece)
            self.seen.received += len(piece)
        return bytes(data[start:])

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        fault = self.fault
        if fault.drop_answer:
            raise _HangUpError
        if fault.corrupt and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.seen.status = status
        self.send_response(status)
        sent = {"Content-Length": str(len(body)), **(headers or {})}
        if not self.server_state.traits.says_digest:
            sent.pop("Docker-Content-Digest", None)
        for name, value in {**sent, **fault.extra_headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body if fault.truncate is None else body[: fault.truncate])
        self.wfile.flush()
        if fault.truncate is not None:
            raise _HangUpError

    def _error(self, status: int, code: str) -> None:
        document = {"errors": [{"code": code, "message": f"{code} it is", "detail": {}}]}
        self._answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    # ------------------------------------------------------------ authorization

    def _is_let_in(self) -> bool:
        state, traits = self.server_state, self.server_state.traits
        if not traits.auth or self.seen.path == "/token":
            return True
        kind, _, value = self.seen.headers.get("authorization", "").partition(" ")
        if traits.auth == "basic" and kind == "Basic" and self._user(value):
            return True
        if traits.auth == "bearer" and kind == "Bearer" and self._takes_token(value):
            return True
        challenge = 'Basic realm="test"'
        if traits.auth == "bearer":
            realm = traits.realm or f"{state.url}/token"
            challenge = f'Bearer realm="{realm}",service="test"'
            if (path := self._path()) is not None:
                challenge += f',scope="repository:{path}:{self._action()}"'
        self._answer(401, b"", {"WWW-Authenticate": challenge})
        return False

    def _path(self) -> str | None:
        match = re.match(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)/", self.seen.path)
        return None if match is None else match[1]

    def _action(self) -> str:
        return "pull" if self.command in ("GET", "HEAD") else "pull,push"

    def _user(self, value: str) -> bool:
        with contextlib.suppress(ValueError):
            name, _, password = base64.b64decode(value).decode().partition(":")
            return self.server_state.traits.users.get(name) == password
        return False

    def _takes_token(self, value: str) -> bool:
        state = self.server_state
        with state.lock:
            held = state.tokens.get(value)
            if held is None:
                return False
            scopes, uses = held
            assert isinstance(scopes, list)
            assert isinstance(uses, int)
            if state.traits.token_uses and uses >= state.traits.token_uses:
                del state.tokens[value]
                return False
            held[1] = uses + 1
        path = self._path()
        wanted = set(self._action().split(","))
        granted = {
            action
            for scope in scopes
            for kind, name, actions in [scope.split(":")]
            if name == path
            for action in actions.split(",")
        }
        return path is None or wanted <= granted

    def _give_token(self) -> None:
        state, traits = self.server_state, self.server_state.traits
        body = self._read_body()
        query = parse_qs(urlsplit(self.path).query)
        if self.command == "POST":
            query = parse_qs(body.decode())
            is_known = query.get("refresh_token") == [traits.identity_token]
        else:
            kind, _, value = self.seen.headers.get("authorization", "").partition(" ")
            is_known = not traits.users or (kind == "Basic" and self._user(value))
        if not is_known:
            self._error(401, "UNAUTHORIZED")
            return
        with state.lock:
            state.counter += 1
            token = f"token-{state.counter}"
            state.tokens[token] = [query.get("scope", []), 0]
        document = {"token": token, "expires_in": traits.expires_in}
        self._answer(200, json.dumps(document).encode())

    # ------------------------------------------------------------ the API

    def _route(self) -> None:
        path = self.seen.path
        routes = (
            (r"/v2/(.+)/blobs/uploads/([0-9]*)", self._upload),
            (r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", self._blob),
            (r"/v2/(.+)/manifests/([^/]+)", self._manifest),
            (r"/v2/(.+)/referrers/([^/]+)", self._referrers),
            (r"/v2/(.+)/tags/list()", self._tags),
        )
        if path == "/token":
            self._give_token()
            return
        if path == "/v2/":
            self._answer(200, b"{}")
            return
        for pattern, serve in routes:
            if (match := re.fullmatch(pattern, path)) is not None:
                serve(match[1], match[2])
                return
        self._error(404, "NOT_FOUND")

    def _blob(self, path: str, digest: str) -> None:
        traits = self.server_state.traits
        body = self.server_state.repository(path).blobs.get(digest)
        if body is None:
            self._error(404, "BLOB_UNKNOWN")
            return
        if traits.redirect_blobs and self.command == "GET":
            target = f"{traits.redirect_blobs}{self.seen.path}?signature=secret"
            self._answer(307, b"", {"Location": target})
            return
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        wanted = self.seen.headers.get("range", "")
        if traits.ranges and wanted.startswith("bytes=") and self.command == "GET":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._answer(206, body[start:], headers)
            return
        self._answer(200, body, headers)

    def _upload(self, path: str, number: str) -> None:
        state = self.server_state
        if self.command == "POST":
            self._begin(path)
            return
        if number not in state.uploads or state.uploads[number][0] != path:
            self._read_body()
            self._error(404, "BLOB_UPLOAD_UNKNOWN")
            return
        data = state.uploads[number][1]
        if self.command == "GET":
            if not state.traits.status:
                self._error(405, "UNSUPPORTED")
                return
            self._answer(204, b"", self._progress(path, number, data))
        elif self.command == "DELETE":
            del state.uploads[number]
            self._answer(204)
        elif self.command == "PATCH":
            self._patch(path, number, data)
        else:
            self._finish(path, number, data)

    def _begin(self, path: str) -> None:
        state, traits = self.server_state, self.server_state.traits
        self._read_body()
        mount, source = (self.seen.query.get(key, "") for key in ("mount", "from"))
        held = state.repository(source).blobs.get(mount) if source else None
        if mount and traits.mounts and held is not None:
            state.repository(path).blobs[mount] = held
            self._answer(201, b"", {"Docker-Content-Digest": mount, "Location": "/"})
            return
        with state.lock:
            state.counter += 1
            number = str(state.counter)
            state.uploads[number] = (path, bytearray())
        headers = self._progress(path, number, bytearray())
        if traits.min_chunk:
            headers["OCI-Chunk-Min-Length"] = str(traits.min_chunk)
        self._answer(202, b"", headers)

    def _progress(self, path: str, number: str, data: bytearray) -> dict[str, str]:
        location = f"{self.server_state.traits.location}/v2/{path}/blobs/uploads/{number}"
        return {
            "Location": f"{location}?_state={len(data)}",
            "Range": f"0-{max(len(data) - 1, 0)}",
        }

    def _patch(self, path: str, number: str, data: bytearray) -> None:
        if not self.server_state.traits.chunks:
            self._read_body()
            self._error(405, "UNSUPPORTED")
            return
        if not self._continues(data):
            return
        self._read_body(data)
        self._answer(202, b"", self._progress(path, number, data))

    def _continues(self, data: bytearray) -> bool:
        start = self.seen.headers.get("content-range", "").partition("-")[0]
        if start and int(start) != len(data):
            self._read_body()
            self._error(416, "RANGE_INVALID")
            return False
        return True

    def _finish(self, path: str, number: str, data: bytearray) -> None:
        if not self._continues(data):
            return
        self._read_body(data)
        wanted = self.seen.query["digest"]
        del self.server_state.uploads[number]
        if digest_of(data) != wanted:
            self._error(400, "DIGEST_INVALID")
            return
        self.server_state.repository(path).blobs[wanted] = bytes(data)
        self._answer(201, b"", {"Docker-Content-Digest": wanted, "Location": "/"})

    def _manifest(self, path: str, name: str) -> None:
        repository = self.server_state.repository(path)
        if self.command == "PUT":
            self._put_manifest(path, name)
            return
        digest = name if name.startswith(SHA256) else repository.tags.get(name, "")
        if digest not in repository.manifests:
            self._error(404, "MANIFEST_UNKNOWN")
            return
        kind, body = repository.manifests[digest]
        headers = {"Content-Type": kind, "Docker-Content-Digest": digest}
        if self.server_state.traits.conditions:
            headers["ETag"] = f'"{digest}"'
        self._answer(200, body, headers)

    def _put_manifest(self, path: str, name: str) -> None:
        state = self.server_state
        repository = state.repository(path)
        body = self._read_body()
        document = json.loads(body)
        digest = digest_of(body)
        with state.lock:
            held = repository.tags.get(name)
            if state.traits.conditions and not self._holds(held):
                self._error(412, "PRECONDITION_FAILED")
                return
            needed = [*document.get("layers", [])]
            needed += [document["config"]] if "config" in document else []
            missing = [d["digest"] for d in needed if d["digest"] not in repository.blobs]
            known = repository.manifests
            listed = [d["digest"] for d in document.get("manifests", [])]
            missing += [digest for digest in listed if digest not in known]
            if missing:
                self._error(400, "MANIFEST_BLOB_UNKNOWN")
                return
            repository.manifests[digest] = (self.seen.headers.get("content-type", ""), body)
            if not name.startswith(SHA256):
                repository.tags[name] = digest
        headers = {"Docker-Content-Digest": digest, "Location": "/"}
        if "subject" in document and state.traits.referrers:
            headers["OCI-Subject"] = document["subject"]["digest"]
        self._answer(201, b"", headers)

    def _holds(self, held: str | None) -> bool:
        match, none = (self.seen.headers.get(k) for k in ("if-match", "if-none-match"))
        if none == "*":
            return held is None
        return match is None or match == f'"{held}"'

    def _referrers(self, path: str, subject: str) -> None:
        if not self.server_state.traits.referrers:
            self._error(404, "NOT_FOUND")
            return
        found = []
        for digest, (kind, body) in self.server_state.repository(path).manifests.items():
            document = json.loads(body)
            if document.get("subject", {}).get("digest") == subject:
                entry = {"mediaType": kind, "digest": digest, "size": len(body)}
                entry["artifactType"] = (
                    document.get("artifactType") or document["config"]["mediaType"]
                )
                if "annotations" in document:
                    entry["annotations"] = document["annotations"]
                found.append(entry)
        headers = {"Content-Type": INDEX}
        found = self._paged(found, headers)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
        self._answer(200, json.dumps(index).encode(), headers)

    def _tags(self, path: str, _: str) -> None:
        headers = {"Content-Type": "application/json"}
        tags = self._paged(sorted(self.server_state.repository(path).tags), headers)
        self._answer(200, json.dumps({"name": path, "tags": tags}).encode(), headers)

    def _paged(self, entries: list[T], headers: dict[str, str]) -> list[T]:
        page = self.server_state.traits.page
        if not page:
            return entries
        start = int(self.seen.query.get("start", "0"))
        if start + page < len(entries):
            headers["Link"] = f'<{self.seen.path}?start={start + page}>; rel="next"'
        return entries[start : start + page]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Running:
    """A server that runs; each test can have a registry of its own behind it."""

    def __init__(self, handler: type[_Handler], url: str) -> None:
        self._handler = handler
        self._url = url

    def fresh(self) -> RegistryServer:
        """Begin anew; connections that are open keep what they had."""
        state = RegistryServer()
        state.url = self._url
        state.host = urlsplit(self._url).netloc
        self._handler.server_state = state
        return state


@contextlib.contextmanager
def run_server(*, tls: ssl.SSLContext | None = None) -> Iterator[Running]:
    """Run a server until the end of the block."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        scheme = "http"
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Running(handler, f"{scheme}://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serve(*, tls: ssl.SSLContext | None = None) -> Iterator[RegistryServer]:
    """Run a registry until the end of the block."""
    with run_server(tls=tls) as running:
        yield running.fresh()
