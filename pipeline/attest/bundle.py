"""Bundle: a signed statement as cosign 3 stores and reads it, a referrer of the image.

Specification: Sigstore bundle v0.3 (github.com/sigstore/protobuf-specs, protos/
sigstore_bundle.proto); sigstore/cosign, pkg/oci/remote/write.go and specs/BUNDLE_SPEC.md.

1. The key is named by a hint, base64(sha256(SubjectPublicKeyInfo)), as cosign does.
2. There is exactly one signature. Its keyid is empty: the specification wants it equal to the hint
   or absent, and verifiers refuse a keyid that is the hint (`dsse`).
3. No log entries and no time stamps: a bundle verifies offline, with the key alone. The empty list
   of entries is written, for readers that want the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.attest.dsse import Envelope
from pipeline.attest.statement import PAYLOAD_TYPE
from pipeline.errors import FormatError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_as, get_optional, get_required

if TYPE_CHECKING:
    from collections.abc import Mapping

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
CONTENT_ANNOTATION: Final = "dev.sigstore.bundle.content"
PREDICATE_ANNOTATION: Final = "dev.sigstore.bundle.predicateType"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A signed statement and the name of its key."""

    hint: str
    envelope: Envelope

    def to_bytes(self) -> bytes:
        """Encode."""
        return canonical_json.dumps(
            {
                "mediaType": BUNDLE_TYPE,
                "verificationMaterial": {"publicKey": {"hint": self.hint}, "tlogEntries": []},
                "dsseEnvelope": self.envelope.to_dict(),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Read a bundle that a key has signed; log entries and time stamps are passed over.

        Raises:
            FormatError: it is none, or signed by other means than a key.
        """
        d = canonical_json.loads_object(data)
        kind = get_required(d, str, "mediaType")
        if kind != BUNDLE_TYPE:
            raise FormatError(f"got {kind!r}, want {BUNDLE_TYPE}", context="mediaType")
        material = get_required(d, dict, "verificationMaterial")
        if "publicKey" not in material:
            raise FormatError("not signed by a key", context="verificationMaterial")
        key = get_required(material, dict, "publicKey")
        if "dsseEnvelope" not in d:
            raise FormatError("not a signed statement")
        envelope = get_as(d, dict, Envelope.from_dict, "dsseEnvelope")
        if len(envelope.signatures) != 1 or envelope.payload_type != PAYLOAD_TYPE:
            raise FormatError("want one signature over a statement", context="dsseEnvelope")
        return cls(hint=get_optional(key, str, "hint") or "", envelope=envelope)


def bundle_annotations(predicate_type: str, *, created: str) -> Mapping[str, str]:
    """Return the annotations of a bundle's manifest, by which cosign knows what it holds.

    Args:
        predicate_type: of the statement.
        created: RFC 3339; a time that reproduces.
    """
    return {
        CONTENT_ANNOTATION: "dsse-envelope",
        PREDICATE_ANNOTATION: predicate_type,
        "org.opencontainers.image.created": created,
    }
