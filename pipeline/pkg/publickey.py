"""Public keys and signatures in the forms that pkg(8) writes.

Source: freebsd/pkg 2.8.4, libpkg/pkgsign_ossl.c and libpkg/pkgsign_ecc.c.

1. `rsa`: a PEM SubjectPublicKeyInfo of 2048 bits or more; PKCS#1 v1.5 with SHA-256.
2. `ecdsa`: a DER SubjectPublicKeyInfo with an uncompressed point on one of the curves in `_CURVES`;
   ECDSA with SHA-256, the signature a DER SEQUENCE of r and s. pkg knows further Brainpool curves
   (320 bits, and the twisted ones); they are refused, because nothing here can check them.
3. `eddsa`, also written `ecc`: Ed25519. The key is pkg's own DER,
   `SEQUENCE { "pkg", 1, "ecc", "WEI25519", TRUE, BIT STRING 04 || X || Y }` with the point in
   coordinates of the short Weierstrass form of the curve (draft-ietf-lwig-curve-representations,
   appendix E.2); the signature's halves R and S are the INTEGERs of a DER SEQUENCE, big-endian.
4. The message is not hashed here beyond what the algorithm itself does.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    load_der_public_key,
    load_pem_public_key,
)

from pipeline.errors import FingerprintError, SignatureError, SignatureTypeError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_KEY: Final = 16 << 10
"""Bytes of a public key file; an RSA key of 16384 bits needs less than 4 KiB."""

_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 16384

_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "secp256k1": ec.SECP256K1(),
    "secp384r1": ec.SECP384R1(),
    "secp521r1": ec.SECP521R1(),
    "brainpoolP256r1": ec.BrainpoolP256R1(),
    "brainpoolP384r1": ec.BrainpoolP384R1(),
    "brainpoolP512r1": ec.BrainpoolP512R1(),
}

_P: Final = 2**255 - 19
_COORDINATE: Final = 32
_ED25519_HALF_LIMIT: Final = 1 << 256
_MONTGOMERY_A: Final = 486662
_SQRT_MINUS_A_2: Final = 0x70D9120B9F5FF9442D84F723FC03B0813A5E2C2EB482E57D3391FB5500BA81E7
"""A square root of -(A + 2) modulo p: the scale between Montgomery's and Edwards' form."""

_PKGKEY_HEAD: Final = b"\x0c\x03pkg\x02\x01\x01\x0c\x03ecc\x0c\x08WEI25519\x01\x01\xff"
"""What comes before the BIT STRING in pkg's own key format."""
_PKGKEY_POINT: Final = b"\x03\x42\x00\x04"
_SHA1_DIGEST_INFO: Final = bytes.fromhex("304e300906052b0e03021a0500")
"""SEQUENCE of 78 bytes: the algorithm SHA-1, then an OCTET STRING of 65."""
_OCTETS_65: Final = b"\x04\x41"


class KeyType(enum.StrEnum):
    """Signers by pkg's names."""

    RSA = "rsa"
    ECDSA = "ecdsa"
    EDDSA = "eddsa"

    @classmethod
    def parse(cls, text: str) -> KeyType:
        """Read a signer's name; `ecc` is another word for eddsa."""
        try:
            return cls.EDDSA if text == "ecc" else cls(text)
        except ValueError:
            raise SignatureTypeError(
                f"got signature of type {text[:40]!r}, want rsa, ecdsa or eddsa"
            ) from None


def verify_signature(
    message: bytes, signature: bytes, *, public_key: bytes, key_type: KeyType
) -> bytes:
    """Return the message if the key signed it.

    Raises:
        SignatureError: it did not, or the signature is malformed.
        FingerprintError: the key is not one of this type.
    """
    if len(public_key) > MAX_KEY:
        raise FingerprintError(f"public key of {len(public_key)} bytes, want at most {MAX_KEY}")
    try:
        if key_type is KeyType.RSA:
            _rsa_key(public_key).verify(signature, message, padding.PKCS1v15(), SHA256())
        elif key_type is KeyType.ECDSA:
            _ecdsa_key(public_key).verify(signature, message, ec.ECDSA(SHA256()))
        else:
            _eddsa_key(public_key).verify(_eddsa_signature(signature), message)
    except InvalidSignature:
        raise SignatureError(f"the {key_type} signature does not verify") from None
    return message


def verify_legacy_rsa(message: bytes, signature: bytes, *, public_key: bytes) -> bytes:
    """Return the message if the key signed it the way of pkg on OpenSSL before 3.0.

    There the message itself, 64 hexadecimal digits and a NUL, stands in a DigestInfo that claims
    SHA-1 (EVP_md_pkg_sha1): nothing is hashed with SHA-1.
    """
    key = _rsa_key(public_key)
    try:
        recovered = key.recover_data_from_signature(signature, padding.PKCS1v15(), None)
    except InvalidSignature:
        recovered = b""
    if recovered != _SHA1_DIGEST_INFO + _OCTETS_65 + message + b"\0":
        raise SignatureError("the rsa signature does not verify")
    return message


# ---------------------------------------------------------------- keys


def _rsa_key(raw: bytes) -> rsa.RSAPublicKey:
    try:
        key = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise FingerprintError("got no PEM public key, which an rsa signature needs") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise FingerprintError("got another kind of public key, want an RSA key")
    if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise FingerprintError(
            f"got an RSA key of {key.key_size} bits, want {_MIN_RSA_BITS} to {_MAX_RSA_BITS}"
        )
    return key


def _ecdsa_key(raw: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise FingerprintError("got no DER public key, which an ecdsa signature needs") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise FingerprintError("got another kind of public key, want an elliptic curve key")
    if key.curve.name not in _CURVES:
        raise FingerprintError(f"got curve {key.curve.name}, want one of {', '.join(_CURVES)}")
    return key


def _eddsa_key(raw: bytes) -> ed25519.Ed25519PublicKey:
    body = _PKGKEY_HEAD + _PKGKEY_POINT
    head = b"\x30" + bytes([len(body) + 2 * _COORDINATE]) + body
    if not raw.startswith(head) or len(raw) != len(head) + 2 * _COORDINATE:
        raise FingerprintError("got no WEI25519 key of pkg, which an eddsa signature needs")
    x = int.from_bytes(raw[-2 * _COORDINATE : -_COORDINATE], "big")
    y = int.from_bytes(raw[-_COORDINATE:], "big")
    try:
        return ed25519.Ed25519PublicKey.from_public_bytes(_edwards_point(x, y))
    except ValueError:
        raise FingerprintError("got coordinates of no point, want one of Ed25519") from None


def _edwards_point(x: int, y: int) -> bytes:
    """Encode a point, given in Weierstrass coordinates, as RFC 8032 does (section 5.1.2)."""
    u = (x - _MONTGOMERY_A * pow(3, -1, _P)) % _P
    if x >= _P or y >= _P or (y * y - (u**3 + _MONTGOMERY_A * u * u + u)) % _P:
        raise ValueError("not on the curve")
    if y == 0 or (u + 1) % _P == 0:
        raise ValueError("the map between the forms has no value here")
    edwards_x = _SQRT_MINUS_A_2 * u * pow(y, -1, _P) % _P
    edwards_y = (u - 1) * pow(u + 1, -1, _P) % _P
    return (edwards_y | (edwards_x & 1) << 255).to_bytes(_COORDINATE, "little")


def _eddsa_signature(der: bytes) -> bytes:
    try:
        r, s = decode_dss_signature(der)
    except ValueError:
        raise SignatureError("got a malformed eddsa signature, want r and s in DER") from None
    if not (0 <= r < _ED25519_HALF_LIMIT and 0 <= s < _ED25519_HALF_LIMIT):
        raise SignatureError("got a malformed eddsa signature, want r and s of 32 bytes")
    return r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
