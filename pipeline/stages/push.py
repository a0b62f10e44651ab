"""Stage `push`: images of a layout, and what refers to them, into repositories of a registry.

1. What belongs to an image is its parcel: manifests, blobs, what refers to them, signatures
   (`stages.parcel`).
2. Blobs go in parallel. What a repository has is not sent again, so an interrupted push goes on
   where it stopped. What another repository of the registry has is mounted from there: one that
   has just got it, or one of a related image, a parent for example.
3. Manifests go when everything that they refer to is there: platforms before their index, subjects
   before referrers. Where the registry does not list referrers, the list is kept here.
4. Tags move last, all of them after everything else; a reader sees the old image or the new one.
   Signatures come first among them, and are added to those of others.
"""

from __future__ import annotations

import enum
import secrets
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from pipeline.errors import RegistryError
from pipeline.host.registry_manifest import Contents
from pipeline.host.registry_upload import Outcome
from pipeline.oci.referrers import referrer_descriptor
from pipeline.stages.parcel import Parcel, Target, locations, pack, tags_of
from pipeline.stages.signature_tags import add_signatures, has_signatures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pipeline.formats.digest import Digest
    from pipeline.host.registry import Registry, Repository
    from pipeline.host.registry_manifest import Manifest
    from pipeline.oci.descriptor import Descriptor
    from pipeline.oci.validate import LayoutSource

__all__ = [
    "Action",
    "Kind",
    "NoProgress",
    "Parcel",
    "Progress",
    "PushResult",
    "Step",
    "Target",
    "push",
    "tags_of",
]

T = TypeVar("T")
R = TypeVar("R")

WORKERS: Final = 4
"""Blobs at once."""

_SETTLE: Final = 0.3
"""Seconds after which lists and signatures that others write as well are looked at again."""
_ROUNDS: Final = 20


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


class Progress(Protocol):
    """Somebody who wants to know how far a push is."""

    def expect(self, blobs: Sequence[Descriptor], /) -> None:
        """Hear which blobs are going to be sent or mounted."""

    def advance(self, blob: Descriptor, size: int, /) -> None:
        """Hear that `size` bytes of a blob are there. Called from several threads."""


class NoProgress:
    """Nobody who wants to know."""

    def expect(self, blobs: Sequence[Descriptor], /) -> None:
        """Ignore it."""

    def advance(self, blob: Descriptor, size: int, /) -> None:
        """Ignore it."""


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
    run = _Push(source, registry, is_dry=dry_run, progress=progress or NoProgress())
    contents = Contents(source)
    parcels = [pack(contents, target) for target in targets]  # (1)
    try:
        steps = [
            *run.blobs(parcels, locations(contents, related)),  # (2)
            *run.manifests(parcels),  # (3)
            *run.tags(parcels),  # (4)
        ]
    except BaseException:
        registry.cancel()
        raise
    digests = {parcel.target.name: parcel.root.digest for parcel in parcels}
    return PushResult(digests=digests, steps=tuple(steps))


# ---------------------------------------------------------------- how it goes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A blob, and which repositories have it and which do not."""

    blob: Descriptor
    there: tuple[str, ...]
    missing: tuple[str, ...]


class _Push:
    def __init__(
        self, source: LayoutSource, registry: Registry, *, is_dry: bool, progress: Progress
    ) -> None:
        self._source = source
        self._registry = registry
        self._is_dry = is_dry
        self._progress = progress

    def _repository(self, path: str) -> Repository:
        return self._registry.repository(path, writable=True)

    def _parallel(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do the same with many items; the first failure stops the others."""
        pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="push")
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
        except BaseException as e:
            self._registry.cancel()
            pool.shutdown(wait=isinstance(e, Exception), cancel_futures=True)
            raise
        pool.shutdown()
        return [future.result() for future in futures]

    # ------------------------------------------------------------ blobs

    def blobs(self, parcels: Sequence[Parcel], others: Mapping[Digest, str]) -> tuple[Step, ...]:
        """Bring the blobs of all images into their repositories."""
        blobs: dict[Digest, Descriptor] = {}
        paths: dict[Digest, dict[str, None]] = {}
        for parcel in parcels:
            for blob in parcel.blobs:
                blobs.setdefault(blob.digest, blob)
                paths.setdefault(blob.digest, {})[parcel.target.path] = None
        asked = [(blobs[digest], path) for digest in blobs for path in paths[digest]]
        found = self._parallel(lambda a: self._repository(a[1]).has_blob(a[0]), asked)
        has = {(a[0].digest, a[1]): there for a, there in zip(asked, found, strict=True)}
        wanted = [
            _Wanted(
                blob=blob,
                there=tuple(p for p in paths[digest] if has[digest, p]),
                missing=tuple(p for p in paths[digest] if not has[digest, p]),
            )
            for digest, blob in blobs.items()
        ]
        self._progress.expect([w.blob for w in wanted if w.missing])
        largest_first = sorted(wanted, key=lambda w: -w.blob.size)
        steps = self._parallel(lambda w: self._blob(w, others), largest_first)
        return tuple(step for group in steps for step in group)

    def _blob(self, wanted: _Wanted, others: Mapping[Digest, str]) -> list[Step]:
        blob = wanted.blob
        steps = [self._step(Kind.BLOB, Action.PRESENT, path, blob) for path in wanted.there]
        near = wanted.there[0] if wanted.there else others.get(blob.digest)
        for path in wanted.missing:
            action = Action.SEND if near in (None, path) else Action.MOUNT
            if not self._is_dry:
                outcome = self._repository(path).send_blob(
                    blob,
                    lambda: self._source.open(blob.digest),
                    mount_from=near,
                    progress=lambda size: self._progress.advance(blob, size),
                )
                action = Action.MOUNT if outcome is Outcome.MOUNTED else Action.SEND
            note = f"from {near}" if action is Action.MOUNT else ""
            steps.append(self._step(Kind.BLOB, action, path, blob, note=note))
            near = path
        return steps

    # ------------------------------------------------------------ manifests

    def manifests(self, parcels: Sequence[Parcel]) -> Iterator[Step]:
        """Push manifests and referrers by digest, and keep lists of referrers."""
        unlisted: dict[tuple[str, Digest], list[Descriptor]] = {}
        seen: set[tuple[str, Digest]] = set()
        for parcel in parcels:
            path = parcel.target.path
            for manifest in (*parcel.manifests, *parcel.referrers):
                key = (path, manifest.digest)
                if key in seen:
                    continue
                seen.add(key)
                is_there = self._is_there(path, manifest)
                if not is_there and not self._is_dry:
                    is_noted = self._repository(path).put_manifest(manifest)
                    if manifest.subject is not None and not is_noted:
                        described = referrer_descriptor(manifest.raw)
                        unlisted.setdefault((path, manifest.subject.digest), []).append(described)
                kind = Kind.REFERRER if manifest.subject is not None else Kind.MANIFEST
                action = Action.PRESENT if is_there else Action.SEND
                yield self._step(kind, action, path, manifest.descriptor)
        self._list(unlisted)

    def _is_there(self, path: str, manifest: Manifest) -> bool:
        """Say whether a repository has a manifest and, of a referrer, lists it as what it is."""
        repository = self._repository(path)
        if manifest.subject is None:
            return repository.resolve(manifest.digest) is not None
        listed = repository.referrers(manifest.subject.digest)
        return referrer_descriptor(manifest.raw) in listed

    def _list(self, unlisted: Mapping[tuple[str, Digest], Sequence[Descriptor]]) -> None:
        """Add to lists of referrers, and later look whether somebody has overwritten them."""
        for (path, subject), added in unlisted.items():
            self._repository(path).add_referrers(subject, added)
        if unlisted:
            time.sleep(_SETTLE)
        for (path, subject), added in unlisted.items():
            self._repository(path).add_referrers(subject, added)

    # ------------------------------------------------------------ tags

    def tags(self, parcels: Sequence[Parcel]) -> Iterator[Step]:
        """Move the tags; signatures' first."""
        signatures = [(p.target.path, tag, m) for p in parcels for tag, m in p.cosign.items()]
        yield from [self._signature(*signature) for signature in signatures]
        if not self._is_dry:
            self._sign(signatures)
        for parcel in parcels:
            for tag in parcel.target.tags:
                yield self._tag(parcel.target.path, tag, parcel.root)

    def _signature(self, path: str, tag: str, ours: Manifest) -> Step:
        held = self._repository(path).find_manifest(tag)
        is_there = has_signatures(held, ours)
        note = "" if is_there or held is None else "added to what is there"
        action = Action.PRESENT if is_there else Action.SEND
        return self._step(Kind.TAG, action, path, ours.descriptor, note=note, name=tag)

    def _sign(self, signatures: Sequence[tuple[str, str, Manifest]]) -> None:
        """Add signatures to what is under their tags, and look whether they have stayed there."""
        left = list(signatures)
        for _ in range(_ROUNDS):
            left = [s for s in left if add_signatures(self._repository(s[0]), s[1], s[2])]
            if not left:
                return
            time.sleep(secrets.randbelow(1000) / 1000 * _SETTLE)
        raise RegistryError(
            f"{self._registry}/{left[0][0]}:{left[0][1]}: others keep changing it",
            hint="push again when they have finished",
        )

    def _tag(self, path: str, tag: str, manifest: Manifest) -> Step:
        repository = self._repository(path)
        before = repository.resolve(tag)
        action = Action.PRESENT if before == manifest.digest else Action.SEND
        if action is Action.SEND and not self._is_dry:
            repository.put_manifest(manifest, tag=tag)
        note = _moved(before, manifest.digest)
        return self._step(Kind.TAG, action, path, manifest.descriptor, note=note, name=tag)

    @staticmethod
    def _step(  # a digest is the name of what has no other
        kind: Kind, action: Action, path: str, what: Descriptor, *, note: str = "", name: str = ""
    ) -> Step:
        return Step(
            kind=kind,
            action=action,
            path=path,
            name=name or str(what.digest),
            size=what.size,
            note=note,
        )


def _moved(before: Digest | None, after: Digest) -> str:
    if before is None:
        return f"new, {after}"
    return str(after) if before == after else f"{after}, was {before}"
