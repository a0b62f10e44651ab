"""DSSE: the encoding that is signed, envelopes, and which signatures count."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.signer._key import SSlibKey

from pipeline.attest.dsse import Envelope, EnvelopeSignature, pae, verify_envelope
from pipeline.attest.statement import PAYLOAD_TYPE
from pipeline.errors import FormatError, SignatureError
from pipeline.host.signer import public_key_of
from tests.attest.signers import TestSigner

SIGNER = TestSigner()


def signed(payload: bytes = b'{"a":1}', keyid: str = "") -> Envelope:
    signature = EnvelopeSignature(SIGNER.sign(pae(PAYLOAD_TYPE, payload)), keyid)
    return Envelope(payload_type=PAYLOAD_TYPE, payload=payload, signatures=(signature,))


def test_the_encoding_is_that_of_the_specification() -> None:
    """https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, test vectors."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", "日".encode()) == b"DSSEv1 2 \xc3\xa9 3 \xe6\x97\xa5"


def test_parse_is_the_inverse() -> None:
    envelope = signed()
    assert Envelope.parse(envelope.to_bytes()) == envelope
    assert json.loads(envelope.to_bytes())["signatures"][0]["keyid"] == ""


def test_url_safe_base64_is_read() -> None:
    envelope = signed(bytes(range(256)))
    text = envelope.to_bytes().decode()
    assert "+" in text
    safe = text.replace("+", "-")
    assert Envelope.parse(safe.encode().replace(b"vnd.in-toto-", b"vnd.in-toto+")) == envelope


def test_our_envelope_verifies_with_securesystemslib() -> None:
    """An independent implementation; it compares keyids, ours is empty."""
    key = SSlibKey(
        keyid="",
        keytype="ecdsa",
        scheme="ecdsa-sha2-nistp256",
        keyval={"public": SIGNER.public_key.to_pem().decode()},
    )
    envelope = OtherEnvelope.from_dict(json.loads(signed().to_bytes()))
    assert envelope.verify([key], 1)
    assert envelope.payload == b'{"a":1}'


def test_the_payload_is_returned_if_the_key_has_signed() -> None:
    other = public_key_of(ec.generate_private_key(ec.SECP256R1()))
    assert verify_envelope(signed(), [other, SIGNER.public_key]) == b'{"a":1}'
    with pytest.raises(SignatureError, match="none of 1 signatures"):
        verify_envelope(signed(), [other])
    with pytest.raises(SignatureError):
        verify_envelope(signed(), [])


def test_the_type_is_signed_as_well() -> None:
    envelope = signed()
    changed = Envelope(
        payload_type="text/plain", payload=envelope.payload, signatures=envelope.signatures
    )
    with pytest.raises(SignatureError):
        verify_envelope(changed, [SIGNER.public_key])


@pytest.mark.parametrize(
    ("keyid", "counts"),
    [
        ("", True),
        (SIGNER.public_key.ssh_fingerprint, True),
        (SIGNER.public_key.hint, False),
        ("anything", False),
    ],
)
def test_a_keyid_has_to_be_empty_or_the_ssh_fingerprint(keyid: str, counts: bool) -> None:
    """As seen with cosign 2.5: the hint of a bundle is refused."""
    keys = [SIGNER.public_key]
    if counts:
        assert verify_envelope(signed(keyid=keyid), keys)
    else:
        with pytest.raises(SignatureError):
            verify_envelope(signed(keyid=keyid), keys)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"payload": 3}, "payload"),
        ({"payload": "!"}, "payload"),
        ({"payloadType": None}, "payloadType"),
        ({"signatures": {}}, "signatures"),
        ({"signatures": [{}]}, "signatures[0].sig"),
        ({"signatures": [{"sig": "AA=="}, {"sig": "A"}]}, "signatures[1].sig"),
        ({"signatures": [{"sig": "AA==", "keyid": 1}]}, "signatures[0].keyid"),
    ],
)
def test_what_is_no_envelope_is_refused(changes: dict[str, object], where: str) -> None:
    document = {
        "payload": base64.b64encode(b"x").decode(),
        "payloadType": "t",
        "signatures": [],
        **changes,
    }
    with pytest.raises(FormatError) as caught:
        Envelope.parse(json.dumps(document).encode())
    assert caught.value.context == where
