"""Evidence: the signatures and statements that each client finds for an image, where it looks.

Nothing is judged here. What cannot be read is evidence as well: a client that stumbles over it
reports the image as unsigned.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.attest import cosign
from pipeline.attest.bundle import BUNDLE_TYPE
from pipeline.attest.dsse import ENVELOPE_TYPE
from pipeline.attest.simple_signing import SIGNATURE_FILE, lookaside_directory
from pipeline.errors import FetchError, FormatError, LayoutError, NotFoundError
from pipeline.formats import canonical_json
from pipeline.formats.digest import verify_bytes
from pipeline.host.registry_manifest import Contents
from pipeline.oci.descriptor import Descriptor, get_descriptors
from pipeline.oci.media_type import REF_NAME
from pipeline.oci.referrers import referrer_descriptor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.formats.digest import Digest
    from pipeline.host.registry import Repository
    from pipeline.host.registry_manifest import Manifest
    from pipeline.oci.reference import Reference
    from pipeline.oci.validate import LayoutSource

_MAX_SIGNATURE: Final = 1 << 20
_MAX_STATEMENT: Final = 256 << 20
_MAX_SIGNATURES: Final = 100
_MAX_TOTAL: Final = 1 << 30
"""Bytes of all signatures and statements of an image together: they are held in memory."""
_INDEX: Final = "index"


class ImageSource(Protocol):
    """Where an image and what is said of it are."""

    def root(self) -> Manifest:
        """Return the image: an index, or a manifest."""

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Return a manifest of the index."""

    def tagged(self, tag: str) -> Manifest | None:
        """Return the manifest under a tag of the same repository."""

    def referrers(self, subject: Digest) -> tuple[Manifest, ...]:
        """Return what refers to a manifest."""

    def blob(self, descriptor: Descriptor, *, max_length: int) -> bytes:
        """Return a blob, verified."""


class Lookaside(Protocol):
    """A lookaside tree; a `Fetcher`."""

    def fetch_bytes(self, path: str, /, *, max_length: int) -> bytes:
        """Return a file."""


@dataclass(frozen=True, slots=True)
class CosignSignature:
    """A layer of a `.sig`."""

    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What there is for one manifest."""

    digest: Digest
    label: str
    """`index`, or the platform."""
    is_index: bool
    messages: tuple[bytes, ...]
    """GPG's, out of the lookaside tree."""
    signatures: tuple[CosignSignature, ...]
    """Under the tag `.sig`."""
    envelopes: tuple[bytes, ...]
    """Under the tag `.att`."""
    bundles: tuple[bytes, ...]
    """Of referrers."""
    problems: tuple[str, ...]
    """What was found and could not be read."""


def gather(
    source: ImageSource, reference: Reference, lookaside: Lookaside | None
) -> tuple[Evidence, ...]:
    """Collect everything that clients look at, of an image and its platforms.

    Args:
        source: where the image is.
        reference: the name that it is pulled by.
        lookaside: where GPG's signatures are; None for nowhere.
    """
    source = _Bounded(source)
    root = source.root()
    found = [_gather_one(source, root, reference, lookaside, label=_INDEX if root.is_index else "")]
    labels = _labels(root.manifests)
    for descriptor, label in zip(root.manifests, labels, strict=True):
        manifest = source.manifest(descriptor)
        found.append(_gather_one(source, manifest, reference, lookaside, label=label))
    return tuple(found)


def _labels(descriptors: Sequence[Descriptor]) -> Sequence[str]:
    """Return what to call the manifests of an index, those of one platform by their digests too."""
    names = [str(descriptor.platform or descriptor.digest.short) for descriptor in descriptors]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} {descriptor.digest.short}"
        for name, descriptor in zip(names, descriptors, strict=True)
    ]


def _gather_one(
    source: ImageSource,
    manifest: Manifest,
    reference: Reference,
    lookaside: Lookaside | None,
    *,
    label: str,
) -> Evidence:
    digest = manifest.digest
    problems: list[str] = []
    return Evidence(
        digest=digest,
        label=label or digest.short,
        is_index=manifest.is_index,
        messages=tuple(_messages(lookaside, reference, digest)),
        signatures=tuple(_signatures(source, digest, problems)),
        envelopes=tuple(
            source.blob(layer, max_length=_MAX_STATEMENT)
            for layer in _layers(source.tagged(cosign.attestation_tag(digest)))
            if layer.media_type == ENVELOPE_TYPE
        ),
        bundles=tuple(_bundles(source, digest)),
        problems=tuple(problems),
    )


def _messages(lookaside: Lookaside | None, reference: Reference, digest: Digest) -> Iterator[bytes]:
    folder = lookaside_directory(reference.path, digest)
    for number in range(1, _MAX_SIGNATURES + 1):
        if lookaside is None:
            return
        try:
            yield lookaside.fetch_bytes(
                f"{folder}/{SIGNATURE_FILE}{number}", max_length=_MAX_SIGNATURE
            )
        except NotFoundError:
            return


def _layers(manifest: Manifest | None) -> tuple[Descriptor, ...]:
    """Return the layers of a manifest, each time they occur: `blobs` has each digest once."""
    if manifest is None:
        return ()
    return get_descriptors(canonical_json.loads_object(manifest.raw, error=LayoutError), "layers")


def _signatures(
    source: ImageSource, digest: Digest, problems: list[str]
) -> Iterator[CosignSignature]:
    for layer in _layers(source.tagged(cosign.signature_tag(digest))):
        if layer.media_type != cosign.PAYLOAD_TYPE:
            continue
        try:
            signature = cosign.read_signature(layer.annotations)
        except FormatError as e:
            problems.append(f"a signature under {cosign.signature_tag(digest)[:20]}…: {e}")
            continue
        payload = source.blob(layer, max_length=_MAX_SIGNATURE)
        yield CosignSignature(payload, signature)


def _bundles(source: ImageSource, digest: Digest) -> Iterator[bytes]:
    for manifest in source.referrers(digest):
        if referrer_descriptor(manifest.raw).artifact_type != BUNDLE_TYPE:
            continue
        for layer in _layers(manifest):
            if layer.media_type == BUNDLE_TYPE:
                yield source.blob(layer, max_length=_MAX_STATEMENT)


# ---------------------------------------------------------------- sources


class _Bounded:
    """Another source, which gives only so many bytes in all."""

    def __init__(self, source: ImageSource) -> None:
        self.root = source.root
        self.manifest = source.manifest
        self.tagged = source.tagged
        self.referrers = source.referrers
        self._source = source
        self._left = _MAX_TOTAL

    def blob(self, descriptor: Descriptor, *, max_length: int) -> bytes:
        """Return a blob.

        Raises:
            FetchError: there have been too many.
        """
        self._left -= descriptor.size
        if self._left < 0:
            raise FetchError(f"more than {_MAX_TOTAL} bytes of signatures and statements")
        return self._source.blob(descriptor, max_length=min(max_length, descriptor.size))


class RegistrySource:
    """An image in a registry."""

    def __init__(self, repository: Repository, wanted: str | Digest) -> None:
        self._repository = repository
        self._wanted = wanted

    def root(self) -> Manifest:
        """Fetch it."""
        return self._repository.manifest(self._wanted)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Fetch one of its platforms."""
        return self._repository.read_manifest(descriptor)

    def tagged(self, tag: str) -> Manifest | None:
        """Fetch what is under a tag."""
        return self._repository.find_manifest(tag)

    def referrers(self, subject: Digest) -> tuple[Manifest, ...]:
        """Fetch what refers to a manifest; entries of lists that lead nowhere are passed over."""
        found = []
        for descriptor in self._repository.referrers(subject):
            manifest = self._repository.find_manifest(descriptor.digest)
            if manifest is not None and manifest.subject and manifest.subject.digest == subject:
                found.append(manifest)
        return tuple(found)

    def blob(self, descriptor: Descriptor, *, max_length: int) -> bytes:
        """Fetch a blob."""
        return self._repository.blob(descriptor, max_length=max_length)


_NAME_RE: Final = re.compile(r"(?:(?P<repository>[^:]*):)?(?P<tag>[^:]*)")


class PairSource:
    """An image in a layout, and what is said of it in another."""

    def __init__(self, images: LayoutSource, attestations: LayoutSource, name: str) -> None:
        self._images = Contents(images)
        self._attestations = Contents(attestations)
        self._name = name
        self._repository = name.rpartition(":")[0]

    def root(self) -> Manifest:
        """Read it."""
        return self._images.read(self._images.named(self._name))

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Read one of its platforms."""
        return self._images.read(descriptor)

    def tagged(self, tag: str) -> Manifest | None:
        """Read what would go under a tag of the repository."""
        for descriptor in self._attestations.entries:
            match = _NAME_RE.fullmatch(descriptor.annotations.get(REF_NAME, ""))
            if match and match["tag"] == tag and match["repository"] in (None, self._repository):
                return self._attestations.read(descriptor)
        return None

    def referrers(self, subject: Digest) -> tuple[Manifest, ...]:
        """Read what refers to a manifest."""
        return tuple(
            manifest
            for manifest in self._attestations.attached([subject])
            if manifest.subject is not None and manifest.subject.digest == subject
        )

    def blob(self, descriptor: Descriptor, *, max_length: int) -> bytes:
        """Read a blob."""
        with self._attestations.source.open(descriptor.digest) as f:
            data = f.read(max_length + 1)
        if len(data) > max_length:
            raise FetchError(f"blob {descriptor.digest}: longer than {max_length} bytes")
        return verify_bytes(data, digest=descriptor.digest, what=f"blob {descriptor.digest}")
