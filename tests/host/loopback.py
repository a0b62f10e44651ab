"""A web server on loopback whose faults a test can choose."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Reply:
    """An answer; whatever is not set here is as a good server does it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stop_after: int | None = None
    """Close the connection after so many bytes of the body."""
    pause: float = 0.0
    """Seconds between pieces of the body, and before the first."""
    piece: int = 1 << 20


@dataclass
class Request:
    """What the client asked."""

    path: str
    headers: dict[str, str]
    time: float


class Loopback:
    """Files by path; `script` answers first, as long as it has answers."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.etag: str | None = None
        self.script: list[Reply | Callable[[Request], Reply]] = []
        self.requests: list[Request] = []
        self.connections: Counter[object] = Counter()
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, request: Request) -> Reply:
        with self.lock:
            self.requests.append(request)
            scripted = self.script.pop(0) if self.script else None
        if scripted is not None:
            return scripted(request) if callable(scripted) else scripted
        body = self.files.get(request.path)
        if body is None:
            return Reply(status=404, body=b"no such file")
        headers = {} if self.etag is None else {"ETag": self.etag}
        wanted = request.headers.get("range", "")
        validator = request.headers.get("if-range", self.etag)
        if self.ranges and wanted.startswith("bytes=") and validator == self.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return Reply(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return Reply(status=206, body=body[start:], headers=headers)
        return Reply(body=body, headers=headers)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    loopback: Loopback

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.loopback.answer(Request(self.path, headers, time.monotonic()))
        self.loopback.connections[self.client_address] += 1
        self.send_response(reply.status)
        lower = {name.lower() for name in reply.headers}
        if not lower & {"content-length", "transfer-encoding"}:
            self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        end = len(reply.body) if reply.stop_after is None else reply.stop_after
        for start in range(0, end, reply.piece):
            if reply.pause:
                self.wfile.flush()
                time.sleep(reply.pause)
            self.wfile.write(reply.body[start : min(start + reply.piece, end)])
        self.wfile.flush()
        if reply.stop_after is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextlib.contextmanager
def serve() -> Iterator[Loopback]:
    """Run a server until the end of the block."""
    loopback = Loopback()
    handler = type("Handler", (_Handler,), {"loopback": loopback})
    with _Server(("127.0.0.1", 0), handler) as server:
        loopback.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield loopback
        finally:
            server.shutdown()
            thread.join()
