"""The encrypted private keys of cosign and skopeo: `ENCRYPTED SIGSTORE PRIVATE KEY`.

Source: secure-systems-lab/go-securesystemslib, encrypted/encrypted.go; sigstore/cosign,
pkg/cosign/keys.go. A PEM block whose body is JSON:

    {"kdf": {"name": "scrypt", "params": {"N": 65536, "r": 8, "p": 1}, "salt": 32 bytes},
     "cipher": {"name": "nacl/secretbox", "nonce": 24 bytes}, "ciphertext": …}

The plaintext is PKCS #8 DER, the key of the box scrypt's 32 bytes. Only the parameters that the Go
reader takes are taken: N of 32768, 65536 or 131072, r = 8, p = 1. The older label `ENCRYPTED COSIGN
PRIVATE KEY` is read as well. Salt and nonce come from the caller; errors never quote what they
read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final

from nacl.bindings import crypto_secretbox, crypto_secretbox_open
from nacl.exceptions import CryptoError

from pipeline.attest.dsse import get_base64
from pipeline.errors import ConfigurationError, FormatError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_required

if TYPE_CHECKING:
    from collections.abc import Mapping

SALT_LENGTH: Final = 32
NONCE_LENGTH: Final = 24

_COST: Final = 65536
_COSTS: Final = (32768, 65536, 131072)
_BLOCK_SIZE: Final = 8
_PARALLELIZATION: Final = 1
_KEY_LENGTH: Final = 32
_MAX_MEMORY: Final = 256 << 20
_LINE: Final = 64
_LABEL: Final = "ENCRYPTED SIGSTORE PRIVATE KEY"
_PEM_RE: Final = re.compile(
    rb"-----BEGIN (ENCRYPTED (?:SIGSTORE|COSIGN) PRIVATE KEY)-----\s+"
    rb"([A-Za-z0-9+/=\s]+)-----END \1-----\s*"
)


def is_encrypted_key(data: bytes) -> bool:
    """Say whether a file is such a key."""
    return _PEM_RE.fullmatch(data.strip()) is not None


def encrypt_key(pkcs8: bytes, password: bytes, *, salt: bytes, nonce: bytes) -> bytes:
    """Return the content of a key file.

    Args:
        pkcs8: the private key, DER.
        password: may be empty, as with cosign.
        salt: 32 random bytes.
        nonce: 24 random bytes.
    """
    box = crypto_secretbox(pkcs8, nonce, _derive(password, salt, _COST))
    body = canonical_json.dumps(
        {
            "kdf": {
                "name": "scrypt",
                "params": {"N": _COST, "r": _BLOCK_SIZE, "p": _PARALLELIZATION},
                "salt": base64.b64encode(salt).decode(),
            },
            "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
            "ciphertext": base64.b64encode(box).decode(),
        }
    )
    text = base64.b64encode(body).decode()
    lines = [text[i : i + _LINE] for i in range(0, len(text), _LINE)]
    return "\n".join((f"-----BEGIN {_LABEL}-----", *lines, f"-----END {_LABEL}-----\n")).encode()


def decrypt_key(pem: bytes, password: bytes) -> bytes:
    """Return the private key of a key file, PKCS #8 DER.

    Raises:
        FormatError: it is no such file, or of parameters that nobody uses.
        ConfigurationError: the password is not the right one.
    """
    match = _PEM_RE.fullmatch(pem.strip())
    if match is None:
        raise FormatError("not an encrypted sigstore private key")
    try:
        body = base64.b64decode(match[2])
    except binascii.Error:
        raise FormatError("an encrypted private key whose body is not base64") from None
    d = canonical_json.loads_object(body)
    salt, cost = _read_kdf(get_required(d, dict, "kdf"))
    nonce = _read_cipher(get_required(d, dict, "cipher"))
    try:
        return crypto_secretbox_open(
            get_base64(d, "ciphertext"), nonce, _derive(password, salt, cost)
        )
    except CryptoError:
        raise ConfigurationError("the password does not open the private key") from None


def _read_kdf(d: Mapping[str, object]) -> tuple[bytes, int]:
    params = get_required(d, dict, "params")
    cost = params.get("N")
    rest = (d.get("name"), params.get("r"), params.get("p"))
    if cost not in _COSTS or rest != ("scrypt", _BLOCK_SIZE, _PARALLELIZATION):
        raise FormatError("got other parameters than cosign's, want scrypt", context="kdf")
    salt = get_base64(d, "salt")
    if len(salt) != SALT_LENGTH:
        raise FormatError(f"got {len(salt)} bytes, want {SALT_LENGTH}", context="kdf.salt")
    return salt, int(cost)


def _read_cipher(d: Mapping[str, object]) -> bytes:
    nonce = get_base64(d, "nonce")
    if d.get("name") != "nacl/secretbox" or len(nonce) != NONCE_LENGTH:
        raise FormatError("got another cipher than cosign's, want nacl/secretbox", context="cipher")
    return nonce


def _derive(password: bytes, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(
        password,
        salt=salt,
        n=cost,
        r=_BLOCK_SIZE,
        p=_PARALLELIZATION,
        dklen=_KEY_LENGTH,
        maxmem=_MAX_MEMORY,
    )
