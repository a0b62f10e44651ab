"""Stage `pull`: an image of a registry into a layout, every digest as it was.

What is asked for by digest is that or nothing; by tag, whatever has the tag now. An index brings
all its platforms, unless one is asked for: then that platform's manifest is what the layout gets,
under its own digest. Blobs go through the store, where a download that was cut off goes on.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError, LayoutError, NotFoundError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_required
from pipeline.host.fetch import fetch_all, no_progress
from pipeline.host.registry_download import wanted_blob
from pipeline.host.registry_manifest import collect, distinct
from pipeline.host.store import Blob
from pipeline.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from pipeline.host.fetch import Progress
    from pipeline.host.layout import PublishedLayout
    from pipeline.host.registry import Registry, Repository
    from pipeline.host.registry_manifest import Manifest
    from pipeline.host.store import Store
    from pipeline.oci.descriptor import Descriptor
    from pipeline.oci.reference import Reference

    OpenProgress = Callable[[Sequence[Descriptor]], AbstractContextManager[Progress]]

WORKERS: Final = 4

_NO_VARIANT: Final = {"arm64": "v8"}
"""Variants that mean the same as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullResult:
    """An image that has come."""

    reference: Reference
    """With the digest that it had."""
    descriptor: Descriptor
    """What the layout has under the image's name."""
    manifests: int
    blobs: int
    fetched: int
    """Bytes of blobs that were not in the store."""


def parse_platform(text: str) -> Platform:
    """Parse `os/architecture` or `os/architecture/variant`, in OCI's words.

    Raises:
        FormatError: it is neither.
    """
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isalnum() for part in parts):
        raise FormatError(f"got platform {text[:80]!r}, want e.g. freebsd/arm64")
    return Platform(
        os=parts[0],
        architecture=parts[1],
        variant=parts[2] if len(parts) > 2 else None,  # noqa: PLR2004
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to pull, and what to call it."""

    reference: Reference
    platform: Platform | None = None
    """Only this one of an index."""
    name: str | None = None
    """In the layout; the last word of the repository and the tag where absent."""


def pull(
    wanted: Wanted,
    *,
    registry: Registry,
    layout: PublishedLayout,
    store: Store,
    open_progress: OpenProgress | None = None,
) -> PullResult:
    """Pull an image; see the module.

    Args:
        wanted: which, and for which platform.
        registry: that of the reference.
        layout: where it goes.
        store: where its blobs go first; the layout's.
        open_progress: given the blobs that are going to be fetched, returns who hears of them.

    Raises:
        NotFoundError: there is no such image, or not for the platform.
        DigestMismatchError: the registry gives something else.
        LayoutError: what it gives is no image.
        RegistryError, FetchError: it could not be had.
    """
    reference = wanted.reference
    repository = registry.repository(reference.path)
    root = repository.manifest(reference.digest or reference.wanted)  # (1) what is it?
    chosen = root.descriptor
    if wanted.platform is not None:
        chosen = _choose(repository, root, wanted.platform, what=str(reference))

    def read(descriptor: Descriptor) -> Manifest:
        is_root = descriptor.digest == root.digest
        return root if is_root else repository.read_manifest(descriptor)

    manifests = collect(chosen, read)
    for manifest in manifests:  # (2) its documents
        store.put(manifest.raw)
    blobs = distinct(blob for manifest in manifests for blob in manifest.blobs)
    missing = [blob for blob in blobs if not store.verify(blob.digest)]
    _fetch(repository, missing, store, open_progress or _silent)  # (3) what it consists of
    everything = (*blobs, *(manifest.descriptor for manifest in manifests))
    layout.publish(  # (4) under its name
        wanted.name or default_name(reference),
        chosen,
        [Blob(digest=d.digest, size=d.size) for d in everything],
    )
    return PullResult(
        reference=reference.with_digest(root.digest),
        descriptor=chosen,
        manifests=len(manifests),
        blobs=len(blobs),
        fetched=sum(blob.size for blob in missing),
    )


def _silent(_: Sequence[Descriptor]) -> AbstractContextManager[Progress]:
    return contextlib.nullcontext(no_progress)


def _fetch(
    repository: Repository,
    missing: Sequence[Descriptor],
    store: Store,
    open_progress: OpenProgress,
) -> None:
    if missing:
        fetcher = repository.fetcher()
        wanted = [(fetcher, wanted_blob(blob)) for blob in missing]
        with open_progress(missing) as progress:
            fetch_all(wanted, store=store, workers=WORKERS, progress=progress)


def default_name(reference: Reference) -> str:
    """Return what a layout calls an image: `freebsd-static:15.0`."""
    last = reference.path.rpartition("/")[2]
    if reference.tag is None and reference.digest is not None:
        return f"{last}@{reference.digest}"
    return f"{last}:{reference.wanted if reference.tag is None else reference.tag}"


# ---------------------------------------------------------------- platforms


def _choose(repository: Repository, root: Manifest, platform: Platform, *, what: str) -> Descriptor:
    """Return what an image has for a platform."""
    if not root.is_index:
        got = _platform_of(repository, root)
        if not _matches(platform, got):
            raise NotFoundError(f"{what}: is for {got}, not for {platform}")
        return root.descriptor
    fitting = [
        d for d in root.manifests if d.platform is not None and _matches(platform, d.platform)
    ]
    if len({d.digest for d in fitting}) != 1:
        there = ", ".join(sorted({str(d.platform) for d in root.manifests if d.platform}))
        found = f"{len(fitting)} images" if fitting else "nothing"
        raise NotFoundError(f"{what}: {found} for {platform}, has {there or 'no platforms'}")
    return fitting[0]


def _platform_of(repository: Repository, manifest: Manifest) -> Platform:
    d = canonical_json.loads_object(repository.blob(manifest.blobs[0]), error=LayoutError)
    return Platform(
        os=get_required(d, str, "os", error=LayoutError),
        architecture=get_required(d, str, "architecture", error=LayoutError),
        variant=None,
    )


def _matches(wanted: Platform, got: Platform) -> bool:
    if (wanted.os, wanted.architecture) != (got.os, got.architecture):
        return False
    plain = _NO_VARIANT.get(wanted.architecture)
    return wanted.variant is None or (wanted.variant or plain) == (got.variant or plain)
