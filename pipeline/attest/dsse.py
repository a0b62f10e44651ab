"""Envelope: a payload and signatures over it and its type.

Specification: DSSE v1.0 (https://github.com/secure-systems-lab/dsse).

1. What is signed is the pre-authentication encoding `pae`, never the envelope's own bytes.
2. Ours have an empty `keyid`. Verifiers in Go pass over a signature whose keyid is neither empty
   nor what they call the key, which for a bare public key is its SSH fingerprint; the digest that a
   Sigstore bundle has as its hint is therefore refused by cosign (docs/signing.md).
3. Others' envelopes are read as those verifiers read them: that keyid rule, standard or URL-safe
   base64.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError, SignatureError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_optional, get_required, get_sequence_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.attest.public_key import PublicKey

ENVELOPE_TYPE: Final = "application/vnd.dsse.envelope.v1+json"


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed (1)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One signature."""

    sig: bytes
    keyid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A signed payload."""

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]

    @property
    def pae(self) -> bytes:
        """What is signed."""
        return pae(self.payload_type, self.payload)

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": signature.keyid, "sig": base64.b64encode(signature.sig).decode()}
                for signature in self.signatures
            ],
        }

    def to_bytes(self) -> bytes:
        """Encode."""
        return canonical_json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> Envelope:
        """Read the JSON form (3)."""
        signatures = []
        for i, item in enumerate(get_sequence_of(d, dict, "signatures")):
            try:
                keyid = get_optional(item, str, "keyid") or ""
                signatures.append(EnvelopeSignature(sig=get_base64(item, "sig"), keyid=keyid))
            except FormatError as e:
                raise e.within(f"signatures[{i}]") from None
        return cls(
            payload_type=get_required(d, str, "payloadType"),
            payload=get_base64(d, "payload"),
            signatures=tuple(signatures),
        )

    @classmethod
    def parse(cls, data: bytes) -> Envelope:
        """Read an envelope.

        Raises:
            FormatError: it is none.
        """
        return cls.from_dict(canonical_json.loads_object(data))


def get_base64(d: Mapping[str, object], key: str) -> bytes:
    """Return the bytes that d[key] encodes (3)."""
    text = get_required(d, str, key)
    try:
        return base64.b64decode(text.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        raise FormatError("not base64", context=key) from None


_STANDARD: Final = str.maketrans("-_", "+/")


def verify_envelope(envelope: Envelope, keys: Iterable[PublicKey]) -> bytes:
    """Return the payload if one of the keys has signed it.

    Raises:
        SignatureError: none has.
    """
    encoded = envelope.pae
    for key in keys:
        for signature in envelope.signatures:
            if signature.keyid in ("", key.ssh_fingerprint) and key.has_signed(
                encoded, signature.sig
            ):
                return envelope.payload
    raise SignatureError(f"none of {len(envelope.signatures)} signatures is by a trusted key")
