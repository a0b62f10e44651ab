"""cosign's encrypted private keys, read and written."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization

from pipeline.attest.encrypted_key import decrypt_key, encrypt_key, is_encrypted_key
from pipeline.errors import ConfigurationError, FormatError
from pipeline.formats import canonical_json
from tests.attest import vectors_cosign as cosign

SALT = bytes(range(32))
NONCE = bytes(range(24))
_END = cosign.PRIVATE_KEY.splitlines()[-1]


def test_a_key_of_cosign_opens() -> None:
    assert is_encrypted_key(cosign.PRIVATE_KEY)
    der = decrypt_key(cosign.PRIVATE_KEY, cosign.PASSWORD)
    key = serialization.load_der_private_key(der, None)
    assert (
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        == cosign.PUBLIC_KEY
    )


def test_the_older_label_opens_too() -> None:
    old = cosign.PRIVATE_KEY.replace(b"SIGSTORE", b"COSIGN")
    assert is_encrypted_key(old)
    assert decrypt_key(old, cosign.PASSWORD)


def test_decrypt_is_the_inverse_and_equal_inputs_have_equal_bytes() -> None:
    data = encrypt_key(b"pkcs8", b"", salt=SALT, nonce=NONCE)
    assert data == encrypt_key(b"pkcs8", b"", salt=SALT, nonce=NONCE)
    assert decrypt_key(data, b"") == b"pkcs8"


def test_a_key_is_derived_at_the_cost_that_cosign_takes() -> None:
    body = b"".join(encrypt_key(b"pkcs8", b"", salt=SALT, nonce=NONCE).splitlines()[1:-1])
    document = canonical_json.loads_object(base64.b64decode(body))
    assert document["kdf"] == {
        "name": "scrypt",
        "params": {"N": 65536, "r": 8, "p": 1},
        "salt": base64.b64encode(SALT).decode(),
    }


def test_the_wrong_password_is_said_without_saying_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        decrypt_key(cosign.PRIVATE_KEY, b"letmein")
    assert str(caught.value) == "the password does not open the private key"


def altered(**changes: object) -> bytes:
    """Change the document inside."""
    lines = cosign.PRIVATE_KEY.splitlines()
    document = canonical_json.loads_object(base64.b64decode(b"".join(lines[1:-1])))
    for path, value in changes.items():
        *parents, last = path.split("__")
        table = document
        for parent in parents:
            inner = table[parent]
            assert isinstance(inner, dict)
            table = inner
        table[last] = value
    body = base64.b64encode(canonical_json.dumps(document))
    return b"\n".join((lines[0], body, lines[-1]))


def test_altering_nothing_is_harmless() -> None:
    assert decrypt_key(altered(), cosign.PASSWORD)


@pytest.mark.parametrize(
    "changes",
    [
        {"kdf__params__N": 1 << 30},
        {"kdf__params__N": 2},
        {"kdf__params__r": 1},
        {"kdf__params__p": 2},
        {"kdf__name": "pbkdf2"},
        {"kdf__salt": "AAAA"},
        {"kdf__salt": "no base64!"},
        {"cipher__name": "aes"},
        {"cipher__nonce": "AAAA"},
        {"ciphertext": 7},
    ],
    ids=str,
)
def test_other_parameters_are_refused(changes: dict[str, object]) -> None:
    """A huge cost would only eat memory; a small one would protect nothing."""
    with pytest.raises(FormatError):
        decrypt_key(altered(**changes), cosign.PASSWORD)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        cosign.PUBLIC_KEY,
        cosign.PRIVATE_KEY.replace(b"END ENCRYPTED SIGSTORE", b"END ENCRYPTED COSIGN"),
        cosign.PRIVATE_KEY.replace(b"eyJ", b"ey", 1),
        b"\n".join((*cosign.PRIVATE_KEY.splitlines()[:1], b"AAAA", _END)),
    ],
    ids=["empty", "public", "two labels", "cut", "no json"],
)
def test_what_is_no_such_key_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decrypt_key(data, cosign.PASSWORD)


def test_a_plain_key_is_not_taken_for_an_encrypted_one() -> None:
    assert not is_encrypted_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
