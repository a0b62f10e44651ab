"""Registry and Repository: a client of the OCI distribution API.

Specification: distribution-spec v1.1 (https://github.com/opencontainers/distribution-spec).

    registry = Registry("ghcr.io", Access())
    repository = registry.repository("freebsd/freebsd-static")
    manifest = repository.manifest("15.0")

Everything that comes is compared with its digest here, whatever the registry says; what the
registry says (Docker-Content-Digest) is compared as well. docs/decisions has why this is our own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pipeline.errors import DigestMismatchError, FormatError, NotFoundError, RegistryError
from pipeline.formats.digest import Digest
from pipeline.host.http_client import shown
from pipeline.host.registry_auth import Scope
from pipeline.host.registry_download import BlobFetcher
from pipeline.host.registry_http import BytesBody, Request
from pipeline.host.registry_manifest import MANIFEST_TYPES, Manifest, verify_manifest
from pipeline.host.registry_referrers import Referrers, next_page
from pipeline.host.registry_session import Access, Session
from pipeline.host.registry_upload import LocalBlob, Outcome, Upload
from pipeline.oci.reference import check_path, check_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from pipeline.host.registry_session import Reply
    from pipeline.oci.descriptor import Descriptor

_OK: Final = 200
_CREATED: Final = 201
_MISSING: Final = 404
_ACCEPT: Final = {"Accept": ", ".join(MANIFEST_TYPES)}
_MAX_PAGES: Final = 1000


class Registry:
    """One registry. Threads may share it."""

    def __init__(self, host: str, access: Access | None = None) -> None:
        """Prepare; nothing is sent yet.

        Args:
            host: with its port, if it has one; docker.io under this name.
            access: how to reach it.
        """
        self._session = Session(host, access or Access())

    def __str__(self) -> str:
        return self._session.host

    def repository(self, path: str, *, writable: bool = False) -> Repository:
        """Return one of its repositories, whether it exists or not.

        Args:
            path: within the registry.
            writable: ask for the right to push as well; who may only pull would be refused.
        """
        scope = Scope(path=check_path(path), actions="pull,push" if writable else "pull")
        return Repository(self._session, scope)

    def cancel(self) -> None:
        """Stop everything that goes on, for good."""
        self._session.cancelled.set()


class Repository:
    """One repository of a registry. Threads may share it."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self.path = scope.path
        self._scopes = (scope,)
        self._referrers = Referrers(session, scope)

    def __str__(self) -> str:
        return f"{self._session.host}/{self.path}"

    def _url(self, kind: str, name: object) -> str:
        return self._session.url(f"{self.path}/{kind}/{name}")

    # ------------------------------------------------------------ manifests

    def manifest(self, wanted: str | Digest) -> Manifest:
        """Fetch a manifest by tag or digest.

        Raises:
            NotFoundError: there is none.
            DigestMismatchError: what came is another one.
            LayoutError: what came is none.
            RegistryError, FetchError: it could not be had.
        """
        manifest = self.find_manifest(wanted)
        if manifest is None:
            raise NotFoundError(f"{self._named(wanted)}: not found")
        return manifest

    def find_manifest(self, wanted: str | Digest) -> Manifest | None:
        """Fetch a manifest by tag or digest, None if there is none; raises like `manifest`."""
        request = Request(method="GET", url=self._url("manifests", wanted), headers=_ACCEPT)
        reply = self._session.send(request, self._scopes, ok={_OK, _MISSING}, keep=True)
        if reply.status == _MISSING:
            return None
        what = self._named(wanted)
        got = Digest.of(reply.body)
        if isinstance(wanted, Digest) and got != wanted:
            raise DigestMismatchError(what, got=str(got), want=str(wanted))
        self._check_said(reply, got, what)
        kind = reply.header("Content-Type").partition(";")[0].strip()
        try:
            manifest = Manifest.parse(
                reply.body, media_type=kind if kind in MANIFEST_TYPES else None
            )
        except FormatError as e:
            raise e.within(what) from None
        if kind in MANIFEST_TYPES and kind != manifest.media_type:
            raise RegistryError(f"{what}: said to be {kind}, but is {manifest.media_type}")
        return manifest

    def read_manifest(self, descriptor: Descriptor) -> Manifest:
        """Fetch the manifest that a descriptor refers to; raises like `manifest`."""
        what = self._named(descriptor.digest)
        return verify_manifest(self.manifest(descriptor.digest).raw, descriptor, what=what)

    def resolve(self, wanted: str | Digest) -> Digest | None:
        """Ask for the digest of a manifest, None if there is none.

        That is the registry's word, unless it does not give it; then the manifest is fetched.
        """
        request = Request(method="HEAD", url=self._url("manifests", wanted), headers=_ACCEPT)
        reply = self._session.send(request, self._scopes, ok={_OK, _MISSING})
        if reply.status == _MISSING:
            return None
        said = reply.header("Docker-Content-Digest")
        if said:
            try:
                return Digest.parse(said)
            except FormatError:
                pass
        manifest = self.find_manifest(wanted)
        return None if manifest is None else manifest.digest

    def put_manifest(self, manifest: Manifest, *, tag: str | None = None) -> bool:
        """Push a manifest by its digest, or give it a tag.

        Returns:
            Whether the registry has taken notice of its subject (OCI-Subject); if not, and it has
            one, `add_referrers` is needed.

        Raises:
            DigestMismatchError: the registry has understood something else.
            RegistryError, FetchError: it was not accepted.
        """
        wanted = str(manifest.digest) if tag is None else check_tag(tag)
        request = Request(
            method="PUT",
            url=self._url("manifests", wanted),
            headers={"Content-Type": manifest.media_type},
            body=BytesBody(manifest.raw),
        )
        reply = self._session.send(request, self._scopes, ok={_CREATED})
        what = self._named(wanted)
        self._check_said(reply, manifest.digest, what)
        if tag is not None and not reply.header("Docker-Content-Digest"):
            got = self.manifest(tag).digest
            if got != manifest.digest:
                raise DigestMismatchError(what, got=str(got), want=str(manifest.digest))
        subject = manifest.subject
        return subject is not None and reply.header("OCI-Subject") == str(subject.digest)

    def _named(self, wanted: object) -> str:
        return f"{self}@{wanted}" if ":" in str(wanted) else f"{self}:{wanted}"

    @staticmethod
    def _check_said(reply: Reply, want: Digest, what: str) -> None:
        """Compare the registry's word with the content; other algorithms say nothing to us."""
        said = reply.header("Docker-Content-Digest")
        if said.startswith("sha256:") and said != str(want):
            raise DigestMismatchError(
                f"{what}: Docker-Content-Digest", got=said[:80], want=str(want)
            )

    def tags(self) -> tuple[str, ...]:
        """Return the tags, none where there is no such repository."""
        url: str | None = self._session.url(f"{self.path}/tags/list")
        found: dict[str, None] = {}
        for _ in range(_MAX_PAGES):
            if url is None:
                break
            request = Request(method="GET", url=url)
            reply = self._session.send(request, self._scopes, ok={_OK, _MISSING}, keep=True)
            if reply.status == _MISSING:
                break
            found.update(dict.fromkeys(_parse_tags(reply)))
            url = next_page(reply)
        return tuple(found)

    # ------------------------------------------------------------ blobs

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Say whether a blob is there, by the registry's word.

        Raises:
            DigestMismatchError: there is one of that name and another size.
        """
        url = self._url("blobs", descriptor.digest)
        head = Request(method="HEAD", url=url)
        reply = self._session.send(head, self._scopes, ok={_OK, _MISSING})
        if reply.status == _MISSING:
            return False
        if reply.header("Content-Length") == str(descriptor.size):
            return True
        got = self._size_of(url)  # some servers answer HEAD with another length than GET
        if got is None:
            return False
        if got not in ("", str(descriptor.size)):
            raise DigestMismatchError(
                f"{self}@{descriptor.digest}: size of the blob",
                got=got[:20],
                want=str(descriptor.size),
                hint="the registry's copy is damaged; its administrator has to remove it",
            )
        return True

    def _size_of(self, url: str) -> str | None:
        with self._session.open(Request(method="GET", url=url), self._scopes) as answer:
            return answer.header("Content-Length") if answer.status == _OK else None

    def put_blob(
        self,
        descriptor: Descriptor,
        open_blob: Callable[[], BinaryIO],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Outcome:
        """Bring a blob into the repository, unless it is there.

        Args:
            descriptor: what it is.
            open_blob: opens it here.
            mount_from: path of another repository of this registry that may have it.
            progress: hears how many bytes are there.

        Raises:
            DigestMismatchError: the local content is something else, or the registry says so.
            RegistryError, FetchError: it could not be done.
        """
        if self.has_blob(descriptor):
            progress(descriptor.size)
            return Outcome.PRESENT
        return self.send_blob(descriptor, open_blob, mount_from=mount_from, progress=progress)

    def send_blob(
        self,
        descriptor: Descriptor,
        open_blob: Callable[[], BinaryIO],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Outcome:
        """Bring a blob into the repository that is not there; else like `put_blob`."""
        blob = LocalBlob(descriptor, open_blob)
        upload = Upload(self._session, self._scopes[0], blob, progress=progress)
        return upload.run(mount_from=mount_from)

    def fetcher(self) -> BlobFetcher:
        """Return what fetches blobs, for `host.fetch.fetch_all`."""
        return BlobFetcher(self._session, self.path, self._scopes)

    def blob(self, descriptor: Descriptor, *, max_length: int = 8 << 20) -> bytes:
        """Return a small blob, verified."""
        what = f"{self}@{descriptor.digest}"
        data = self.fetcher().fetch_bytes(str(descriptor.digest), max_length=max_length)
        got = Digest.of(data)
        if got != descriptor.digest:
            raise DigestMismatchError(what, got=str(got), want=str(descriptor.digest))
        return data

    # ------------------------------------------------------------ referrers

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return what refers to a manifest, as listed; open each to know what it is."""
        return self._referrers.read(subject)

    def add_referrers(self, subject: Digest, added: Sequence[Descriptor]) -> bool:
        """Add to the list that a registry without the API keeps; say whether it was changed."""
        return self._referrers.add(subject, added)


def _parse_tags(reply: Reply) -> list[str]:
    try:
        tags = json.loads(reply.body).get("tags") or []
    except (ValueError, AttributeError, RecursionError):
        raise RegistryError(f"{shown(reply.url)}: answers something else than tags") from None
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise RegistryError(f"{shown(reply.url)}: answers something else than tags")
    return tags
