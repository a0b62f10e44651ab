"""Whether an image and its lock are signed; the judgement is that of `trust`.

An image is signed if a key has signed its manifest in one of cosign's forms. A lock is signed if a
key has signed a provenance of the image that names both of its files. What nobody has signed can
still be reproduced, and what is signed can still be a lie: signatures say who answers for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.attest import cosign
from pipeline.attest.bundle import BUNDLE_TYPE, PREDICATE_ANNOTATION
from pipeline.attest.statement import PredicateType
from pipeline.errors import FormatError, LayoutError, PipelineError
from pipeline.formats import canonical_json
from pipeline.oci.descriptor import get_descriptors, string_map
from pipeline.oci.referrers import referrer_descriptor
from reproducibility.trust import Answer, judge_cosign2, judge_cosign3, verify_bundle
from reproducibility.trust_evidence import CosignSignature, Evidence
from reproducibility.verify_result import Signatures, Signed
from reproducibility.wording import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.attest.public_key import PublicKey
    from pipeline.attest.statement import Statement
    from pipeline.formats.digest import Digest
    from pipeline.host.registry_manifest import Manifest
    from pipeline.oci.descriptor import Descriptor
    from reproducibility.verify_place import Place

MAX_BUNDLE: Final = 4 << 20
"""Bytes of one; a provenance names some hundred packages."""
_MAX_BUNDLES: Final = 64 << 20
"""Bytes of all that refer to one manifest: anybody may attach more."""
_MAX_PAYLOAD: Final = 1 << 20
_MAX_SIGNATURES: Final = 50


def _layers(manifest: Manifest) -> tuple[Descriptor, ...]:
    """Return the layers of a manifest, each time they occur."""
    return get_descriptors(canonical_json.loads_object(manifest.raw, error=LayoutError), "layers")


def bundles_of(
    place: Place, subject: Digest, kinds: Sequence[str], problems: list[str]
) -> Iterator[tuple[Manifest, bytes]]:
    """Yield the bundles that refer to a manifest, each with its referrer.

    Args:
        place: where they are.
        subject: the manifest.
        kinds: predicate types that are wanted, by the annotation that says so; a bundle without one
            is wanted as well.
        problems: gets a line for each that cannot be had or read.
    """
    left = _MAX_BUNDLES
    for manifest in place.referrers(subject):
        try:
            for layer in _bundle_layers(manifest, kinds):
                left -= layer.size
                if left < 0:
                    problems.append(
                        f"more than {size_text(_MAX_BUNDLES)} of statements refer to {subject}:"
                        " not all were read"
                    )
                    return
                yield manifest, place.blob(layer, max_length=min(layer.size, MAX_BUNDLE))
        except PipelineError as e:
            problems.append(f"referrer {manifest.digest.short}: {e}")


def _bundle_layers(manifest: Manifest, kinds: Sequence[str]) -> tuple[Descriptor, ...]:
    described = referrer_descriptor(manifest.raw)
    kind = described.annotations.get(PREDICATE_ANNOTATION)
    if described.artifact_type != BUNDLE_TYPE or kind not in (None, *kinds):
        return ()
    return tuple(layer for layer in _layers(manifest) if layer.media_type == BUNDLE_TYPE)


def _signatures(place: Place, subject: Digest, problems: list[str]) -> Iterator[CosignSignature]:
    tagged = place.tagged(cosign.signature_tag(subject))
    for layer in _layers(tagged)[:_MAX_SIGNATURES] if tagged is not None else ():
        if layer.media_type != cosign.PAYLOAD_TYPE:
            continue
        try:
            signature = cosign.read_signature(layer.annotations)
        except FormatError as e:
            problems.append(f"a signature: {e}")
            continue
        yield CosignSignature(place.blob(layer, max_length=_MAX_PAYLOAD), signature)


class Witnesses:
    """What has been signed about a manifest."""

    def __init__(self, place: Place, subject: Digest, keys: Sequence[PublicKey]) -> None:
        """Fetch it; what cannot be had or read vouches for nothing."""
        self._keys = tuple(keys)
        self._subject = subject
        self._problems: list[str] = []
        kinds = (PredicateType.SIGNATURE, PredicateType.PROVENANCE)
        self._bundles = tuple(bundles_of(place, subject, kinds, self._problems))
        self._signatures: list[CosignSignature] = []
        try:
            self._signatures += _signatures(place, subject, self._problems)
        except PipelineError as e:
            self._problems.append(f"signatures under their tag: {e}")

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be had or read."""
        return tuple(self._problems)

    def image(self, *, required: bool) -> Signatures:
        """Say whether the image is signed."""
        own = [raw for m, raw in self._bundles if _kind(m) != PredicateType.PROVENANCE]
        evidence = Evidence(
            digest=self._subject,
            label="",
            is_index=False,
            messages=(),
            signatures=tuple(self._signatures),
            envelopes=(),
            bundles=tuple(own),
            problems=self.problems,
        )
        count = len(self._signatures) + len(own)
        if not self._keys:
            return Signatures(required=required, image=Signed.NOT_ASKED, count=count, reasons=())
        cells = (judge_cosign2(evidence, self._keys), judge_cosign3(evidence, self._keys))
        if any(cell.answer is Answer.SIGNED for cell in cells):
            return Signatures(required=required, image=Signed.YES, count=count, reasons=())
        reasons = tuple(dict.fromkeys(reason for cell in cells for reason in cell.reasons))
        return Signatures(required=required, image=Signed.NO, count=count, reasons=reasons)

    def lock(self, declaration: Digest, lock: Digest) -> Signed:
        """Say whether a signed provenance names a declaration and a lock."""
        if not self._keys:
            return Signed.NOT_ASKED
        wanted = (declaration.hex, lock.hex)
        for _, raw in self._bundles:
            try:
                statement = verify_bundle(raw, self._keys, self._subject)
            except PipelineError:
                continue
            if statement.predicate_type == PredicateType.PROVENANCE and _named(statement) == wanted:
                return Signed.YES
        return Signed.NO

    def provenances(self) -> tuple[Digest, ...]:
        """Return the digests of bundles that say of themselves that they are provenance."""
        found = {m.digest for m, _ in self._bundles if _kind(m) == PredicateType.PROVENANCE}
        return tuple(sorted(found))


def _kind(manifest: Manifest) -> str | None:
    d = canonical_json.loads_object(manifest.raw, error=LayoutError)
    return string_map(d, "annotations").get(PREDICATE_ANNOTATION)


def _named(statement: Statement) -> tuple[object, object] | None:
    """Return the digests of declaration and lock that a provenance names."""
    value: object = statement.predicate
    try:
        files = value["buildDefinition"]["externalParameters"]  # type: ignore[index]
        return files["declaration"]["digest"]["sha256"], files["lock"]["digest"]["sha256"]
    except (LookupError, TypeError):
        return None
