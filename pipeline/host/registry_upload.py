"""Upload: one blob into one repository.

Specification: distribution-spec v1.1, sections Pushing Blobs and Mounting a Blob.

1. A blob that another repository of the registry is known to have is mounted from there. A registry
   that does not do that begins an upload instead, or refuses; both end in an ordinary upload.
2. Small blobs go in one PUT, larger ones in pieces by PATCH, each at least as long as
   OCI-Chunk-Min-Length. A registry that takes no pieces gets the whole in one PUT; so does one that
   takes the first piece and then, each time, no other.
3. After a failure the registry is asked how far it came, and the rest follows from there: a broken
   connection costs what was under way. An upload that the registry has forgotten, or whose content
   it finds wrong, starts anew, a few times. Attempts that bring something do not count.
4. What the local file holds is hashed before it is sent: content that is not what its name says
   never leaves this machine. What the registry confirms is compared as well.
5. Authorization goes with every request and is renewed when it expires in between.
"""

from __future__ import annotations

import contextlib
import enum
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pipeline.errors import DigestMismatchError, LayoutError, PipelineError, RegistryError
from pipeline.formats.digest import CHUNK, HashingWriter
from pipeline.host.http_client import TransientError, shown
from pipeline.host.http_fetcher import retry_delay
from pipeline.host.registry_auth import Scope
from pipeline.host.registry_http import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from pipeline.host.registry_session import Reply, Session
    from pipeline.oci.descriptor import Descriptor

_CREATED: Final = frozenset({201, 204})
_ACCEPTED: Final = 202
_STATUS_OK: Final = frozenset({200, 202, 204})
_LOST: Final = frozenset({400, 404, 416})
"""The registry has forgotten an upload, or does not like what has come."""
_NO_STATUS: Final = _LOST | {405, 501}
_NO_CHUNKS: Final = frozenset({400, 404, 405, 411, 415, 416, 501})
_NO_MOUNT: Final = frozenset({400, 401, 403, 404, 405, 501})
_RESTARTS: Final = 2
_PIECE: Final = 256 << 10
_RANGE_RE: Final = re.compile(r"(?:bytes[= ])?0-([0-9]{1,19})")
_OCTETS: Final = "application/octet-stream"


class Outcome(enum.StrEnum):
    """How a blob has come into a repository."""

    PRESENT = "present"
    MOUNTED = "mounted"
    SENT = "sent"


class LocalBlob:
    """A blob as it lies here."""

    def __init__(self, descriptor: Descriptor, open_blob: Callable[[], BinaryIO]) -> None:
        self.descriptor = descriptor
        self.open = open_blob

    def verify(self) -> None:
        """Raise unless it is what its descriptor says (4).

        Raises:
            LayoutError: it is not there.
            DigestMismatchError: it is something else.
        """
        want = self.descriptor
        what = f"blob {want.digest.short} of the layout"
        hint = "build again; the layout has been altered"
        writer = HashingWriter(None)
        try:
            with self.open() as f:
                while data := f.read(CHUNK):
                    writer.write(data)
        except FileNotFoundError:
            raise LayoutError("there is no such file", context=what, hint=hint) from None
        if writer.size != want.size:
            raise DigestMismatchError(
                f"{what}: size", got=str(writer.size), want=str(want.size), hint=hint
            )
        if writer.digest != want.digest:
            raise DigestMismatchError(
                what, got=str(writer.digest), want=str(want.digest), hint=hint
            )


class _Window:
    """A part of a blob as the body of a request."""

    def __init__(
        self, blob: LocalBlob, start: int, size: int, hear: Callable[[int], object]
    ) -> None:
        self._blob = blob
        self._start = start
        self._hear = hear
        self.size = size

    def __iter__(self) -> Iterator[bytes]:
        with self._blob.open() as f:
            f.seek(self._start)
            left = self.size
            while left:
                self._hear(self._start + self.size - left)
                data = f.read(min(_PIECE, left))
                if not data:
                    raise DigestMismatchError(
                        f"blob {self._blob.descriptor.digest.short} of the layout: size",
                        got=str(self._start + self.size - left),
                        want=str(self._blob.descriptor.size),
                    )
                left -= len(data)
                yield data


class _StartAnewError(Exception):
    """This upload leads nowhere; `error` says why."""

    def __init__(self, error: PipelineError) -> None:
        super().__init__(str(error))
        self.error = error


class Upload:
    """Bring one blob into a repository."""

    def __init__(
        self,
        session: Session,
        scope: Scope,
        blob: LocalBlob,
        *,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            session: the registry.
            scope: of the repository.
            blob: what to send.
            progress: hears how many bytes are there.
        """
        self._session = session
        self._path = scope.path
        self._blob = blob
        self._digest = blob.descriptor.digest
        self._size = blob.descriptor.size
        self._progress = progress
        self._scope = scope
        self._chunk = max(session.access.chunk_size, 1)
        self._takes_chunks = True
        self._is_chunked = self._size > self._chunk

    def run(self, *, mount_from: str | None = None) -> Outcome:
        """Mount or send the blob; see the module.

        Args:
            mount_from: path of a repository of the same registry that may have the blob.

        Raises:
            RegistryError, FetchError: it could not be done.
            DigestMismatchError: the local file is not what it should be, or the registry says so.
        """
        location = None
        if mount_from is not None and mount_from != self._path:
            reply = self._mount(mount_from)
            if reply is not None and reply.status == _ACCEPTED:
                location = self._begun(reply)
            elif reply is not None:
                self._check_confirmed(reply)
                return Outcome.MOUNTED
        self._blob.verify()
        for left in reversed(range(_RESTARTS + 1)):
            try:
                self._send(location or self._begin())
            except _StartAnewError as e:
                if not left:
                    raise e.error from None
                location = None
                if left == 1:
                    self._takes_chunks = self._is_chunked = False  # (2)
            else:
                break
        self._progress(self._size)
        return Outcome.SENT

    # ------------------------------------------------------------ beginning

    def _mount(self, source: str) -> Reply | None:
        """Ask for a mount (1); None if the registry refuses even to answer that."""
        query = urlencode({"mount": str(self._digest), "from": source})
        request = Request(method="POST", url=self._uploads(query))
        scopes = (self._scope, Scope(path=source))
        try:
            return self._session.send(request, scopes, ok={201, _ACCEPTED})
        except RegistryError as e:
            if e.status in _NO_MOUNT:
                return None
            raise

    def _begin(self) -> str:
        request = Request(method="POST", url=self._uploads(""))
        return self._begun(self._session.send(request, (self._scope,), ok={_ACCEPTED}))

    def _begun(self, reply: Reply) -> str:
        minimum = reply.header("OCI-Chunk-Min-Length")
        if minimum.isascii() and minimum.isdigit():
            self._chunk = max(self._chunk, int(minimum[:12]))
        return self._location(reply)

    def _uploads(self, query: str) -> str:
        url = self._session.url(f"{self._path}/blobs/uploads/")
        return f"{url}?{query}" if query else url

    def _location(self, reply: Reply, fallback: str = "") -> str:
        """Return where the upload goes on, by the registry's word."""
        location = reply.location() or fallback
        parts = urlsplit(location)
        here = urlsplit(self._session.url(""))
        if not parts.hostname or parts.scheme not in ("http", "https"):
            raise RegistryError(f"{shown(reply.url)}: names no place for the upload")
        if here.scheme == "https" and parts.scheme != "https":
            raise RegistryError(
                f"{shown(reply.url)}: wants the upload at {shown(location)}, want https",
                hint="a proxy before the registry has to set X-Forwarded-Proto",
            )
        return location

    # ------------------------------------------------------------ sending

    def _send(self, location: str) -> None:
        """Bring an upload to its end, whatever happens on the way (3)."""
        offset, failures = 0, 0
        try:
            while True:
                try:
                    if self._is_chunked and offset < self._size:
                        location, offset = self._patch(location, offset)
                        failures = 0
                        continue
                    self._put(location, offset)
                except TransientError as e:
                    self._wait(e, failures)
                    state = self._state(e, location)
                    if state is None:
                        return
                    failures = 0 if state[1] > offset else failures + 1
                    location, offset = state
                else:
                    return
        except PipelineError:
            self._abandon(location)
            raise

    def _wait(self, failure: TransientError, failures: int) -> None:
        patience = self._session.access.patience
        self._session.check_cancelled()
        if failures + 1 >= patience.attempts:
            raise failure.error
        self._session.pause(retry_delay(patience, failures + 1, failure.retry_after))

    def _state(self, failure: TransientError, location: str) -> tuple[str, int] | None:
        """Ask where an upload goes on, and from which byte.

        None if the blob is there, and only the answer was lost.
        """
        request = Request(method="GET", url=location)
        try:
            reply = self._session.send(request, (self._scope,), ok=_STATUS_OK)
        except RegistryError as e:
            if e.status not in _NO_STATUS:
                raise
            if self._is_there():
                return None
            raise _StartAnewError(failure.error) from None
        offset = self._end_of(reply)
        if offset is None or offset > self._size:
            raise _StartAnewError(failure.error)
        if 0 < offset < self._size:
            if not self._takes_chunks:
                raise _StartAnewError(failure.error)
            self._is_chunked = True
        return self._location(reply, location), offset

    def _is_there(self) -> bool:
        url = self._session.url(f"{self._path}/blobs/{self._digest}")
        request = Request(method="HEAD", url=url)
        return self._session.send(request, (self._scope,), ok={200, 404}).status != 404  # noqa: PLR2004

    @staticmethod
    def _end_of(reply: Reply) -> int | None:
        """Return how many bytes a registry has; None if it does not say.

        `0-0` is what registries say of an upload that has nothing as well as of a single byte.
        """
        match = _RANGE_RE.fullmatch(reply.header("Range"))
        if match is None:
            return None
        return int(match[1]) + 1 if int(match[1]) else 0

    def _patch(self, location: str, offset: int) -> tuple[str, int]:
        size = min(self._chunk, self._size - offset)
        headers = {"Content-Type": _OCTETS, "Content-Range": f"{offset}-{offset + size - 1}"}
        request = Request(
            method="PATCH", url=location, headers=headers, body=self._window(offset, size)
        )
        try:
            reply = self._session.send(request, (self._scope,), ok={_ACCEPTED}, once=True)
        except RegistryError as e:
            if e.status in _LOST and offset:
                raise TransientError(e) from None
            if e.status in _NO_CHUNKS:
                self._takes_chunks = self._is_chunked = False  # (2)
                raise _StartAnewError(e) from None
            raise
        end = self._end_of(reply)
        if end is not None and not offset < end <= offset + size:
            raise _StartAnewError(
                RegistryError(f"{request}: says it has {end} bytes, want {offset + size}")
            )
        return self._location(reply, location), offset + size if end is None else end

    def _put(self, location: str, offset: int) -> None:
        """Close the upload; send what is left with it."""
        headers = {"Content-Type": _OCTETS}
        if 0 < offset < self._size:
            headers["Content-Range"] = f"{offset}-{self._size - 1}"
        request = Request(
            method="PUT",
            url=_with_digest(location, str(self._digest)),
            headers=headers,
            body=self._window(offset, self._size - offset),
        )
        try:
            reply = self._session.send(request, (self._scope,), ok=_CREATED, once=True)
        except RegistryError as e:
            if e.status in _LOST:
                raise _StartAnewError(e) from None
            raise
        self._check_confirmed(reply)

    def _window(self, start: int, size: int) -> _Window:
        def hear(position: int) -> None:
            self._session.check_cancelled()
            self._progress(position)

        return _Window(self._blob, start, size, hear)

    def _check_confirmed(self, reply: Reply) -> None:
        got = reply.header("Docker-Content-Digest")
        if got.startswith("sha256:") and got != str(self._digest):
            raise DigestMismatchError(
                f"{shown(reply.url)}: the registry's word", got=got[:80], want=str(self._digest)
            )

    def _abandon(self, location: str) -> None:
        """Tell the registry that nothing more will come; it need not listen."""
        if self._session.cancelled.is_set():
            return
        request = Request(method="DELETE", url=location)
        with contextlib.suppress(PipelineError, TransientError):
            self._session.send(request, (self._scope,), ok={202, 204}, once=True)


def _with_digest(location: str, digest: str) -> str:
    parts = urlsplit(location)
    query = f"digest={quote(digest, safe='')}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{query}" if parts.query else query))
