"""Manifest: a manifest or index by its bytes, with what it refers to.

Specification: image-spec v1.1.1, manifest.md, image-index.md; docker's schema 2 likewise, so that
what others have pushed can be pulled. Nothing is written anew: the bytes are the truth.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.errors import DigestMismatchError, FormatError, LayoutError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.formats.fields import get_optional, get_required, get_sequence_of
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.media_type import REF_NAME, MediaType
from pipeline.oci.referrers import subject_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.oci.validate import LayoutSource

MAX_MANIFEST: Final = 4 << 20
"""Bytes; what registries accept at the least (distribution-spec), and at the most as a rule."""

_MAX_DEPTH: Final = 4
_MAX_MANIFESTS: Final = 10_000

_INDEXES: Final = (
    MediaType.INDEX.value,
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_IMAGES: Final = (MediaType.MANIFEST.value, "application/vnd.docker.distribution.manifest.v2+json")

MANIFEST_TYPES: Final = (*_INDEXES, *_IMAGES)
"""What can be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest or index."""

    raw: bytes
    media_type: str
    blobs: tuple[Descriptor, ...]
    """Config and layers, each digest once."""
    manifests: tuple[Descriptor, ...]
    """Of an index."""
    subject: Descriptor | None

    @property
    def digest(self) -> Digest:
        """The digest of the bytes."""
        return Digest.of(self.raw)

    @property
    def is_index(self) -> bool:
        """Whether it is an index over others."""
        return self.media_type in _INDEXES

    @property
    def descriptor(self) -> Descriptor:
        """What refers to it, without platform and annotations."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.raw))

    @classmethod
    def parse(cls, raw: bytes, *, media_type: str | None = None) -> Manifest:
        """Read a manifest.

        Args:
            raw: its bytes.
            media_type: what it is said to be; the document's own word counts, if it has one.

        Raises:
            LayoutError: it is none, or says of itself something else.
        """
        d = canonical_json.loads_object(raw, error=LayoutError)
        said = get_optional(d, str, "mediaType", error=LayoutError)
        media_type = said or media_type or _guess(d)
        if media_type not in MANIFEST_TYPES:
            raise LayoutError(f"got mediaType {media_type[:80]!r}, want a manifest or an index")
        if media_type in _INDEXES:
            blobs: tuple[Descriptor, ...] = ()
            manifests = _descriptors(d, "manifests")
        else:
            config = Descriptor.from_dict(get_required(d, dict, "config", error=LayoutError))
            blobs, manifests = distinct((config, *_descriptors(d, "layers"))), ()
        return cls(
            raw=raw,
            media_type=media_type,
            blobs=blobs,
            manifests=manifests,
            subject=subject_of(d),
        )


def _guess(d: Mapping[str, object]) -> str:
    """Say what a document without mediaType is; the specification only says SHOULD."""
    return MediaType.INDEX.value if "manifests" in d else MediaType.MANIFEST.value


def _descriptors(d: Mapping[str, object], key: str) -> tuple[Descriptor, ...]:
    result = []
    for number, item in enumerate(get_sequence_of(d, dict, key, error=LayoutError)):
        try:
            result.append(Descriptor.from_dict(item))
        except FormatError as e:
            raise e.within(f"{key}[{number}]") from None
    return tuple(result)


def verify_manifest(raw: bytes, descriptor: Descriptor, *, what: str) -> Manifest:
    """Return the manifest that a descriptor refers to, if these are its bytes.

    Raises:
        DigestMismatchError: they are not.
        LayoutError: they are no manifest.
    """
    if len(raw) != descriptor.size:
        raise DigestMismatchError(f"{what}: size", got=str(len(raw)), want=str(descriptor.size))
    got = Digest.of(raw)
    if got != descriptor.digest:
        raise DigestMismatchError(what, got=str(got), want=str(descriptor.digest))
    try:
        return Manifest.parse(raw, media_type=descriptor.media_type)
    except FormatError as e:
        raise e.within(what) from None


# ---------------------------------------------------------------- in a layout


def entries(source: LayoutSource) -> tuple[Descriptor, ...]:
    """Return what a layout's index.json lists, named or not."""
    try:
        return Manifest.parse(source.read("index.json"), media_type=MediaType.INDEX).manifests
    except FileNotFoundError:
        return ()
    except FormatError as e:
        raise e.within("index.json") from None


class Contents:
    """What a layout holds; its index.json is read once."""

    def __init__(self, source: LayoutSource) -> None:
        """Read index.json.

        Raises:
            LayoutError: it is none.
        """
        self.source = source
        self.entries = entries(source)
        self._names = {
            d.annotations[REF_NAME]: d for d in self.entries if REF_NAME in d.annotations
        }

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def named(self, name: str) -> Descriptor:
        """Return what has a name.

        Raises:
            LayoutError: nothing.
        """
        if name not in self._names:
            known = ", ".join(sorted(self._names)) or "nothing"
            raise LayoutError(f"there is no {name!r} in the layout, but {known[:300]}")
        return self._names[name]

    def read(self, descriptor: Descriptor) -> Manifest:
        """Read a manifest.

        Raises:
            LayoutError: it is not there, or no manifest.
            DigestMismatchError: the layout has been altered.
        """
        what = f"manifest {descriptor.digest}"
        try:
            with self.source.open(descriptor.digest) as f:
                raw = f.read(MAX_MANIFEST + 1)
        except FileNotFoundError:
            raise LayoutError("is not in the layout", context=what) from None
        return verify_manifest(raw, descriptor, what=what)

    def walk(self, name: str) -> tuple[Manifest, ...]:
        """Return an image and all it leads to, each once, those that are referred to first.

        Raises:
            LayoutError: one is not there, no manifest, or there are too many or too deep.
            DigestMismatchError: the layout has been altered.
        """
        return collect(self.named(name), self.read)

    @functools.cached_property
    def _listed(self) -> tuple[Manifest, ...]:
        listed = distinct(d for d in self.entries if d.media_type in MANIFEST_TYPES)
        return tuple(self.read(descriptor) for descriptor in listed)

    def attached(self, subjects: Iterable[Digest]) -> tuple[Manifest, ...]:
        """Return what refers to some manifests, or to what refers to them, after its subject.

        Such entries of index.json need no name.
        """
        known = set(subjects)
        found: dict[Digest, Manifest] = {}
        count = -1
        while count < len(found):
            count = len(found)
            for manifest in self._listed:
                digest = manifest.digest
                if manifest.subject and manifest.subject.digest in known and digest not in known:
                    found[digest] = manifest
                    known.add(digest)
        return tuple(found.values())


def distinct(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Return descriptors of different content, the first of each."""
    found: dict[Digest, Descriptor] = {}
    for descriptor in descriptors:
        found.setdefault(descriptor.digest, descriptor)
    return tuple(found.values())


class Reader(Protocol):
    """Something that returns the manifest of a descriptor."""

    def __call__(self, descriptor: Descriptor, /) -> Manifest:
        """Return it, verified."""


def collect(descriptor: Descriptor, read: Reader) -> tuple[Manifest, ...]:
    """Return a manifest and all it leads to, each once, those that are referred to first.

    Args:
        descriptor: the manifest.
        read: takes manifests from wherever they are.

    Raises:
        LayoutError: there are too many manifests, or too deep; and what `read` raises.
    """
    found: dict[Digest, Manifest] = {}

    def visit(descriptor: Descriptor, depth: int) -> Iterator[Manifest]:
        if depth > _MAX_DEPTH or len(found) > _MAX_MANIFESTS:
            raise LayoutError("too many manifests, or too deep", context=str(descriptor.digest))
        if descriptor.digest not in found:
            manifest = found[descriptor.digest] = read(descriptor)
            for child in manifest.manifests:
                yield from visit(child, depth + 1)
            yield manifest

    return tuple(visit(descriptor, 0))
