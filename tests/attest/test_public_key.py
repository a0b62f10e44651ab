"""Public keys: names, and which signatures they verify."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, x25519

from pipeline.attest.public_key import PublicKey
from pipeline.errors import FormatError, SignatureError
from tests.attest import vectors_cosign as cosign

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.host.signer import PrivateKey


def pem(key: object) -> bytes:
    data: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


def test_a_key_is_called_as_cosign_and_ssh_call_it() -> None:
    key = PublicKey.parse(cosign.PUBLIC_KEY)
    assert key.hint == cosign.HINT
    assert key.ssh_fingerprint == cosign.SSH_FINGERPRINT
    assert key.to_pem() == cosign.PUBLIC_KEY
    assert repr(key) == f"PublicKey({cosign.SSH_FINGERPRINT})"


def test_a_signature_by_cosign_verifies() -> None:
    key = PublicKey.parse(cosign.PUBLIC_KEY)
    signature = base64.b64decode(cosign.BLOB_SIGNATURE)
    assert key.verify(cosign.BLOB, signature, what="blob") == cosign.BLOB
    assert not key.has_signed(b"other bytes", signature)
    with pytest.raises(SignatureError, match="blob: not by the key SHA256:"):
        key.verify(cosign.BLOB, signature[:-1], what="blob")


def _ecdsa(key: PrivateKey, data: bytes) -> bytes:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _rsa(key: PrivateKey, data: bytes) -> bytes:
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _ed25519(key: PrivateKey, data: bytes) -> bytes:
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.sign(data)


@pytest.mark.parametrize(
    ("make", "sign"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), _ecdsa),
        (lambda: ec.generate_private_key(ec.SECP384R1()), _ecdsa),
        (ed25519.Ed25519PrivateKey.generate, _ed25519),
        (lambda: rsa.generate_private_key(65537, 1024), _rsa),
    ],
    ids=["p-256", "p-384", "ed25519", "rsa"],
)
def test_every_kind_of_key_verifies_its_own(
    make: Callable[[], PrivateKey], sign: Callable[[PrivateKey, bytes], bytes]
) -> None:
    private, other = make(), make()
    key = PublicKey.parse(pem(private.public_key()))
    signature = sign(private, b"data")
    assert key.has_signed(b"data", signature)
    assert not key.has_signed(b"date", signature)
    assert not key.has_signed(b"data", sign(other, b"data"))
    assert not key.has_signed(b"data", b"")
    assert key.ssh_fingerprint.startswith("SHA256:")


def test_sha512_is_not_what_cosign_verifies() -> None:
    """The digest is always SHA-256, also for P-384."""
    private = ec.generate_private_key(ec.SECP384R1())
    key = PublicKey.parse(pem(private.public_key()))
    assert not key.has_signed(b"data", private.sign(b"data", ec.ECDSA(hashes.SHA384())))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        cosign.PRIVATE_KEY,
        pem(x25519.X25519PrivateKey.generate().public_key()),
        pem(dsa.generate_private_key(1024).public_key()),
    ],
    ids=["empty", "broken", "private", "x25519", "dsa"],
)
def test_what_is_no_such_key_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        PublicKey.parse(data)
    with pytest.raises(FormatError):
        PublicKey(data)
