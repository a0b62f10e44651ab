"""Downloads of blobs, by the means of `host.fetch`: in parallel, resumed, believed by digest.

A repository is a `Fetcher` of its blobs, by digest. Ranges, further attempts and time limits are
those of `host.http_fetcher`; the requests carry a registry's authorization.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from pipeline.errors import DigestMismatchError
from pipeline.host.fetch import WantedFile
from pipeline.host.http_client import HttpClient
from pipeline.host.http_fetcher import HttpFetcher
from pipeline.host.registry_http import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.formats.digest import Digest
    from pipeline.host.fetch import HashState
    from pipeline.host.http_client import Response
    from pipeline.host.registry_auth import Scopes
    from pipeline.host.registry_session import Session
    from pipeline.oci.descriptor import Descriptor


class BlobChecksum:
    """A digest as what content must add up to; a `host.fetch.Checksum`."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest

    def __str__(self) -> str:
        return str(self._digest)

    def start(self) -> HashState:
        """Begin hashing."""
        return hashlib.sha256()

    def verify(self, state: HashState, *, what: str) -> None:
        """Compare a finished hash."""
        got = f"sha256:{state.digest().hex()}"
        if got != str(self._digest):
            raise DigestMismatchError(what, got=got, want=str(self._digest))


def wanted_blob(descriptor: Descriptor) -> WantedFile:
    """Return a blob as `host.fetch` wants it, below a repository's `blobs/`."""
    return WantedFile(
        path=str(descriptor.digest),
        size=descriptor.size,
        sum=BlobChecksum(descriptor.digest),
        digest=descriptor.digest,
    )


class _AuthorizedClient(HttpClient):
    """Send GET requests in a registry's session."""

    def __init__(self, session: Session, scopes: Scopes) -> None:
        super().__init__(session.access.patience)
        self._session = session
        self._scopes = scopes

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """Send a GET request, follow redirects."""
        request = Request(method="GET", url=url, headers=headers)
        with self._session.open(request, self._scopes) as answer:
            yield answer.response


class BlobFetcher(HttpFetcher):
    """Fetch the blobs of a repository; a `host.fetch.Fetcher`. Threads may share it."""

    def __init__(self, session: Session, path: str, scopes: Scopes) -> None:
        super().__init__(session.url(f"{path}/blobs"), patience=session.access.patience)
        self._client = _AuthorizedClient(session, scopes)
