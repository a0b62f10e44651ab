"""Stage `attach`: documents that refer to an image, into a repository of a registry.

The image need not be in that repository: whoever may not push to the publisher's keeps what he has
to say in his own. Where the registry does not list referrers, the list is kept here, as by `push`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pipeline.host.registry_manifest import Manifest
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.referrers import referrer_descriptor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.formats.digest import Digest
    from pipeline.host.registry import Repository
    from pipeline.host.store import Blob, Store
    from pipeline.stages.attest import Document

_SETTLE: Final = 0.3
"""Seconds after which lists that others write as well are looked at again."""
_ANY: Final = "application/octet-stream"


def attach(documents: Sequence[Document], *, repository: Repository, store: Store) -> None:
    """Push documents by digest, and have them listed.

    Args:
        documents: manifests with a subject.
        repository: where they go; one that may be written.
        store: has them.

    Raises:
        DigestMismatchError: the registry lies.
        RegistryError, FetchError: it could not be done.
    """
    unlisted: dict[Digest, list[Descriptor]] = {}
    for document in documents:
        # (1) what it consists of
        for blob in document.contents:
            _send(blob, repository=repository, store=store)
        # (2) the document
        manifest = Manifest.parse(store.read(document.manifest.digest))
        assert manifest.subject is not None, "what is attached has a subject"
        if not repository.put_manifest(manifest):
            described = referrer_descriptor(manifest.raw)
            unlisted.setdefault(manifest.subject.digest, []).append(described)
    # (3) the lists, twice: another writer may have read before we wrote
    for number in range(2 if unlisted else 0):
        time.sleep(_SETTLE * number)
        for subject, added in unlisted.items():
            repository.add_referrers(subject, added)


def _send(blob: Blob, *, repository: Repository, store: Store) -> None:
    descriptor = Descriptor(media_type=_ANY, digest=blob.digest, size=blob.size)
    repository.put_blob(descriptor, lambda: store.open(blob.digest))
