"""Referrers of a manifest in a repository: the API, or the list under a tag.

Specification: distribution-spec v1.1, sections Listing Referrers, Pushing Manifests with Subject
and Unavailable Referrers API.

The list under a tag is read, changed and written by every pusher, and two of them may do so at
once. So that none loses its entries:

1. A list is written on the condition that it is still the one that was read (If-Match with the
   registry's ETag; If-None-Match where there was none). Many registries ignore that.
2. Therefore it is read again after it was written, and written again until our entries are in it,
   with a pause of random length in between.
3. `Repository.add_referrers` does this at once, and whoever pushes calls it again at the end, when
   another pusher that had read before we wrote has written as well.

What stays possible: a pusher that reads, then waits longer than our whole push, then writes.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError, RegistryError
from pipeline.host.http_client import joined, origin_of, shown
from pipeline.host.registry_http import BytesBody, Request
from pipeline.oci.media_type import MediaType
from pipeline.oci.referrers import fallback_tag, merge_referrers, parse_referrers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.formats.digest import Digest
    from pipeline.host.registry_auth import Scope
    from pipeline.host.registry_session import Reply, Session
    from pipeline.oci.descriptor import Descriptor

_OK: Final = 200
_CREATED: Final = 201
_MISSING: Final = 404
_CONFLICTS: Final = frozenset({409, 412})
_NO_API: Final = frozenset({400, 404, 405, 501})
_ROUNDS: Final = 20
_LONGEST_PAUSE: Final = 0.4
_MAX_PAGES: Final = 100


class Referrers:
    """The referrers of manifests of one repository."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._path = scope.path
        self._scopes = (scope,)

    # ------------------------------------------------------------ reading

    def read(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return what refers to a manifest, as the registry or its pushers describe it.

        Raises:
            RegistryError: the registry does not say.
            LayoutError: it answers with no list of referrers.
        """
        url: str | None = self._session.url(f"{self._path}/referrers/{subject}")
        found: dict[Digest, Descriptor] = {}
        for _ in range(_MAX_PAGES):
            if url is None:
                break
            headers = {"Accept": MediaType.INDEX.value}
            reply = self._session.send(
                Request(method="GET", url=url, headers=headers),
                self._scopes,
                ok=_NO_API | {_OK},
                keep=True,
            )
            if reply.status != _OK:
                return self._read_tag(subject)
            for descriptor in _parsed(reply):
                found.setdefault(descriptor.digest, descriptor)
            url = next_page(reply)
        return tuple(found.values())

    def _read_tag(self, subject: Digest) -> tuple[Descriptor, ...]:
        reply = self._get(fallback_tag(subject))
        return () if reply.status == _MISSING else _parsed(reply)

    def _get(self, tag: str) -> Reply:
        request = Request(
            method="GET",
            url=self._session.url(f"{self._path}/manifests/{tag}"),
            headers={"Accept": MediaType.INDEX.value},
        )
        return self._session.send(request, self._scopes, ok={_OK, _MISSING}, keep=True)

    # ------------------------------------------------------------ writing

    def add(self, subject: Digest, added: Sequence[Descriptor]) -> bool:
        """Have the list under the tag hold some referrers (1, 2).

        Returns:
            Whether it had to be changed.

        Raises:
            RegistryError: others keep changing it, or there is something else under the tag.
        """
        tag = fallback_tag(subject)
        for number in range(_ROUNDS):
            if number:
                self._session.pause(secrets.randbelow(1000) / 1000 * _LONGEST_PAUSE)
            held = self._get(tag)
            before = None if held.status == _MISSING else held.body
            try:
                after = merge_referrers(before, added)
            except FormatError as e:
                raise RegistryError(f"{shown(held.url)}: {e}") from None
            if after == before:
                return number > 0
            self._put(tag, after, held)
        raise RegistryError(
            f"{self._session.host}/{self._path}:{tag}: others keep changing it",
            hint="push again when they have finished",
        )

    def _put(self, tag: str, data: bytes, held: Reply) -> None:
        headers = {"Content-Type": MediaType.INDEX.value}
        etag = held.header("ETag")
        if held.status == _MISSING:
            headers["If-None-Match"] = "*"
        elif etag.startswith('"'):
            headers["If-Match"] = etag
        request = Request(
            method="PUT",
            url=self._session.url(f"{self._path}/manifests/{tag}"),
            headers=headers,
            body=BytesBody(data),
        )
        self._session.send(request, self._scopes, ok=_CONFLICTS | {_CREATED})


def _parsed(reply: Reply) -> tuple[Descriptor, ...]:
    try:
        return parse_referrers(reply.body)
    except FormatError as e:
        raise e.within(shown(reply.url)) from None


def next_page(reply: Reply) -> str | None:
    """Return where an answer goes on, None where it ends (RFC 8288, rel="next")."""
    link, _, parameters = reply.header("Link").partition(";")
    if "next" not in parameters or not link.strip().startswith("<"):
        return None
    url = joined(reply.url, link.strip().strip("<>"))
    if url is None:
        raise RegistryError(f"{shown(reply.url)}: goes on at something that is no URL")
    if origin_of(url) != origin_of(reply.url):
        raise RegistryError(f"{shown(reply.url)}: goes on elsewhere, at {shown(url)}")
    return url
