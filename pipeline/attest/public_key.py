"""PublicKey: what verifies the signatures that cosign, skopeo and podman verify.

ECDSA (P-256, P-384, P-521) as ASN.1 DER, Ed25519 and RSA with PKCS #1 v1.5, always with SHA-256:
sigstore's tools know no other digest for a bare key. A key is a PEM SubjectPublicKeyInfo.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from pipeline.errors import FormatError, SignatureError

if TYPE_CHECKING:
    from typing import TypeAlias

    _Key: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key, by its DER SubjectPublicKeyInfo."""

    spki: bytes

    def __post_init__(self) -> None:
        _load(self.spki)

    def __repr__(self) -> str:
        return f"PublicKey({self.ssh_fingerprint})"

    @classmethod
    def parse(cls, pem: bytes) -> PublicKey:
        """Read a PEM file.

        Raises:
            FormatError: it is no public key, or of a kind that sigstore's tools do not verify.
        """
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise FormatError("not a public key in PEM") from None
        return cls(
            key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def to_pem(self) -> bytes:
        """Return the content of a PEM file."""
        return _load(self.spki).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def hint(self) -> str:
        """What cosign calls the key in a bundle."""
        return base64.b64encode(hashlib.sha256(self.spki).digest()).decode()

    @property
    def ssh_fingerprint(self) -> str:
        """What the verifiers in Go call the key of an envelope's signature."""
        line = _load(self.spki).public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def has_signed(self, data: bytes, signature: bytes) -> bool:
        """Say whether a signature over data is by this key; `verify` raises instead."""
        try:
            self.verify(data, signature, what="signature")
        except SignatureError:
            return False
        return True

    def verify(self, data: bytes, signature: bytes, *, what: str) -> bytes:
        """Return the data if this key has signed it.

        Raises:
            SignatureError: it has not.
        """
        key = _load(self.spki)
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            else:
                key.verify(signature, data)
        except (InvalidSignature, ValueError):
            raise SignatureError(f"{what}: not by the key {self.ssh_fingerprint}") from None
        return data


def _load(spki: bytes) -> _Key:
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError("not a public key") from None
    if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)):
        raise FormatError(f"got a {type(key).__name__}, want ECDSA, Ed25519 or RSA")
    return key
