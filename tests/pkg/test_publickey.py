"""Keys and signatures in pkg's forms; the golden ones are made by pkg 2.8.4."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from fixtures.miniature.signer import Mode, ed25519_signer
from pipeline.errors import FingerprintError, SignatureError, SignatureTypeError
from pipeline.pkg.publickey import MAX_KEY, KeyType, verify_legacy_rsa, verify_signature
from pipeline.pkg.signature import SignedArchive, verify_pubkey

KEYS = Path(__file__).parents[2] / "fixtures" / "repositories" / "keys"
MESSAGE = b"what was signed"

P = 2**255 - 19
NEGATIVE_R = b"\x30\x06\x02\x01\xff\x02\x01\x01"


def rsa_key() -> rsa.RSAPrivateKey:
    key = load_pem_private_key((KEYS / "test-rsa.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def rsa_pem() -> bytes:
    return (KEYS / "test-rsa.pub").read_bytes()


def spki(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_returns_the_message_that_an_rsa_key_signed() -> None:
    signature = rsa_key().sign(MESSAGE, padding.PKCS1v15(), SHA256())
    got = verify_signature(MESSAGE, signature, public_key=rsa_pem(), key_type=KeyType.RSA)
    assert got == MESSAGE


@pytest.mark.parametrize(
    "curve",
    [
        ec.SECP256K1(),
        ec.SECP384R1(),
        ec.SECP521R1(),
        ec.BrainpoolP256R1(),
        ec.BrainpoolP384R1(),
        ec.BrainpoolP512R1(),
    ],
    ids=lambda curve: curve.name,
)
def test_returns_the_message_that_an_ecdsa_key_signed(curve: ec.EllipticCurve) -> None:
    key = ec.derive_private_key(0x1234567890ABCDEF, curve)
    signature = key.sign(MESSAGE, ec.ECDSA(SHA256()))
    public_key = spki(key.public_key())
    got = verify_signature(MESSAGE, signature, public_key=public_key, key_type=KeyType.ECDSA)
    assert got == MESSAGE
    with pytest.raises(SignatureError):
        verify_signature(b"other", signature, public_key=public_key, key_type=KeyType.ECDSA)


@pytest.mark.parametrize("seed", range(12))
def test_returns_the_message_that_an_eddsa_key_signed(seed: int) -> None:
    """Twelve keys: both signs of x, integers with leading zeros and leading ones in DER."""
    signer = ed25519_signer(f"test {seed}", Mode.PUBKEY)
    public_key, signature = signer.public_key, signer.sign(MESSAGE)
    message = hashlib.blake2b(MESSAGE).digest()
    got = verify_signature(message, signature, public_key=public_key, key_type=KeyType.EDDSA)
    assert got == message
    with pytest.raises(SignatureError):
        verify_signature(b"other", signature, public_key=public_key, key_type=KeyType.EDDSA)


@pytest.mark.parametrize("key_type", list(KeyType))
@pytest.mark.parametrize(
    "signature", [b"\0", b"\x30\x00", b"\x30\x06\x02\x01\x01\x02\x01\x01", b"x" * 256]
)
def test_malformed_signature_does_not_verify(key_type: KeyType, signature: bytes) -> None:
    public_key = (KEYS / f"test-{key_type}.pub").read_bytes()
    with pytest.raises(SignatureError):
        verify_signature(MESSAGE, signature, public_key=public_key, key_type=key_type)


@pytest.mark.parametrize(
    "signature",
    [encode_dss_signature(1 << 256, 1), encode_dss_signature(1, 1 << 256), NEGATIVE_R],
)
def test_eddsa_halves_are_bounded(signature: bytes) -> None:
    public_key = (KEYS / "test-eddsa.pub").read_bytes()
    with pytest.raises(SignatureError, match="malformed eddsa signature"):
        verify_signature(MESSAGE, signature, public_key=public_key, key_type=KeyType.EDDSA)


@pytest.mark.parametrize("key_type", list(KeyType))
@pytest.mark.parametrize("other", ["rsa", "ecdsa", "eddsa", "garbage", "nothing"])
def test_key_of_another_kind_is_no_key(key_type: KeyType, other: str) -> None:
    if other == key_type:
        return
    path = KEYS / f"test-{other}.pub"
    public_key = (
        path.read_bytes() if path.exists() else b"garbage"[: 0 if other == "nothing" else 7]
    )
    with pytest.raises(FingerprintError, match="key"):
        verify_signature(MESSAGE, b"x", public_key=public_key, key_type=key_type)


def test_pem_key_that_is_not_rsa_is_named() -> None:
    key = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(FingerprintError, match="want an RSA key"):
        verify_signature(MESSAGE, b"x", public_key=pem, key_type=KeyType.RSA)


def test_der_key_that_is_not_elliptic_is_named() -> None:
    with pytest.raises(FingerprintError, match="want an elliptic curve key"):
        verify_signature(
            MESSAGE, b"x", public_key=spki(rsa_key().public_key()), key_type=KeyType.ECDSA
        )


def test_curve_that_pkg_does_not_know_is_refused() -> None:
    key = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    with pytest.raises(FingerprintError, match="got curve secp256r1, want one of secp256k1"):
        verify_signature(MESSAGE, b"x", public_key=spki(key), key_type=KeyType.ECDSA)


def test_short_rsa_key_is_refused() -> None:
    numbers = rsa_key().private_numbers()
    short = rsa.RSAPublicNumbers(65537, numbers.p).public_key()
    pem = short.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(FingerprintError, match="got an RSA key of 1024 bits, want 2048 to 16384"):
        verify_signature(MESSAGE, b"x", public_key=pem, key_type=KeyType.RSA)


def test_oversized_key_is_not_parsed() -> None:
    with pytest.raises(FingerprintError, match="want at most"):
        verify_signature(MESSAGE, b"x", public_key=b"-" * (MAX_KEY + 1), key_type=KeyType.RSA)


@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (1, 1), (P, 1), (486662 * pow(3, -1, P) % P, 0), (2**256 - 1, 5)]
)
def test_eddsa_coordinates_must_be_a_point(x: int, y: int) -> None:
    head = (KEYS / "test-eddsa.pub").read_bytes()[:32]
    public_key = head + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    with pytest.raises(FingerprintError, match="no point"):
        verify_signature(MESSAGE, b"x", public_key=public_key, key_type=KeyType.EDDSA)


def legacy_signature(content: bytes) -> bytes:
    """Sign as pkg does with OpenSSL 1.1: H and a NUL in place of a SHA-1 digest."""
    message = hashlib.sha256(content).hexdigest().encode() + b"\0"
    info = bytes.fromhex("304e300906052b0e03021a0500") + b"\x04\x41" + message
    private = rsa_key().private_numbers()
    modulus = private.public_numbers.n
    padded = b"\0\1" + b"\xff" * (256 - 3 - len(info)) + b"\0" + info
    return pow(int.from_bytes(padded, "big"), private.d, modulus).to_bytes(256, "big")


def test_legacy_rsa_signature_verifies() -> None:
    message = hashlib.sha256(b"content").hexdigest().encode()
    got = verify_legacy_rsa(message, legacy_signature(b"content"), public_key=rsa_pem())
    assert got == message


def test_legacy_signature_counts_for_signature_type_pubkey() -> None:
    signature = legacy_signature(b"content") + b"\0"
    archive = SignedArchive(payload=b"content", signatures={"signature": signature})
    assert verify_pubkey(archive, rsa_pem()).payload == b"content"


@pytest.mark.parametrize("signature", [b"", b"x" * 256, legacy_signature(b"other content")])
def test_other_legacy_rsa_signature_does_not_verify(signature: bytes) -> None:
    message = hashlib.sha256(b"content").hexdigest().encode()
    with pytest.raises(SignatureError):
        verify_legacy_rsa(message, signature, public_key=rsa_pem())


def test_names_of_signers() -> None:
    assert [KeyType.parse(name) for name in ("rsa", "ecdsa", "eddsa", "ecc")] == [
        KeyType.RSA,
        KeyType.ECDSA,
        KeyType.EDDSA,
        KeyType.EDDSA,
    ]
    with pytest.raises(SignatureTypeError, match="got signature of type 'dsa'"):
        KeyType.parse("dsa")
