"""Stage `attest`: what belongs to an image and is not in it, in a layout of its own.

A layout `build/attest` beside the images' has, for each manifest and index:

    artifacts     manifests whose `subject` is the image: SBOMs, the lock, bundles of signed
                  statements; found by the referrers API of a registry
    .sig, .att    manifests under cosign's older tags, which podman and skopeo read

Names in it are `<repository>:sha256-<hex of the image>.<what>`, so that what is made anew replaces
what was there. Everything but signatures and run details is the same whoever makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.attest import cosign
from pipeline.attest.bundle import BUNDLE_TYPE, Bundle, bundle_annotations
from pipeline.attest.dsse import Envelope, EnvelopeSignature, pae
from pipeline.attest.statement import PAYLOAD_TYPE, PredicateType, Statement
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.store import Blob, Record
from pipeline.host.toolchain import code_digest
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.image import EMPTY_BYTES, descriptor_of, rfc3339
from pipeline.oci.media_type import MediaType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.attest.public_key import PublicKey
    from pipeline.host.layout import PublishedLayout
    from pipeline.host.signer import Signer
    from pipeline.host.store import Store

STAGE: Final = "attest"
SIGNATURE_STAGE: Final = "signature"

TITLE: Final = "org.opencontainers.image.title"
"""On a layer of an artifact: the name of its file."""
_SHORT: Final[Mapping[str, str]] = {
    PredicateType.SPDX: "spdx",
    PredicateType.CYCLONEDX: "cyclonedx",
    PredicateType.PROVENANCE: "provenance",
    PredicateType.SIGNATURE: "signature",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A manifest or index that something is said of."""

    name: str
    """In the images' layout: `freebsd-static:15.0`, `freebsd-static:15.0-amd64`."""
    descriptor: Descriptor
    references: tuple[str, ...]
    """The names that it is going to be pulled by: `host/repo:tag`."""
    epoch: int
    """source_date_epoch."""

    @property
    def digest(self) -> Digest:
        """What it is."""
        return self.descriptor.digest

    @property
    def repository(self) -> str:
        """Its name without the tag."""
        return self.name.rpartition(":")[0]

    @property
    def created(self) -> str:
        """The time of everything that is said of it."""
        return rfc3339(self.epoch)

    def name_of(self, what: str) -> str:
        """Return the name of something of it in the layout of attestations."""
        return f"{self.repository}:sha256-{self.digest.hex}.{what}"

    def inputs(self) -> dict[str, object]:
        """Return what of it decides what is said."""
        return {
            "repository": self.repository,
            "subject": _subject(self).to_dict(),
            "references": list(self.references),
            "epoch": self.epoch,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest of the layout of attestations, in the store with all that it needs."""

    name: str
    """In that layout."""
    manifest: Blob
    contents: tuple[Blob, ...]
    """Config and layers."""

    @property
    def descriptor(self) -> Descriptor:
        """What index.json says of it."""
        return Descriptor(
            media_type=MediaType.MANIFEST, digest=self.manifest.digest, size=self.manifest.size
        )

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Everything that the layout needs of it."""
        return (*self.contents, self.manifest)


# ---------------------------------------------------------------- manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A layer of an artifact."""

    blob: Blob
    media_type: str
    title: str
    """A file name, for those who fetch it; empty for none."""

    def descriptor(self) -> Descriptor:
        """Return what the manifest says of it."""
        return Descriptor(
            media_type=self.media_type,
            digest=self.blob.digest,
            size=self.blob.size,
            annotations={TITLE: self.title} if self.title else {},
        )


def _subject(target: Target) -> Descriptor:
    d = target.descriptor
    return Descriptor(media_type=d.media_type, digest=d.digest, size=d.size)


def put_artifact(
    target: Target,
    what: str,
    contents: Sequence[Content],
    *,
    artifact_type: str,
    annotations: Mapping[str, str],
    store: Store,
) -> Document:
    """Make an artifact whose subject is an image.

    Args:
        target: the image.
        what: the last part of its name.
        contents: its layers.
        artifact_type: what it is.
        annotations: of the manifest.
        store: has the contents, gets the manifest.
    """
    manifest = canonical_json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MediaType.MANIFEST.value,
            "artifactType": artifact_type,
            "config": descriptor_of(EMPTY_BYTES, MediaType.EMPTY).to_dict(),
            "layers": [content.descriptor().to_dict() for content in contents],
            "subject": _subject(target).to_dict(),
            "annotations": dict(annotations),
        }
    )
    return Document(
        name=target.name_of(what),
        manifest=store.put(manifest),
        contents=(store.put(EMPTY_BYTES), *(content.blob for content in contents)),
    )


def put_tagged(
    target: Target, what: str, layers: Sequence[cosign.Layer], *, store: Store
) -> Document:
    """Make the manifest for one of cosign's older tags.

    Args:
        target: the image.
        what: `sig` or `att`.
        layers: signatures, or signed statements.
        store: gets all of it.
    """
    blobs = [store.put(layer.data) for layer in layers]
    manifest, config = tagged_manifest(
        Descriptor(
            media_type=layer.media_type,
            digest=blob.digest,
            size=blob.size,
            annotations=layer.annotations,
        )
        for layer, blob in zip(layers, blobs, strict=True)
    )
    return Document(
        name=target.name_of(what),
        manifest=store.put(manifest),
        contents=(store.put(config), *blobs),
    )


def tagged_manifest(layers: Iterable[Descriptor]) -> tuple[bytes, bytes]:
    """Return manifest and config of a `.sig` or `.att`. Pure.

    Several people's signatures stand under one tag: whoever pushes adds his layers to those that
    are there, each once.
    """
    distinct = {(layer.digest, tuple(sorted(layer.annotations.items()))): layer for layer in layers}
    config = cosign.config_bytes([layer.digest for layer in distinct.values()])
    manifest = canonical_json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MediaType.MANIFEST.value,
            "config": descriptor_of(config, MediaType.CONFIG).to_dict(),
            "layers": [layer.to_dict() for layer in distinct.values()],
        }
    )
    return manifest, config


# ---------------------------------------------------------------- signatures


class Signatures:
    """Signatures over payloads, remembered in the store so that nothing is signed twice."""

    def __init__(self, signer: Signer, *, store: Store) -> None:
        self._signer = signer
        self._store = store

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies them."""
        return self._signer.public_key

    @property
    def key(self) -> str:
        """The digest of that key."""
        return str(Digest.of(self.public_key.spki))

    def make(self, payload: bytes) -> bytes:
        """Return a signature, making it if need be."""

        def make() -> Record:
            signature = self._signer.sign(payload)
            return Record(outputs={"signature": self._store.put(signature)}, facts={})

        inputs: dict[str, object] = {"payload": str(Digest.of(payload)), "key": self.key}
        record = self._store.memoise(SIGNATURE_STAGE, inputs, make)
        return self._store.read(record.outputs["signature"].digest)

    def bundle(self, statement: bytes) -> Bundle:
        """Return a signed statement."""
        signature = EnvelopeSignature(self.make(pae(PAYLOAD_TYPE, statement)))
        envelope = Envelope(payload_type=PAYLOAD_TYPE, payload=statement, signatures=(signature,))
        return Bundle(hint=self.public_key.hint, envelope=envelope)


def put_bundle(target: Target, bundle: Bundle, *, store: Store) -> Document:
    """Make the artifact that holds a signed statement about an image."""
    predicate_type = Statement.parse(bundle.envelope.payload).predicate_type
    short = _SHORT.get(predicate_type) or Digest.of(predicate_type.encode()).short
    content = Content(blob=store.put(bundle.to_bytes()), media_type=BUNDLE_TYPE, title="")
    return put_artifact(
        target,
        f"bundle.{short}",
        [content],
        artifact_type=BUNDLE_TYPE,
        annotations=bundle_annotations(predicate_type, created=target.created),
        store=store,
    )


# ---------------------------------------------------------------- signed statements


def _inputs(
    target: Target, statements: Sequence[Blob], signatures: Signatures
) -> dict[str, object]:
    return {
        "target": target.inputs(),
        "statements": [str(statement.digest) for statement in statements],
        "key": signatures.key,
        "code": code_digest(),
    }


def recall_attestations(
    target: Target, statements: Sequence[Blob], signatures: Signatures, *, store: Store
) -> tuple[Document, ...] | None:
    """Return the signed statements if they have been made already and still hold."""
    record = store.recall(STAGE, _inputs(target, statements, signatures))
    return None if record is None else documents_of(record)


def attest(
    target: Target,
    statements: Sequence[Blob],
    signatures: Signatures,
    *,
    store: Store,
    suspicious: bool = False,
) -> tuple[Document, ...]:
    """Sign statements about an image, in both of cosign's forms: bundles, and one `.att`.

    Args:
        target: the image.
        statements: about it, in the store.
        signatures: who signs.
        store: holds everything.
        suspicious: believe no earlier result without hashing it.
    """

    def make() -> Record:
        bundles = [signatures.bundle(store.read(statement.digest)) for statement in statements]
        layers = [
            cosign.attestation_layer(
                bundle.envelope.to_bytes(), Statement.parse(bundle.envelope.payload).predicate_type
            )
            for bundle in bundles
        ]
        documents = [put_bundle(target, bundle, store=store) for bundle in bundles]
        if layers:
            documents.append(put_tagged(target, "att", layers, store=store))
        return record_of(documents)

    inputs = _inputs(target, statements, signatures)
    return documents_of(store.memoise(STAGE, inputs, make, suspicious=suspicious))


# ---------------------------------------------------------------- remembering documents


def record_of(documents: Sequence[Document]) -> Record:
    """Return what the store remembers of documents."""
    outputs: dict[str, Blob] = {}
    for number, document in enumerate(documents):
        outputs[f"{number} manifest"] = document.manifest
        for i, blob in enumerate(document.contents):
            outputs[f"{number} content {i}"] = blob
    shape = [[document.name, len(document.contents)] for document in documents]
    return Record(outputs=outputs, facts={"documents": shape})


def documents_of(record: Record) -> tuple[Document, ...]:
    """Return the documents that the store remembers."""
    shape = record.facts["documents"]
    assert isinstance(shape, list), "as record_of has made it"
    return tuple(
        Document(
            name=name,
            manifest=record.outputs[f"{number} manifest"],
            contents=tuple(record.outputs[f"{number} content {i}"] for i in range(count)),
        )
        for number, (name, count) in enumerate(shape)
    )


# ---------------------------------------------------------------- the layout


def is_published(documents: Iterable[Document], *, layout: PublishedLayout) -> bool:
    """Say whether a layout holds documents, whole and true."""
    return all(layout.holds(d.name, d.descriptor, d.blobs) for d in documents)


def publish(documents: Iterable[Document], *, layout: PublishedLayout) -> None:
    """Put documents into a layout."""
    for document in documents:
        layout.publish(document.name, document.descriptor, document.blobs)
