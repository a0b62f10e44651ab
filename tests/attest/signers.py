"""A signer with a key in memory."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.host.signer import public_key_of


class TestSigner:
    """Signs with P-256, the same bytes for the same data."""

    __test__ = False

    def __init__(self, secret: int = 4711) -> None:
        self._key = ec.derive_private_key(secret, ec.SECP256R1())
        self.public_key = public_key_of(self._key)
        self.signed: list[bytes] = []

    def sign(self, data: bytes) -> bytes:
        self.signed.append(data)
        return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
