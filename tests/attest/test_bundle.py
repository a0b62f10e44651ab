"""Sigstore bundles: ours as others read them, others' as we read them."""

from __future__ import annotations

import json

import pytest
from sigstore_models.bundle.v1 import Bundle as OtherBundle

from pipeline.attest.bundle import Bundle, bundle_annotations
from pipeline.attest.dsse import Envelope, EnvelopeSignature, pae, verify_envelope
from pipeline.attest.public_key import PublicKey
from pipeline.attest.statement import PAYLOAD_TYPE, PredicateType, Statement, Subject
from pipeline.errors import FormatError
from pipeline.formats.digest import Digest
from tests.attest import vectors_cosign as cosign
from tests.attest.signers import TestSigner

SIGNER = TestSigner()
STATEMENT = Statement(
    subjects=(Subject(Digest.of(b"image")),), predicate_type=PredicateType.SIGNATURE, predicate={}
)


def make() -> Bundle:
    payload = STATEMENT.to_bytes()
    signature = EnvelopeSignature(SIGNER.sign(pae(PAYLOAD_TYPE, payload)))
    envelope = Envelope(payload_type=PAYLOAD_TYPE, payload=payload, signatures=(signature,))
    return Bundle(hint=SIGNER.public_key.hint, envelope=envelope)


def test_parse_is_the_inverse() -> None:
    assert Bundle.parse(make().to_bytes()) == make()
    assert make().to_bytes() == make().to_bytes()


def test_sigstores_own_model_reads_ours() -> None:
    """The data model of sigstore-python, generated from the protobuf specification."""
    other = OtherBundle.from_json(make().to_bytes())
    assert other.media_type == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert other.verification_material.public_key is not None
    assert other.verification_material.public_key.hint == SIGNER.public_key.hint
    assert other.dsse_envelope is not None
    assert json.loads(other.dsse_envelope.payload)["predicateType"] == PredicateType.SIGNATURE
    (signature,) = other.dsse_envelope.signatures
    assert SIGNER.public_key.has_signed(make().envelope.pae, signature.sig)


def test_a_bundle_of_cosign_is_read_and_verifies() -> None:
    bundle = Bundle.parse(cosign.BUNDLE)
    assert bundle.hint == cosign.HINT
    payload = verify_envelope(bundle.envelope, [PublicKey.parse(cosign.PUBLIC_KEY)])
    assert Statement.parse(payload).is_about(Digest.of(cosign.BLOB))


def test_cosign_knows_a_bundle_by_its_annotations() -> None:
    annotations = bundle_annotations(PredicateType.SPDX, created="2025-01-01T00:00:00Z")
    assert annotations == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://spdx.dev/Document",
        "org.opencontainers.image.created": "2025-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"}, "mediaType"),
        ({"verificationMaterial": {"certificate": {"rawBytes": "AA=="}}}, "verificationMaterial"),
        ({"verificationMaterial": None}, "verificationMaterial"),
        ({"dsseEnvelope": {}}, "dsseEnvelope.payloadType"),
        (
            {"dsseEnvelope": {"payload": "", "payloadType": PAYLOAD_TYPE, "signatures": []}},
            "dsseEnvelope",
        ),
        (
            {"dsseEnvelope": {"payload": "", "payloadType": "x", "signatures": [{"sig": ""}]}},
            "dsseEnvelope",
        ),
    ],
)
def test_what_is_no_such_bundle_is_refused(changes: dict[str, object], where: str) -> None:
    document = {**json.loads(make().to_bytes()), **changes}
    with pytest.raises(FormatError) as caught:
        Bundle.parse(json.dumps(document).encode())
    assert caught.value.context == where


def test_a_signature_over_a_blob_is_no_statement() -> None:
    document = json.loads(make().to_bytes())
    del document["dsseEnvelope"]
    document["messageSignature"] = {"signature": ""}
    with pytest.raises(FormatError, match="not a signed statement"):
        Bundle.parse(json.dumps(document).encode())
