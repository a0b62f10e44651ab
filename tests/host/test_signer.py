"""Signers: where keys and passwords come from, and that neither shows up anywhere."""

from __future__ import annotations

import base64
import logging
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from pipeline.errors import ConfigurationError, FormatError, PipelineError, SignatureError
from pipeline.host.environment import setting
from pipeline.host.signer import (
    CommandSigner,
    KeySigner,
    KeySource,
    PasswordSource,
    load_private_key,
    public_key_of,
    read_public_key,
)
from tests.attest import vectors_cosign as cosign
from tests.programs import require_program

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.host.signer import PrivateKey, Signer

SECRET = "correct horse battery staple"
KEY = ec.derive_private_key(815, ec.SECP256R1())
NO_PASSWORD = PasswordSource()


def pem(
    key: PrivateKey,
    encryption: serialization.KeySerializationEncryption | None = None,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, form, encryption or serialization.NoEncryption()
    )


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def signer(path: Path, password: PasswordSource = NO_PASSWORD) -> KeySigner:
    return KeySigner(KeySource(str(path)), password)


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        ec.derive_private_key(7, ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 1024),
    ],
    ids=["p-256", "p-384", "ed25519", "rsa"],
)
def test_every_kind_of_key_signs(tmp_path: Path, key: PrivateKey) -> None:
    own = signer(write(tmp_path / "x.key", pem(key)))
    assert own.public_key == public_key_of(key)
    assert own.public_key.has_signed(b"data", own.sign(b"data"))


def test_equal_data_have_equal_signatures(tmp_path: Path) -> None:
    """ECDSA's too, so that a second run changes nothing."""
    path = write(tmp_path / "x.key", pem(KEY))
    assert signer(path).sign(b"data") == signer(path).sign(b"data")


def test_the_older_form_of_pem_is_read(tmp_path: Path) -> None:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    own = signer(write(tmp_path / "x.key", pem(KEY, form=form)))
    assert own.public_key == public_key_of(KEY)


def test_a_key_in_the_environment_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", pem(KEY).decode())
    own = KeySigner(KeySource("env://SOME_KEY"), NO_PASSWORD)
    assert own.public_key.has_signed(b"data", own.sign(b"data"))
    assert repr(own) == "KeySigner('env://SOME_KEY')"


def test_a_key_of_cosign_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", cosign.PASSWORD.decode())
    own = signer(write(tmp_path / "cosign.key", cosign.PRIVATE_KEY))
    assert own.public_key.to_pem() == cosign.PUBLIC_KEY


def test_an_encrypted_pem_wants_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encryption = serialization.BestAvailableEncryption(SECRET.encode())
    path = write(tmp_path / "x.key", pem(KEY, encryption))
    monkeypatch.setenv("COSIGN_PASSWORD", SECRET)
    assert signer(path).public_key == public_key_of(KEY)
    monkeypatch.setenv("COSIGN_PASSWORD", "wrong one")
    with pytest.raises(ConfigurationError, match="the password does not open"):
        signer(path).sign(b"data")


def test_without_a_password_the_error_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="encrypted and there is no password") as caught:
        signer(write(tmp_path / "cosign.key", cosign.PRIVATE_KEY)).sign(b"data")
    assert "COSIGN_PASSWORD" in str(caught.value.hint)


def test_a_command_may_print_the_password(tmp_path: Path) -> None:
    path = write(tmp_path / "cosign.key", cosign.PRIVATE_KEY)
    command = (sys.executable, "-c", "print('password')")
    assert signer(path, PasswordSource(command)).public_key.to_pem() == cosign.PUBLIC_KEY


def test_the_public_key_beside_it_is_enough_until_something_is_signed(tmp_path: Path) -> None:
    """A run that has nothing to sign asks for no password."""
    own = signer(write(tmp_path / "cosign.key", cosign.PRIVATE_KEY))
    write(tmp_path / "cosign.pub", cosign.PUBLIC_KEY)
    assert own.public_key.to_pem() == cosign.PUBLIC_KEY


def test_a_public_key_of_another_key_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "x.pub", cosign.PUBLIC_KEY)
    with pytest.raises(SignatureError, match="not by the key"):
        signer(write(tmp_path / "x.key", pem(KEY))).sign(b"data")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a private key in PEM"),
        (cosign.PUBLIC_KEY, "not a private key in PEM"),
        (pem(x25519.X25519PrivateKey.generate()), "want ECDSA, Ed25519 or RSA"),  # type: ignore[arg-type]
    ],
    ids=["empty", "public", "x25519"],
)
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        load_private_key(data, NO_PASSWORD)
    with pytest.raises(ConfigurationError, match=message):
        signer(write(tmp_path / "x.key", data)).sign(b"data")


def test_missing_keys_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        signer(tmp_path / "absent.key").sign(b"data")
    monkeypatch.delenv("ABSENT", raising=False)
    with pytest.raises(ConfigurationError, match="ABSENT holds no private key"):
        KeySigner(KeySource("env://ABSENT"), NO_PASSWORD).sign(b"data")
    with pytest.raises(ConfigurationError, match="no such file"):
        read_public_key(tmp_path / "absent.pub")
    with pytest.raises(ConfigurationError, match="not a public key"):
        read_public_key(write(tmp_path / "x.pub", b"x"))


def test_a_plain_key_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        KeySource(str(write(tmp_path / "x.key", pem(KEY), 0o644))).read()
        KeySource(str(write(tmp_path / "y.key", cosign.PRIVATE_KEY, 0o644))).read()
    assert [r.getMessage() for r in caplog.records] == [
        f"private key {tmp_path / 'x.key'} can be read by others"
    ]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PKGBASE_OCI_GPG_KEY", "F" * 40)
    assert setting("gpg_key") == "F" * 40
    assert setting("absent") == ""


# ---------------------------------------------------------------- commands


@pytest.fixture
def key_files(tmp_path: Path) -> Path:
    write(tmp_path / "x.key", pem(KEY))
    write(tmp_path / "x.pub", public_key_of(KEY).to_pem())
    return tmp_path


def test_a_command_signs_what_it_reads(key_files: Path) -> None:
    """Openssl stands for anything that holds a key."""
    openssl = require_program("openssl")
    own = CommandSigner(
        command=(openssl, "dgst", "-sha256", "-sign", str(key_files / "x.key")),
        reads="payload",
        public_file=key_files / "x.pub",
    )
    assert own.public_key.has_signed(b"data", own.sign(b"data"))


def test_a_command_may_get_the_digest_only(key_files: Path) -> None:
    openssl = require_program("openssl")
    script = f'cat > "$1/digest" && {openssl} pkeyutl -sign -inkey "$1/x.key" -in "$1/digest"'
    own = CommandSigner(
        command=("sh", "-c", script, "sh", str(key_files)),
        reads="digest",
        public_file=key_files / "x.pub",
    )
    assert own.public_key.has_signed(b"data", own.sign(b"data"))
    assert len((key_files / "digest").read_bytes()) == 32


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("exit 3", ConfigurationError, "signing command 'sh': exit status 3"),
        ("echo nonsense", SignatureError, "not by the key"),
        ("true", SignatureError, "not by the key"),
        ("head -c 3000000 /dev/zero", ConfigurationError, "took too long or said too much"),
    ],
)
def test_a_command_that_does_not_sign_is_an_error(
    key_files: Path, script: str, error: type[Exception], message: str
) -> None:
    own = CommandSigner(
        command=("sh", "-c", script), reads="payload", public_file=key_files / "x.pub"
    )
    with pytest.raises(error, match=message):
        own.sign(b"data")


def test_an_absent_command_is_named(key_files: Path) -> None:
    own = CommandSigner(
        command=("/nonexistent/hsm",), reads="payload", public_file=key_files / "x.pub"
    )
    with pytest.raises(ConfigurationError, match="no such program"):
        own.sign(b"data")


# ---------------------------------------------------------------- secrets


def shown(error: BaseException) -> str:
    """Everything that a failure may print."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        parts += [str(current), repr(current), repr(getattr(current, "__dict__", {}))]
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
    return "\n".join(parts)


def test_errors_logs_and_reprs_are_silent_about_secrets(
    key_files: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys, passwords, and what commands say when they fail."""
    monkeypatch.setenv("COSIGN_PASSWORD", SECRET)
    telling = ("sh", "-c", f"echo {SECRET} >&2; echo {SECRET}; exit 1")
    cosign_key = write(key_files / "cosign.key", cosign.PRIVATE_KEY)
    own: list[Signer] = [
        signer(cosign_key),
        signer(cosign_key, PasswordSource(telling)),
        signer(write(key_files / "bad.key", f"-----BEGIN {SECRET}".encode())),
        CommandSigner(command=telling, reads="payload", public_file=key_files / "x.pub"),
    ]
    body = base64.b64encode(b"".join(cosign.PRIVATE_KEY.splitlines()[1:-1]))[:32].decode()
    with caplog.at_level(logging.DEBUG):
        for each in own:
            with pytest.raises(PipelineError) as caught:
                each.sign(b"data")
            for text in (shown(caught.value), repr(each), caplog.text):
                assert SECRET not in text
                assert body not in text
