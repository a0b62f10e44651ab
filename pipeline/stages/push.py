"""Stage `push`: images of a layout, and what refers to them, into repositories of a registry.

1. What belongs to an image: its manifests and their blobs; whatever in the layout has one of them
   as its subject (SBOMs, provenance, bundles); and signatures under cosign's tags,
   `sha256-<digest>.sig` and the like.
2. Blobs go in parallel. What a repository has is not sent again, so an interrupted push goes on
   where it stopped. What another repository of the registry has is mounted from there: one that
   has just got it, or one of a related image, a parent for example.
3. Manifests go when everything that they refer to is there: platforms before their index, subjects
   before referrers. Where the registry does not list referrers, the list is kept here.
4. Tags move last, all of them after everything else; a reader sees the old image or the new one.
   What a push has written is asked for again before the tags move.
"""

from __future__ import annotations

import enum
import functools
import re
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import DigestMismatchError
from pipeline.host.registry_manifest import attached, distinct, entries, named, read_manifest, walk
from pipeline.host.registry_upload import Outcome
from pipeline.oci.media_type import REF_NAME
from pipeline.oci.referrers import referrer_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pipeline.formats.digest import Digest
    from pipeline.host.registry import Registry, Repository
    from pipeline.host.registry_manifest import Manifest
    from pipeline.oci.descriptor import Descriptor
    from pipeline.oci.validate import LayoutSource

WORKERS: Final = 4
"""Blobs at once."""

_SETTLE: Final = 0.3
"""Seconds after which a list of referrers that others write as well is looked at again."""
_COSIGN_RE: Final = re.compile(r"(?:(?P<repository>[^:]*):)?(?P<tag>sha256-(?P<hex>[0-9a-f]{64})\.[a-z]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An image and where it goes."""

    name: str
    """In the layout."""
    path: str
    """Of the repository, within the registry."""
    tags: tuple[str, ...]
    """None: by digest only."""


class Kind(enum.StrEnum):
    """What a step moves."""

    BLOB = "blob"
    MANIFEST = "manifest"
    REFERRER = "referrer"
    TAG = "tag"


class Action(enum.StrEnum):
    """What is done with it."""

    PRESENT = "present"
    MOUNT = "mount"
    SEND = "send"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that a push does, or finds done."""

    kind: Kind
    action: Action
    path: str
    """Of the repository."""
    name: str
    """A digest, or a tag."""
    size: int
    note: str
    """For people: where a mount comes from, what a tag was before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What a push has done or, as a dry run, would do."""

    digests: Mapping[str, Digest]
    """Of the images, by their names in the layout."""
    steps: tuple[Step, ...]

    def count(self, kind: Kind, action: Action) -> int:
        """Return how many steps are of a kind."""
        return sum(1 for s in self.steps if (s.kind, s.action) == (kind, action))

    @property
    def sent(self) -> int:
        """Bytes of blobs that were sent."""
        return sum(s.size for s in self.steps if (s.kind, s.action) == (Kind.BLOB, Action.SEND))


class Progress:
    """Somebody who wants to know how far a push is; this one does not."""

    def expect(self, blobs: Sequence[Descriptor]) -> None:
        """Hear which blobs are going to be sent or mounted."""

    def advance(self, blob: Descriptor, size: int) -> None:
        """Hear that `size` bytes of a blob are there. Called from several threads."""


def push(
    source: LayoutSource,
    targets: Sequence[Target],
    *,
    registry: Registry,
    related: Sequence[Target] = (),
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PushResult:
    """Push images; see the module.

    Args:
        source: the layout.
        targets: the images, and where each goes.
        registry: the registry; it is of no more use after a failure.
        related: other images, parents first, whose repositories may have some of the blobs.
        dry_run: only ask what is there.
        progress: hears of the blobs.

    Raises:
        LayoutError: an image is not in the layout, or not whole.
        DigestMismatchError: the layout has been altered, or the registry lies.
        RegistryError, FetchError: it could not be done; the tags are where they were.
    """
    run = _Push(source, registry, is_dry=dry_run, progress=progress or Progress())
    parcels = [_pack(source, target) for target in targets]  # (1)
    try:
        steps = [
            *run.blobs(parcels, _locations(source, related)),  # (2)
            *run.manifests(parcels),  # (3)
            *run.tags(parcels),  # (4)
        ]
    except BaseException:
        registry.cancel()
        raise
    digests = {parcel.target.name: parcel.root.digest for parcel in parcels}
    return PushResult(digests=digests, steps=tuple(steps))


# ---------------------------------------------------------------- what goes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parcel:
    """Everything that goes into one repository for one image, in order."""

    target: Target
    root: Manifest
    manifests: tuple[Manifest, ...]
    referrers: tuple[Manifest, ...]
    cosign: Mapping[str, Manifest]
    """By tag."""

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        everything = (*self.manifests, *self.referrers, *self.cosign.values())
        return distinct(blob for manifest in everything for blob in manifest.blobs)


def _pack(source: LayoutSource, target: Target) -> _Parcel:
    manifests = walk(source, named(source, target.name))
    referrers = attached(source, [m.digest for m in manifests])
    signed = {m.digest.hex for m in (*manifests, *referrers)}
    cosign = {}
    for descriptor in entries(source):
        match = _COSIGN_RE.fullmatch(descriptor.annotations.get(REF_NAME, ""))
        if match is None or match["hex"] not in signed:
            continue
        if match["repository"] in (None, target.name.rpartition(":")[0]):
            cosign[match["tag"]] = read_manifest(source, descriptor)
    return _Parcel(
        target=target,
        root=manifests[-1],
        manifests=manifests,
        referrers=referrers,
        cosign=cosign,
    )


def _locations(source: LayoutSource, related: Iterable[Target]) -> dict[Digest, str]:
    """Return, for blobs of related images, a repository that may have each."""
    names = {d.annotations.get(REF_NAME) for d in entries(source)}
    found: dict[Digest, str] = {}
    for target in related:
        if target.name in names:
            for manifest in walk(source, named(source, target.name)):
                for blob in manifest.blobs:
                    found.setdefault(blob.digest, target.path)
    return found


# ---------------------------------------------------------------- how it goes


class _Push:
    def __init__(
        self, source: LayoutSource, registry: Registry, *, is_dry: bool, progress: Progress
    ) -> None:
        self._source = source
        self._registry = registry
        self._is_dry = is_dry
        self._progress = progress
        self._repositories: dict[str, Repository] = {}

    def _repository(self, path: str) -> Repository:
        if path not in self._repositories:
            self._repositories[path] = self._registry.repository(path, writable=True)
        return self._repositories[path]

    def _parallel(self, jobs: Sequence[Callable[[], Iterable[Step]]]) -> Iterator[Step]:
        """Do jobs at once; the first failure stops the others."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="push") as pool:
            futures = [pool.submit(lambda job=job: list(job())) for job in jobs]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future.done():
                        future.result()
            except BaseException:
                self._registry.cancel()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        for future in futures:
            yield from future.result()

    # ------------------------------------------------------------ blobs

    def blobs(
        self, parcels: Sequence[_Parcel], locations: Mapping[Digest, str]
    ) -> Iterator[Step]:
        wanted: dict[Descriptor, dict[str, None]] = {}
        by_digest: dict[Digest, Descriptor] = {}
        for parcel in parcels:
            for blob in parcel.blobs:
                first = by_digest.setdefault(blob.digest, blob)
                wanted.setdefault(first, {})[parcel.target.path] = None
        missing = self._missing(wanted)
        self._progress.expect([blob for blob in wanted if missing[blob]])
        largest_first = sorted(wanted, key=lambda blob: -blob.size)
        jobs = [
            functools.partial(
                self._blob, blob, wanted[blob], missing[blob], locations.get(blob.digest)
            )
            for blob in largest_first
        ]
        return self._parallel(jobs)
